package blockplan

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/ipam/reservation"
)

// shownInUse is how many reserved addresses in use are named to people.
const shownInUse = 5

// SetReservation notes the addresses that an IPReservation keeps from all pods; nil when it is gone.
func (s *State) SetReservation(name string, set *reservation.Set) {
	if set == nil {
		delete(s.reservations, name)
	} else {
		s.reservations[name] = set
	}
	for _, p := range s.order {
		s.reserve(p)
	}
}

// reserve brings up to date what a pool reserves, and what its blocks have free.
func (s *State) reserve(p *pool) {
	next := reservation.Union(append(slices.Collect(maps.Values(s.reservations)), p.Reserved)...)
	if next.Equal(p.reserved) {
		return
	}
	p.reserved = next
	for _, b := range s.blocks {
		if b.Pool == p.Name {
			s.recount(b)
		}
	}
}

// usable returns how many addresses of a block of a pool pods can have.
func (s *State) usable(poolName string, block netip.Prefix) int64 {
	var reserved *reservation.Set
	if p := s.pools[poolName]; p != nil {
		reserved = p.reserved
	}
	return reserved.Usable(block, block.Bits())
}

// wholly returns what no block of a pool is worth being cut from, because all of it is reserved.
func (p *pool) wholly() []netip.Prefix {
	return slices.DeleteFunc(p.reserved.Prefixes(p.Prefix), func(r netip.Prefix) bool { return r.Bits() > p.Bits })
}

// InUse returns the lowest few addresses of a set in a prefix that pods have, and how many there are.
func (s *State) InUse(set *reservation.Set, within netip.Prefix) ([]netip.Addr, int) {
	var found []netip.Addr
	note := func(a netip.Addr) { found = append(found, a) }
	prefixes := set.Prefixes(within)
	if slices.ContainsFunc(prefixes, vast) { // one walk over all addresses in use, not one for each large part of the set
		s.pieces(within, func(a netip.Addr) {
			if set.Contains(a) {
				note(a)
			}
		})
		prefixes = nil
	}
	for _, p := range prefixes {
		s.pieces(p, note)
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return found[:min(len(found), shownInUse)], len(found)
}
