package addresses

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
	"github.com/causeway-net/causeway/internal/ipam/wish"
	"github.com/causeway-net/causeway/node-agent/cluster"
)

// pool is what the agent has worked out of one IPPool.
type pool struct {
	addressbook.Pool
	namespaces labels.Selector // which namespaces it may serve
	chosen     bool            // it has a namespaceSelector
	manual     bool
	// fixedAllowed says that pods may ask for a certain address.
	fixedAllowed bool
	// sticky says that addresses are remembered for pods of StatefulSets.
	sticky  bool
	created metav1.Time
	status  v1alpha1.IPPoolStatus
}

// Namespaces tells what is known of a namespace. It reports false for one that the view does not show.
type Namespaces func(name string) (cluster.Namespace, bool)

// Pools answers questions about the pools. It is safe for concurrent use.
type Pools struct {
	namespaces Namespaces

	mu         sync.RWMutex
	pools      []pool // best first
	remembered map[types.NamespacedName][]sticky.Address
	mtus       map[string]int
	defaultMTU int
}

// NewPools returns a list of no pools.
func NewPools(n Namespaces) *Pools { return &Pools{namespaces: n} }

// set replaces the pools, and returns what the address book is to know of them.
func (p *Pools) set(pools []cluster.Pool, reserved *reservation.Set, node cluster.Node, exists bool) []addressbook.Pool {
	list := make([]pool, 0, len(pools))
	known := make([]addressbook.Pool, 0, len(pools))
	for _, in := range pools {
		out := workOut(in, node, exists)
		own, _ := reservation.Parse(in.Object.Spec.Reserved, out.CIDR) // the controller tells people what is wrong
		out.Reserved = reservation.Union(own, reserved)
		list, known = append(list, out), append(known, out.Pool)
	}
	slices.SortFunc(list, before)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pools = list
	return known
}

// before puts a pool for certain namespaces before one for all, and an older one before a newer one.
func before(a, b pool) int {
	if a.chosen != b.chosen {
		if a.chosen {
			return -1
		}
		return 1
	}
	if c := a.created.Compare(b.created.Time); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

// workOut finds out whether this node may use a pool, and for whom.
func workOut(in cluster.Pool, node cluster.Node, exists bool) pool {
	o, cidr := in.Object, in.Route.CIDR
	manual := o.Spec.AssignmentMode == v1alpha1.AssignmentManual
	out := pool{
		manual: manual, sticky: o.Spec.Sticky == v1alpha1.StickyStatefulSet, fixedAllowed: o.Spec.FixedAddresses == v1alpha1.FixedAddressesAllowed, created: o.CreationTimestamp, status: o.Status,
		namespaces: selector(o.Spec.NamespaceSelector), chosen: o.Spec.NamespaceSelector != nil,
		Pool: addressbook.Pool{
			Name: o.Name, CIDR: cidr, Reserve: !manual, Exhausted: has(o, v1alpha1.ConditionExhausted), Spare: o.Status.Free > 0,
			MaxBlocks: int(o.Spec.MaxBlocksPerNode), BlockBits: o.Spec.BlockBits(),
			BlockCapacity: int(min(v1alpha1.UsableAddresses(netip.PrefixFrom(cidr.Addr(), o.Spec.BlockBits())), 1<<16)),
		},
	}
	out.Namespaces, out.Travels = limitsOf(o), out.fixedAllowed || out.sticky
	wanted := !o.Spec.Disabled && o.DeletionTimestamp == nil
	sound := !has(o, v1alpha1.ConditionOverlapping) && !has(o, v1alpha1.ConditionConflicting)
	out.Usable = wanted && sound && exists && selector(o.Spec.NodeSelector).Matches(labels.Set(node.Labels))
	return out
}

// limitsOf reads how many addresses of a pool namespaces may have, and which ones have them.
func limitsOf(o *v1alpha1.IPPool) *addressbook.NamespaceLimits {
	if len(o.Spec.NamespaceLimits) == 0 {
		return nil
	}
	out := &addressbook.NamespaceLimits{Named: map[string]int{}, Reached: slices.Sorted(slices.Values(o.Status.NamespacesAtLimit))}
	for _, l := range o.Spec.NamespaceLimits {
		most := int(l.Addresses)
		if l.Namespace == v1alpha1.OtherNamespaces {
			out.Others = &most
			continue
		}
		out.Named[l.Namespace] = most
	}
	return out
}

func has(o *v1alpha1.IPPool, condition string) bool {
	return meta.IsStatusConditionTrue(o.Status.Conditions, condition)
}

// selector selects all where nothing is said, and nothing where it can't be parsed.
func selector(s *metav1.LabelSelector) labels.Selector {
	if s == nil {
		return labels.Everything()
	}
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return out
}

// SetMTU notes what pods get: by pool, and where nothing is known of the pool yet.
func (p *Pools) SetMTU(byPool map[string]int, otherwise int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mtus, p.defaultMTU = byPool, otherwise
}

// Candidates returns one list of pool names for each address family, best first. wishes are what the pod and the network configuration
// ask for; what they leave open, the namespace may say. Errors are addressbook.ErrUnknownNamespace and those of wish.Choose.
func (p *Pools) Candidates(namespace string, wishes []wish.Wish) ([][]string, error) {
	facts, known := p.namespaces(namespace)
	if !known {
		return nil, addressbook.ErrUnknownNamespace
	}
	p.mu.RLock()
	choice := make([]wish.Pool, 0, len(p.pools))
	for _, c := range p.pools {
		choice = append(choice, wish.Pool{Name: c.Name, V4: c.CIDR.Addr().Is4(), Usable: c.Usable, Manual: c.manual, Namespaces: c.namespaces})
	}
	p.mu.RUnlock()
	all := append(slices.Clone(wishes), wish.Read("namespace "+namespace, facts.Annotations))
	return wish.Choose(choice, wish.Namespace{Name: namespace, Labels: facts.Labels}, all...)
}

func (p *Pools) find(name string) (pool, bool) {
	i := slices.IndexFunc(p.pools, func(c pool) bool { return c.Name == name })
	if i < 0 {
		return pool{}, false
	}
	return p.pools[i], true
}

// Of returns the names of the pools that an endpoint's addresses are from, "" for none.
func (p *Pools) Of(e addressbook.Endpoint) []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := make([]string, len(e.Addresses))
	for i, a := range e.Addresses {
		if j := slices.IndexFunc(p.pools, func(c pool) bool { return c.CIDR.Contains(a) }); j >= 0 {
			out[i] = p.pools[j].Name
		}
	}
	return out
}

// MTU returns the MTU of a pod with addresses of these pools, in bytes.
func (p *Pools) MTU(pools []string) int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	mtu := p.defaultMTU
	for _, name := range pools {
		if known, ok := p.mtus[name]; ok && known > 0 && (mtu == 0 || known < mtu) {
			mtu = known
		}
	}
	return mtu
}

// Fullness says in words how full a pool is.
func (p *Pools) Fullness(name string) string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	found, ok := p.find(name)
	if !ok {
		return fmt.Sprintf("IPPool %s is gone", name)
	}
	return fmt.Sprintf("IPPool %s is full: %d of %d addresses are in use, and it has no block left for this node", name, found.status.Allocated, found.status.Capacity)
}
