package blockplan

import (
	"cmp"
	"net/netip"
	"slices"
	"unique"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// census counts the addresses that namespaces have, by pool. An address counts that lies in a block of the node whose record says so: a
// stolen token of one node can fill up a namespace's limit with no more addresses than the node has.
type census map[name]map[name]int

func (c census) count(h holder, by int) {
	if c[h.pool] == nil {
		c[h.pool] = map[name]int{}
	}
	if c[h.pool][h.space] += by; c[h.pool][h.space] <= 0 {
		delete(c[h.pool], h.space)
	}
	if len(c[h.pool]) == 0 {
		delete(c, h.pool)
	}
}

// owns says whether an address lies in a block that its holder's node has of its pool, other than one block.
func (s *State) owns(a netip.Addr, h holder, other *block) bool {
	return slices.ContainsFunc(s.cover(a), func(b *block) bool { return b != other && b.holder(a) == h.node.Value() && b.Pool == h.pool.Value() })
}

// holder is the node whose an address of the block is: the block's own, or one that has a loan.
func (b *block) holder(a netip.Addr) string {
	for _, l := range b.Loans {
		if l.Granted && l.Prefix.Contains(a) {
			return l.Node
		}
	}
	return b.Node
}

// countNamespaces brings the census up to date with a block that has come (1) or gone (-1).
func (s *State) countNamespaces(b *block, by int) {
	pool := unique.Make(b.Pool)
	s.pieces(b.Prefix, func(a netip.Addr) {
		node := unique.Make(b.holder(a))
		for _, h := range s.addresses[a].all() {
			if h.node == node && h.pool == pool && !s.owns(a, h, b) {
				s.census.count(h, by)
			}
		}
	})
}

// NamespaceUse is how many addresses of a pool a namespace has, and how many it may have.
type NamespaceUse struct {
	Namespace       string
	Addresses, Most int
}

// AtLimit returns the namespaces that have as many addresses of a pool as they may have, or more, in order.
func (s *State) AtLimit(pool *v1alpha1.IPPool) []NamespaceUse {
	if len(pool.Spec.NamespaceLimits) == 0 {
		return nil
	}
	var out []NamespaceUse
	for namespace, has := range s.census[unique.Make(pool.Name)] {
		if most, limited := pool.Spec.NamespaceLimit(namespace.Value()); limited && has >= most {
			out = append(out, NamespaceUse{namespace.Value(), has, most})
		}
	}
	slices.SortFunc(out, func(a, b NamespaceUse) int { return cmp.Compare(a.Namespace, b.Namespace) })
	return out
}
