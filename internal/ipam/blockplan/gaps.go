package blockplan

import (
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// Gaps walks the free blocks of a pool, lowest first. Its cost is that of the used prefixes that it passes, never that
// of the pool's size: an IPv6 pool has more blocks than one could count.
type Gaps struct {
	pool   netip.Prefix
	bits   int
	used   []netip.Prefix
	cursor netip.Addr
}

// FindGaps begins a walk over the blocks of the given length in a pool. used must be sorted by SortPrefixes; it may hold
// prefixes of any length, inside each other, and outside the pool.
func FindGaps(pool netip.Prefix, bits int, used []netip.Prefix) *Gaps {
	g := &Gaps{pool: pool.Masked(), bits: bits}
	if !pool.IsValid() || bits < pool.Bits() || bits > pool.Addr().BitLen() || coveredBy(used, g.pool) {
		return g
	}
	g.cursor = g.pool.Addr()
	from, _ := slices.BinarySearchFunc(used, g.pool, ComparePrefixes)
	g.used = used[from:]
	return g
}

// coveredBy says whether a prefix of a sorted list covers another one.
func coveredBy(sorted []netip.Prefix, p netip.Prefix) bool {
	for bits := p.Bits() - 1; bits >= 0 && len(sorted) > 0; bits-- {
		if _, found := slices.BinarySearchFunc(sorted, netip.PrefixFrom(p.Addr(), bits).Masked(), ComparePrefixes); found {
			return true
		}
	}
	return false
}

// Next returns the lowest free block that it has not returned yet, or false when the pool has no more.
func (g *Gaps) Next() (netip.Prefix, bool) {
	for g.cursor.IsValid() && g.pool.Contains(g.cursor) {
		block := netip.PrefixFrom(g.cursor, g.bits)
		last := netipx.PrefixLastIP(block)
		for len(g.used) > 0 && netipx.PrefixLastIP(g.used[0]).Less(g.cursor) {
			g.used = g.used[1:]
		}
		if len(g.used) == 0 || last.Less(g.used[0].Addr()) {
			g.cursor = last.Next()
			return block, true
		}
		if end := netipx.PrefixLastIP(g.used[0]); last.Less(end) {
			last = end
		}
		g.cursor = last.Next()
	}
	g.cursor = netip.Addr{}
	return netip.Prefix{}, false
}
