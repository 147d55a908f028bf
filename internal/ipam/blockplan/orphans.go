package blockplan

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// orphan is a block that should exist and does not, because a node holds it or has addresses in use in it. Nobody else gets it.
type orphan struct {
	prefix     netip.Prefix
	pool, node string
	// restore says that it is made again for its node; else it is only kept from others.
	restore bool
	// loans are those that it had.
	loans []Loan
}

func (s *State) hasOrphans() bool {
	return len(s.loose)+len(s.vacant)+len(s.vanished)+len(s.blocked) > 0 || len(s.orphaned) > 0
}

// expire forgets what need not be remembered any longer.
func (s *State) expire(now time.Time) {
	for p, v := range s.vanished {
		if now.After(v.until) {
			delete(s.vanished, p)
			s.orphansStale = true
		}
	}
	for p, until := range s.blocked {
		if now.After(until) {
			delete(s.blocked, p)
			s.orphansStale = true
		}
	}
	for p, b := range s.pending {
		if now.Sub(b.madeAt) > memory {
			delete(s.pending, p)
			s.remove(b)
		}
	}
}

// memory is how long a created block is believed in that the API does not show.
const memory = 30 * time.Second

// evidence is who says that a block should exist.
type evidence struct {
	pool  string
	nodes []string
	// addresses in use are what says so; none where only a claim does.
	addresses []netip.Addr
}

// orphans returns the blocks that should exist, sorted by prefix. A node's word is good for as many blocks as it could have;
// for one that this process saw vanish, always.
func (s *State) orphans() []orphan {
	if !s.orphansStale {
		return s.orphaned
	}
	s.orphansStale = false
	found := s.evidence()
	taken := slices.Clone(s.used.walk())
	for p := range s.blocked {
		taken = append(taken, p)
	}
	SortPrefixes(taken)
	s.orphaned = nil
	extra := map[share]int{}
	sorted := slices.SortedFunc(maps.Keys(found), ComparePrefixes)
	slices.SortStableFunc(sorted, func(a, b netip.Prefix) int { return s.rank(a, found[a]) - s.rank(b, found[b]) })
	for _, prefix := range sorted {
		o, seen := s.claimed(prefix, found[prefix])
		owner := share{o.node, o.pool}
		if !seen && !s.mayHave(owner, extra[owner]) {
			continue
		}
		for _, part := range o.without(taken, found[prefix].addresses) {
			at, _ := slices.BinarySearchFunc(taken, part.prefix, ComparePrefixes)
			taken = slices.Insert(taken, at, part.prefix)
			s.orphaned = append(s.orphaned, part)
		}
		extra[owner]++
	}
	slices.SortFunc(s.orphaned, func(a, b orphan) int { return ComparePrefixes(a.prefix, b.prefix) })
	return s.orphaned
}

// claimed says whose a block is, and whether this process saw it vanish. The choice between several only has to be the same
// every time.
func (s *State) claimed(prefix netip.Prefix, e evidence) (orphan, bool) {
	if was, seen := s.vanished[prefix]; seen {
		lent := func(l Loan) bool { return slices.Contains(e.nodes, l.Node) }
		needed := slices.Contains(e.nodes, was.node) || s.claimedFrom(was.node, prefix) != "" || slices.ContainsFunc(was.loans, lent)
		return orphan{prefix: prefix, pool: was.pool, node: was.node, restore: needed, loans: was.loans}, true
	}
	// Of several nodes with pods in it, one that says it holds the whole block is not one that borrowed an address of it.
	holding := slices.DeleteFunc(slices.Clone(e.nodes), func(n string) bool { return s.claimedFrom(n, prefix) == "" })
	if len(holding) == 0 {
		holding = e.nodes
	}
	return orphan{prefix: prefix, pool: e.pool, node: slices.Min(holding), restore: true}, false
}

// without returns the block if it overlaps nothing that is taken. If it does, only its addresses in use are kept from others.
func (o orphan) without(taken []netip.Prefix, addresses []netip.Addr) []orphan {
	if !overlapsAny(taken, o.prefix) {
		return []orphan{o}
	}
	var out []orphan
	for _, a := range addresses {
		if p := netip.PrefixFrom(a, a.BitLen()); !overlapsAny(taken, p) {
			out = append(out, orphan{prefix: p, pool: o.pool, node: o.node})
		}
	}
	return out
}

// rank orders blocks of several sizes that overlap: those that were seen to vanish are certain and come first, and addresses in use say
// more than a claim.
func (s *State) rank(p netip.Prefix, e evidence) int {
	_, seen := s.vanished[p]
	switch {
	case seen:
		return 0
	case len(e.addresses) > 0:
		return 1
	}
	return 2
}

// mayHave says whether a node could have one more block of a pool.
func (s *State) mayHave(owner share, extra int) bool {
	p := s.pools[owner.pool]
	if p == nil {
		return false
	}
	blocks := extra
	if t := s.shares[owner]; t != nil {
		blocks += t.blocks
	}
	return blocks < p.MaxBlocks
}

// evidence gathers what says that a block should exist: addresses in use, claims, and this process's own memory.
func (s *State) evidence() map[netip.Prefix]evidence {
	found := map[netip.Prefix]evidence{}
	for p, v := range s.vanished {
		found[p] = evidence{pool: v.pool}
	}
	users := map[netip.Prefix]evidence{}
	for a := range s.loose {
		for _, h := range s.addresses[a].all() {
			p := s.poolOf(a, h.pool.Value())
			if p == nil {
				continue
			}
			if prefix, err := a.Prefix(p.Bits); err == nil {
				e := users[prefix]
				users[prefix] = evidence{pool: p.Name, nodes: append(e.nodes, h.node.Value()), addresses: append(e.addresses, a)}
			}
		}
	}
	for p := range s.vacant {
		for _, nodeName := range s.heldBy[p] {
			if _, used := users[p]; used {
				continue // Addresses in use say more than a claim.
			}
			if pool := s.claimedFrom(nodeName, p); pool != "" {
				found[p] = evidence{pool: pool, nodes: append(found[p].nodes, nodeName)}
			}
		}
	}
	maps.Copy(found, users)
	return found
}

// claimedFrom returns the pool of which a node may hold exactly this block, or nothing.
func (s *State) claimedFrom(nodeName string, prefix netip.Prefix) string {
	n := s.nodes[nodeName]
	if n == nil || n.released[prefix] != "" {
		return ""
	}
	var out string
	for poolName, c := range n.claims {
		p := s.pools[poolName]
		fits := p != nil && p.Bits == prefix.Bits() && p.Prefix.Contains(prefix.Addr())
		if fits && slices.Contains(c.held, prefix) && (out == "" || poolName < out) {
			out = poolName
		}
	}
	return out
}

// overlapsAny says whether a prefix overlaps one of a sorted list.
func overlapsAny(sorted []netip.Prefix, p netip.Prefix) bool {
	at, found := slices.BinarySearchFunc(sorted, p, ComparePrefixes)
	if found || at < len(sorted) && sorted[at].Overlaps(p) {
		return true
	}
	return coveredBy(sorted, p) // which stands before it, though perhaps not next to it
}
