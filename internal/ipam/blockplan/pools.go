package blockplan

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/infrastructure"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
)

// defaultMaxBlocks bounds a node's share of a pool whose spec does not.
const defaultMaxBlocks = 64

// Pool is what a plan needs of an IPPool.
type Pool struct {
	Name      string
	Prefix    netip.Prefix
	Bits      int
	MaxBlocks int
	Created   time.Time
	// Open says that the object itself lets blocks be cut: it is neither disabled nor deleted, has our finalizer, without which it
	// could vanish at any time, and its selectors can be read.
	Open bool
	// Nodes chooses the nodes that get blocks.
	Nodes labels.Selector
	// Aggregation says which larger prefixes the blocks of one group of nodes come from.
	Aggregation Aggregation
	// Travels says that pods may ask for an address that lies in no block of their node, Sticky that they may for one that is remembered for a
	// pod.
	Travels, Sticky bool
	// Reserved are the addresses that the pool itself keeps from pods.
	Reserved *reservation.Set
}

// PoolOf reads an IPPool.
func PoolOf(o *v1alpha1.IPPool) (Pool, error) {
	prefix, err := o.Spec.Prefix()
	if err != nil {
		return Pool{}, err
	}
	p := Pool{Name: o.Name, Prefix: prefix, Bits: o.Spec.BlockBits(), MaxBlocks: int(o.Spec.MaxBlocksPerNode), Created: o.CreationTimestamp.Time}
	if p.MaxBlocks <= 0 {
		p.MaxBlocks = defaultMaxBlocks
	}
	p.Open = o.DeletionTimestamp.IsZero() && !o.Spec.Disabled && slices.Contains(o.Finalizers, v1alpha1.FinalizerPool)
	if p.Nodes, err = selector(o.Spec.NodeSelector); err != nil {
		p.Open = false
	}
	if _, err := selector(o.Spec.NamespaceSelector); err != nil {
		p.Open = false
	}
	p.Travels = o.Spec.FixedAddresses == v1alpha1.FixedAddressesAllowed
	p.Sticky = o.Spec.Sticky == v1alpha1.StickyStatefulSet
	p.Aggregation = aggregationOf(o.Spec.Aggregation, p)
	p.Reserved, _ = reservation.Parse(o.Spec.Reserved, prefix) // the pool's status says what is wrong
	return p, nil
}

// selector is everything where a selector is not set, nothing where it can't be read.
func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing(), err
	}
	return parsed, nil
}

// pool is a Pool with what follows from the rest of the state.
type pool struct {
	Pool
	older []string
	needs map[string]request
	// atLimit are the nodes that may have no more blocks, with the number of their pods that wait.
	atLimit map[string]int64
	// reserved are the addresses of the pool that no pod gets, those of the cluster's IPReservations too.
	reserved *reservation.Set
	conflicts
}

// Summary is what people want to know of a pool.
type Summary struct {
	// Older are the names of the pools that this one overlaps and that were there first. It gives nothing out then.
	Older []string
	// Conflicts are the parts of the infrastructure that the pool covers or lies in.
	Conflicts []infrastructure.Network
	// Refused says that the pool gives nothing out because of its conflicts, not just none of the blocks that they touch.
	Refused           bool
	Blocks, Allocated int64
	// Remembered is the number of addresses that no pod has and that are remembered for pods.
	Remembered int64
	// Known says whether the state has been told of the pool.
	Known bool
	// Usable is the number of addresses that pods can have, if the pool is known.
	Usable int64
	// ReservedInUse are the reserved addresses that pods have, at most a few of them, and how many there are.
	ReservedInUse      []netip.Addr
	ReservedInUseCount int
}

// Summary returns what is known of a pool; its numbers also where there is no such pool.
func (s *State) Summary(poolName string) Summary {
	s.settleConflicts()
	var out Summary
	if n := s.numbers[poolName]; n != nil {
		out.Blocks, out.Allocated, out.Remembered = n.blocks, n.allocated, n.remembered
	}
	if p := s.pools[poolName]; p != nil {
		out.Older, out.Conflicts, out.Refused = slices.Clone(p.older), p.hits, s.refused(p)
		out.Known = true
		out.Usable = p.reserved.Usable(p.Prefix, p.Bits)
		out.ReservedInUse, out.ReservedInUseCount = s.InUse(p.reserved, p.Prefix)
	}
	return out
}

// SetPool notes a pool.
func (s *State) SetPool(p Pool) {
	have := s.pools[p.Name]
	if have == nil {
		have = &pool{}
		s.pools[p.Name] = have
	}
	have.Pool, have.needs, have.atLimit = p, map[string]request{}, map[string]int64{}
	s.sortPools()
	s.reserve(have)
	for nodeName := range s.nodes {
		s.reneed(nodeName, p.Name)
	}
}

// DropPool notes that a pool is gone.
func (s *State) DropPool(poolName string) {
	delete(s.pools, poolName)
	if n := s.numbers[poolName]; n != nil && *n == (numbers{}) {
		delete(s.numbers, poolName)
	}
	s.sortPools()
}

func (s *State) sortPools() {
	s.conflictsOld, s.orphansStale = true, true
	s.order = s.order[:0]
	for _, p := range s.pools {
		s.order = append(s.order, p)
	}
	slices.SortFunc(s.order, func(a, b *pool) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name)) })
	for i, p := range s.order {
		p.older = nil
		for _, o := range s.order[:i] {
			if o.Prefix.Overlaps(p.Prefix) {
				p.older = append(p.older, o.Name)
			}
		}
	}
}

// poolOf returns the pool that an address belongs to: the one that its record names, else one that contains it.
func (s *State) poolOf(a netip.Addr, named string) *pool {
	if p := s.pools[named]; p != nil && p.Prefix.Contains(a) {
		return p
	}
	for _, p := range s.order {
		if p.Prefix.Contains(a) {
			return p
		}
	}
	return nil
}

// HasPool says whether there is such a pool.
func (s *State) HasPool(poolName string) bool { return s.pools[poolName] != nil }

// PoolNames returns the pools' names, the oldest pool first.
func (s *State) PoolNames() []string {
	out := make([]string, 0, len(s.order))
	for _, p := range s.order {
		out = append(out, p.Name)
	}
	return out
}
