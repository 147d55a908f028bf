package blockplan

import (
	"maps"
	"net/netip"
	"slices"
	"unique"

	"go4.org/netipx"
)

// Endpoint is what a plan needs of a WorkloadEndpoint: whose it is, and its addresses with their pools. It is small, because
// there are many.
type Endpoint struct {
	node  name
	space name // its namespace
	pools [2]name
	addrs [2]netip.Addr
}

// NewEndpoint makes an endpoint of at most two addresses and their pools.
func NewEndpoint(namespace, node string, addrs []netip.Addr, pools []string) Endpoint {
	e := Endpoint{node: unique.Make(node), space: unique.Make(namespace)}
	for i := range e.addrs {
		if i < len(addrs) && i < len(pools) {
			e.addrs[i], e.pools[i] = addrs[i], unique.Make(pools[i])
		}
	}
	return e
}

// Node is the node that the endpoint is on.
func (e Endpoint) Node() string { return e.node.Value() }

// Addresses are those that it has.
func (e Endpoint) Addresses() []netip.Addr {
	return slices.DeleteFunc(slices.Clone(e.addrs[:]), func(a netip.Addr) bool { return !a.IsValid() })
}

// Has says whether the endpoint has an address.
func (e Endpoint) Has(a netip.Addr) bool { return slices.Contains(e.addrs[:], a) }

// Pools are the names of the pools of its addresses.
func (e Endpoint) Pools() []string {
	var out []string
	for i, a := range e.addrs {
		if a.IsValid() {
			out = append(out, e.pools[i].Value())
		}
	}
	return out
}

// holder is one who has an address, by its record.
type holder struct{ node, pool, space name }

// holders are all who have the same address. There should be one.
type holders struct {
	first holder
	more  []holder
}

func (h holders) all() []holder { return append([]holder{h.first}, h.more...) }

// AddEndpoint counts an endpoint. Each must be dropped once, with the same values.
func (s *State) AddEndpoint(e Endpoint) {
	s.perNode[e.node]++
	s.restray(e.Node())
	for i, a := range e.addrs {
		if !a.IsValid() {
			continue
		}
		s.numbersOf(e.pools[i].Value()).allocated++
		h := holder{e.node, e.pools[i], e.space}
		if s.owns(a, h, nil) {
			s.census.count(h, 1)
		}
		have, known := s.addresses[a]
		if known {
			have.more = append(have.more, h)
			s.addresses[a] = have
			continue
		}
		s.expect(a, -1)
		s.addresses[a] = holders{first: h}
		if !s.count(a, 1) {
			s.loose[a] = struct{}{}
			s.orphansStale = true
		}
	}
}

// DropEndpoint takes an endpoint away.
func (s *State) DropEndpoint(e Endpoint) {
	if s.perNode[e.node]--; s.perNode[e.node] <= 0 {
		delete(s.perNode, e.node)
	}
	s.restray(e.Node())
	for i, a := range e.addrs {
		if !a.IsValid() {
			continue
		}
		s.numbersOf(e.pools[i].Value()).allocated--
		all, h := s.addresses[a].all(), holder{e.node, e.pools[i], e.space}
		if at := slices.Index(all, h); at >= 0 {
			all = slices.Delete(all, at, at+1)
		}
		if s.owns(a, h, nil) {
			s.census.count(h, -1)
		}
		if len(all) > 0 {
			s.addresses[a] = holders{first: all[0], more: all[1:]}
			continue
		}
		delete(s.addresses, a)
		s.expect(a, 1)
		if !s.count(a, -1) {
			delete(s.loose, a)
			s.orphansStale = true
		}
	}
}

// count changes the number of addresses in use of the blocks that an address lies in, and says whether there are any.
func (s *State) count(a netip.Addr, by int64) bool {
	blocks := s.cover(a)
	for _, b := range blocks {
		b.inUse += by
		s.recount(b)
	}
	return len(blocks) > 0
}

// vast says that a prefix has more addresses than a block of the largest size.
func vast(p netip.Prefix) bool { return p.Addr().BitLen()-p.Bits() > 12 }

// pieces calls something for each address in use in a prefix.
func (s *State) pieces(p netip.Prefix, do func(netip.Addr)) {
	if vast(p) {
		for a := range s.addresses {
			if p.Contains(a) {
				do(a)
			}
		}
		return
	}
	last := netipx.PrefixLastIP(p)
	for a := p.Addr(); a.IsValid() && !last.Less(a); a = a.Next() {
		if _, known := s.addresses[a]; known {
			do(a)
		}
	}
}

// Strays are the names of nodes that have blocks or endpoints, but no Node, in order.
func (s *State) Strays() []string { return slices.Sorted(maps.Keys(s.strays)) }

func (s *State) restray(nodeName string) {
	n := s.nodes[nodeName]
	if (n == nil || !n.present) && s.HasLeft(nodeName) {
		s.strays[nodeName] = struct{}{}
	} else {
		delete(s.strays, nodeName)
	}
}

// HasLeft says whether blocks or endpoints of a node are there.
func (s *State) HasLeft(nodeName string) bool {
	n := s.nodes[nodeName]
	return n != nil && len(n.blocks)+n.borrows > 0 || s.perNode[unique.Make(nodeName)] > 0
}
