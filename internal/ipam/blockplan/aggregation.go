package blockplan

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Aggregation says which larger prefixes of a pool, the aggregates, the blocks of one group of nodes come from. The zero value is none.
type Aggregation struct {
	// Label is that of the nodes whose value names their group. Nodes without it are a group too.
	Label string
	// Bits is the length of the aggregates.
	Bits int
}

func aggregationOf(a *v1alpha1.Aggregation, p Pool) Aggregation {
	if a == nil || int(a.PrefixLength) <= p.Prefix.Bits() || int(a.PrefixLength) >= p.Bits {
		return Aggregation{} // The API server lets no such length in.
	}
	return Aggregation{Label: a.TopologyKey, Bits: int(a.PrefixLength)}
}

// aggregates offers each group the free blocks of its own aggregates, then those of aggregates in which nobody has a block.
type aggregates struct {
	pool   *pool
	taken  *taken
	owned  map[string][]netip.Prefix
	unused *Gaps
	offers map[string]*offer
}

func (p *planner) aggregates(pool *pool, taken *taken) *aggregates {
	// What is withheld or reserved of an aggregate keeps nobody from the rest of it.
	blocks := p.state.used.with(p.reserved)
	return &aggregates{pool: pool, taken: taken, owned: p.owners(pool), unused: FindGaps(pool.Prefix, pool.Aggregation.Bits, blocks), offers: map[string]*offer{}}
}

// owners returns the aggregates of each group, in order. An aggregate belongs to the group that has most blocks in it. Blocks of a node
// that is gone count for nobody; an aggregate that has only such blocks can be used again when they are deleted.
func (p *planner) owners(pool *pool) map[string][]netip.Prefix {
	counts := map[netip.Prefix]map[string]int{}
	count := func(block netip.Prefix, nodeName string) {
		aggregate, err := block.Addr().Prefix(pool.Aggregation.Bits)
		if err != nil || !pool.Prefix.Contains(block.Addr()) {
			return
		}
		if counts[aggregate] == nil {
			counts[aggregate] = map[string]int{}
		}
		if n := p.state.nodes[nodeName]; n != nil && n.present {
			counts[aggregate][n.labels[pool.Aggregation.Label]]++
		}
	}
	for prefix, b := range p.state.blocks {
		count(prefix, b.Node)
	}
	for _, o := range p.state.orphans() {
		count(o.prefix, o.node)
	}
	owned := map[string][]netip.Prefix{}
	for aggregate, groups := range counts {
		if group, ok := most(groups); ok {
			owned[group] = append(owned[group], aggregate)
		}
	}
	for _, of := range owned {
		slices.SortFunc(of, ComparePrefixes)
	}
	return owned
}

// most returns the group with the most blocks; of several the first by name.
func most(groups map[string]int) (string, bool) {
	best, found := "", false
	for group, n := range groups {
		if !found || cmp.Or(cmp.Compare(n, groups[best]), cmp.Compare(best, group)) > 0 {
			best, found = group, true
		}
	}
	return best, found
}

// offerTo returns what is offered to a node's group.
func (a *aggregates) offerTo(r *request) *offer {
	group := r.node.labels[a.pool.Aggregation.Label]
	o := a.offers[group]
	if o == nil {
		o = newOffer(a.pool, a.taken, a.owned[group], a.unused.Next)
		a.offers[group] = o
	}
	return o
}

// full says who waits although the pool has free blocks, or that the pool has none for anybody.
func (p *planner) full(pool *pool, requests []*request, offerTo func(*request) *offer, all *offer) {
	f := FullAggregate{Pool: pool.Name}
	for _, r := range requests {
		if r.waiting > 0 && offerTo(r).empty {
			f.Waiting += r.waiting
			f.Nodes = append(f.Nodes, r.node.name)
		}
	}
	if len(f.Nodes) == 0 {
		return
	}
	if !all.has(1) {
		all.empty = true
		return
	}
	slices.Sort(f.Nodes)
	p.plan.Full = append(p.plan.Full, f)
}
