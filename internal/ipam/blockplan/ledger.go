// Package blockplan decides which node gets which block of which pool, and which blocks go. It takes API objects and what
// was just created, and returns a plan. It does no I/O.
package blockplan

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Pool is an IPPool with its numbers.
type Pool struct {
	Object *v1alpha1.IPPool
	Prefix netip.Prefix
	Bits   int
	// Older are the names of the pools that this one overlaps and that were there first. It gives nothing out then.
	Older []string
	// Blocks is the number of IPBlocks cut from the pool.
	Blocks int64
	// Allocated is the number of addresses of the pool that WorkloadEndpoints hold.
	Allocated int64
	// PerBlock is the number of addresses in one block that pods can have.
	PerBlock int64
}

// GivesOut says whether new blocks may be cut from the pool. A pool without our finalizer could vanish at any time.
func (p *Pool) GivesOut() bool {
	return p.Object.DeletionTimestamp.IsZero() && !p.Object.Spec.Disabled && len(p.Older) == 0 &&
		slices.Contains(p.Object.Finalizers, v1alpha1.FinalizerPool)
}

// Block is an IPBlock with its numbers.
type Block struct {
	Object *v1alpha1.IPBlock
	Prefix netip.Prefix
	// InUse is the number of addresses in it that WorkloadEndpoints hold.
	InUse int64
}

// Orphan is a block that should exist: a WorkloadEndpoint of the node has an address in it.
type Orphan struct {
	Prefix netip.Prefix
	Pool   string
	Node   string
}

// Ledger is what the API says about pools, blocks and addresses.
type Ledger struct {
	// Pools are sorted by age, then name.
	Pools []*Pool
	// Blocks are sorted by prefix.
	Blocks []*Block
	// Orphans are sorted by prefix. A prefix is there once.
	Orphans []Orphan

	poolByName map[string]*Pool
	byPrefix   map[netip.Prefix]*Block
	lengths    map[bool][]int
}

// Read makes a ledger. Objects with prefixes that can't be read are left out: the API server lets none in.
func Read(pools []v1alpha1.IPPool, blocks []v1alpha1.IPBlock, endpoints []v1alpha1.WorkloadEndpoint) *Ledger {
	l := &Ledger{poolByName: map[string]*Pool{}, byPrefix: map[netip.Prefix]*Block{}, lengths: map[bool][]int{}}
	l.readPools(pools)
	l.readBlocks(blocks)
	l.readEndpoints(endpoints)
	return l
}

// Pool returns a pool by name, or nil.
func (l *Ledger) Pool(name string) *Pool { return l.poolByName[name] }

// Block returns the block with exactly this prefix, or nil.
func (l *Ledger) Block(p netip.Prefix) *Block { return l.byPrefix[p] }

func (l *Ledger) readPools(pools []v1alpha1.IPPool) {
	for i := range pools {
		object := &pools[i]
		prefix, err := object.Spec.Prefix()
		if err != nil {
			continue
		}
		bits := object.Spec.BlockBits()
		l.Pools = append(l.Pools, &Pool{Object: object, Prefix: prefix, Bits: bits,
			PerBlock: v1alpha1.UsableAddresses(netip.PrefixFrom(prefix.Addr(), bits))})
	}
	slices.SortFunc(l.Pools, func(a, b *Pool) int {
		return cmp.Or(a.Object.CreationTimestamp.Compare(b.Object.CreationTimestamp.Time), cmp.Compare(a.Object.Name, b.Object.Name))
	})
	for i, pool := range l.Pools {
		l.poolByName[pool.Object.Name] = pool
		for _, older := range l.Pools[:i] {
			if older.Prefix.Overlaps(pool.Prefix) {
				pool.Older = append(pool.Older, older.Object.Name)
			}
		}
	}
}

func (l *Ledger) readBlocks(blocks []v1alpha1.IPBlock) {
	for i := range blocks {
		prefix, err := netip.ParsePrefix(blocks[i].Spec.CIDR)
		if err != nil {
			continue
		}
		prefix = prefix.Masked()
		b := &Block{Object: &blocks[i], Prefix: prefix}
		l.Blocks = append(l.Blocks, b)
		l.byPrefix[prefix] = b
		is4 := prefix.Addr().Is4()
		if !slices.Contains(l.lengths[is4], prefix.Bits()) {
			l.lengths[is4] = append(l.lengths[is4], prefix.Bits())
		}
		if pool := l.poolByName[blocks[i].Spec.Pool]; pool != nil {
			pool.Blocks++
		}
	}
	slices.SortFunc(l.Blocks, func(a, b *Block) int { return ComparePrefixes(a.Prefix, b.Prefix) })
}

func (l *Ledger) readEndpoints(endpoints []v1alpha1.WorkloadEndpoint) {
	orphans := map[netip.Prefix]Orphan{}
	for i := range endpoints {
		spec := &endpoints[i].Spec
		for n, text := range spec.Addresses {
			p, err := netip.ParsePrefix(text)
			if err != nil {
				continue
			}
			named := ""
			if n < len(spec.Pools) {
				named = spec.Pools[n]
			}
			pool := l.poolOf(p.Addr(), named)
			if pool != nil {
				pool.Allocated++
			}
			if b := l.blockOf(p.Addr()); b != nil {
				b.InUse++
				continue
			}
			if pool == nil {
				continue
			}
			prefix, err := p.Addr().Prefix(pool.Bits)
			if err != nil {
				continue
			}
			// Two nodes in one vanished block can't both be right; the choice only has to be the same every time.
			if have, ok := orphans[prefix]; !ok || spec.Node < have.Node {
				orphans[prefix] = Orphan{Prefix: prefix, Pool: pool.Object.Name, Node: spec.Node}
			}
		}
	}
	for _, o := range orphans {
		l.Orphans = append(l.Orphans, o)
	}
	slices.SortFunc(l.Orphans, func(a, b Orphan) int { return ComparePrefixes(a.Prefix, b.Prefix) })
}

func (l *Ledger) poolOf(a netip.Addr, named string) *Pool {
	if pool := l.poolByName[named]; pool != nil && pool.Prefix.Contains(a) {
		return pool
	}
	for _, pool := range l.Pools {
		if pool.Prefix.Contains(a) {
			return pool
		}
	}
	return nil
}

func (l *Ledger) blockOf(a netip.Addr) *Block {
	for _, bits := range l.lengths[a.Is4()] {
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		if b := l.byPrefix[p]; b != nil {
			return b
		}
	}
	return nil
}

// ComparePrefixes orders by first address, the larger prefix first.
func ComparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// SortPrefixes sorts masked prefixes for FindGaps.
func SortPrefixes(p []netip.Prefix) { slices.SortFunc(p, ComparePrefixes) }
