package addresses

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// Aggregate is a prefix that blocks of a group of nodes lie in: what a router can announce for a rack (IPPool.spec.aggregation).
// A prefix that is listed with several groups has blocks of each of them.
type Aggregate struct {
	Prefix string `json:"prefix"`
	// Group is the value of the nodes' label; empty where they don't have it, or where the node is not known.
	Group  string `json:"group"`
	Blocks int    `json:"blocks"`

	prefix netip.Prefix
}

// aggregates returns the prefixes that blocks of a pool lie in, in order; none where the pool has no aggregation.
func aggregates(c *objects.Cluster, p *v1alpha1.IPPool, blocks []*indexed) []Aggregate {
	if p.Spec.Aggregation == nil {
		return nil
	}
	groups := map[string]string{}
	for i := range c.Networks.Items {
		n := &c.Networks.Items[i]
		groups[n.Name] = n.Labels[p.Spec.Aggregation.TopologyKey]
	}
	type key struct {
		prefix netip.Prefix
		group  string
	}
	counts := map[key]int{}
	for _, b := range blocks {
		if prefix, err := b.prefix.Addr().Prefix(int(p.Spec.Aggregation.PrefixLength)); err == nil && b.pool == p.Name {
			counts[key{prefix, groups[b.Node]}]++
		}
	}
	out := make([]Aggregate, 0, len(counts))
	for k, n := range counts {
		out = append(out, Aggregate{Prefix: k.prefix.String(), Group: k.group, Blocks: n, prefix: k.prefix})
	}
	slices.SortFunc(out, func(a, b Aggregate) int { return cmp.Or(a.prefix.Compare(b.prefix), cmp.Compare(a.Group, b.Group)) })
	return out
}
