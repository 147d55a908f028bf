package bgpplan

import (
	"net/netip"
	"slices"
	"time"

	"github.com/causeway-net/causeway/internal/bgpcheck"
)

const (
	// joinOverlap is how long prefixes are announced besides the one that has taken their place. Routers may pass a withdrawal on at once
	// and hold an announcement back for 30 s (MinRouteAdvertisementIntervalTimer, RFC 4271 section 9.2.1.1).
	joinOverlap = 32 * time.Second
	// splitOverlap is how long a joined prefix is announced besides its parts when some of it is the node's no longer. In the meantime
	// the node gets packets to addresses that nobody has, so it is short.
	splitOverlap = 2 * time.Second
)

// Ending is an announced prefix that is withdrawn when others, which have taken its place, have spread.
type Ending struct {
	Prefix netip.Prefix
	Until  time.Time
}

// joinBlocks returns the fewest prefixes that say exactly which blocks the node has. Two are joined only if routers and filters do the same with
// the joined one as with each of the two. Ranges of other nodes' blocks stay as they are.
func (p *planner) joinBlocks(blocks []Block) []netip.Prefix {
	pools := map[string]netip.Prefix{}
	for _, pool := range p.in.Pools {
		pools[pool.Name] = pool.CIDR.Masked()
	}
	whole := map[netip.Prefix]string{}
	var out, pending []netip.Prefix
	for _, b := range blocks {
		prefix := b.CIDR.Masked()
		if b.Lent {
			out = append(out, prefix)
		} else {
			whole[prefix] = b.Pool
			pending = append(pending, prefix)
		}
	}
	rules := p.prefixRules()
	for ; len(pending) > 0; pending = pending[1:] {
		part := pending[0]
		pool, there := whole[part]
		if !there || part.Bits() == 0 || part.Bits() <= pools[pool].Bits() || !pools[pool].IsValid() {
			continue
		}
		joined := netip.PrefixFrom(part.Addr(), part.Bits()-1).Masked()
		other := netip.PrefixFrom(flip(part.Addr(), part.Bits()-1), part.Bits())
		if of, has := whole[other]; !has || of != pool || !p.alike(rules, joined, part, other) {
			continue
		}
		delete(whole, part)
		delete(whole, other)
		whole[joined] = pool
		pending = append(pending, joined)
	}
	for prefix := range whole {
		out = append(out, prefix)
	}
	return out
}

// alike says whether communities and filters are the same for some prefixes.
func (p *planner) alike(rules [][]PrefixRange, first netip.Prefix, more ...netip.Prefix) bool {
	standard, large := p.communities(first)
	for _, prefix := range more {
		s, l := p.communities(prefix)
		tells := func(ranges []PrefixRange) bool { return anyCovers(ranges, first) != anyCovers(ranges, prefix) }
		if !slices.Equal(s, standard) || !slices.Equal(l, large) || slices.ContainsFunc(rules, tells) {
			return false
		}
	}
	return true
}

// prefixRules returns what the rules of all filters match, those of other nodes' sessions too: these hear what this node announces.
func (p *planner) prefixRules() (rules [][]PrefixRange) {
	for _, f := range p.in.Filters {
		if len(bgpcheck.Filter(&f.Spec)) > 0 {
			continue // no session with it comes up
		}
		for _, list := range bgpcheck.Lists(&f.Spec) {
			for i := range list.Rules {
				rules = append(rules, prefixRanges(&list.Rules[i], list.Bits))
			}
		}
	}
	return rules
}

// ending returns the prefixes of blocks that were announced until now and are to be for some time still.
func (p *planner) ending(current []netip.Prefix) (out []Ending) {
	until := map[netip.Prefix]time.Time{}
	for _, e := range p.in.Ending {
		until[e.Prefix] = e.Until
	}
	for _, a := range p.in.Announced {
		if a.Source != SourceBlock || slices.Contains(current, a.Prefix) {
			continue
		}
		var overlap time.Duration
		switch {
		case slices.ContainsFunc(current, func(c netip.Prefix) bool { return contains(c, a.Prefix) }):
			overlap = joinOverlap
		case slices.ContainsFunc(current, func(c netip.Prefix) bool { return contains(a.Prefix, c) }):
			overlap = splitOverlap
		default:
			continue // nothing takes its place
		}
		end := p.in.Now.Add(overlap)
		if before, known := until[a.Prefix]; known && before.Before(end) {
			end = before
		}
		if end.After(p.in.Now) {
			out = append(out, Ending{a.Prefix, end})
		}
	}
	slices.SortFunc(out, func(a, b Ending) int { return comparePrefix(a.Prefix, b.Prefix) })
	return out
}
