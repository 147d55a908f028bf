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

// aggregates offers each group the gaps of its own aggregates, then those of aggregates in which nobody has a block.
type aggregates struct {
	pool *pool
	// used are the prefixes that nobody gets.
	used   []netip.Prefix
	owned  map[string][]netip.Prefix
	unused *Gaps
	offers map[string]*offer
}

func (p *planner) aggregates(pool *pool, used []netip.Prefix) *aggregates {
	// What is withheld or reserved of an aggregate keeps nobody from the rest of it.
	blocks := p.state.used.with(p.reserved)
	return &aggregates{pool: pool, used: used, owned: p.owners(pool), unused: FindGaps(pool.Prefix, pool.Aggregation.Bits, blocks), offers: map[string]*offer{}}
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
		usable := func(b netip.Prefix) int64 { return a.pool.reserved.Usable(b, b.Bits()) }
		o = &offer{gaps: &groupGaps{aggregates: a, rest: a.owned[group]}, usable: usable}
		a.offers[group] = o
	}
	return o
}

// groupGaps walks the free blocks that one group may have.
type groupGaps struct {
	*aggregates
	// now is the walk through one aggregate, rest the group's other aggregates.
	now  *Gaps
	rest []netip.Prefix
}

// Next returns the next free block. When the group's own aggregates have no more, it takes an aggregate in which nobody has a block.
func (g *groupGaps) Next() (netip.Prefix, bool) {
	for {
		if g.now != nil {
			if block, ok := g.now.Next(); ok {
				return block, true
			}
		}
		var aggregate netip.Prefix
		if len(g.rest) > 0 {
			aggregate, g.rest = g.rest[0], g.rest[1:]
		} else {
			unused, ok := g.unused.Next()
			if !ok {
				return netip.Prefix{}, false
			}
			aggregate = unused
		}
		g.now = FindGaps(aggregate, g.pool.Bits, g.used)
	}
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
	given := map[netip.Prefix]bool{}
	for _, c := range p.plan.Create {
		given[c.Prefix] = true
	}
	for {
		block, ok := all.gaps.Next()
		if !ok {
			all.empty = true
			return
		}
		if !given[block] && all.usable(block) > 0 {
			break
		}
	}
	slices.Sort(f.Nodes)
	p.plan.Full = append(p.plan.Full, f)
}
