package plan

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// learned sorts out what BGP learned. What stays has its next hops resolved to what is on a link.
func (m *maker) learned() {
	for _, b := range m.blocks {
		if b.Node != m.in.Node {
			m.exact[b.CIDR] = true
		}
	}
	m.tunnelled = m.tunnelledPools()
	for _, l := range m.in.Learned {
		if !l.Prefix.IsValid() {
			continue
		}
		dst := l.Prefix.Masked()
		if _, twice := m.bgp[dst]; twice {
			continue
		}
		if r, why := m.learn(dst, l.NextHops); why == "" {
			m.bgp[dst] = r
		} else {
			m.refuse(dst, why)
		}
	}
}

// learn turns what was learned into a route, or says why it is refused.
func (m *maker) learn(dst netip.Prefix, nextHops []netip.Addr) (Route, string) {
	if why := m.refuses(dst); why != "" {
		return Route{}, why
	}
	return m.resolve(dst, nextHops)
}

func (m *maker) refuse(dst netip.Prefix, why string) {
	m.refused[dst] = fmt.Sprintf("The learned route %s is not used: %s.", dst, why)
}

func (m *maker) tunnelledPools() []Pool {
	var pools []Pool
	for _, p := range m.pools {
		if p.Sending != v1alpha1.EncapsulationNone {
			pools = append(pools, p)
		}
	}
	slices.SortFunc(pools, func(a, b Pool) int { return cmp.Or(ComparePrefixes(a.CIDR, b.CIDR), cmp.Compare(a.Name, b.Name)) })
	return pools
}

// refuses says why a learned destination must not get into the kernel, or nothing.
func (m *maker) refuses(dst netip.Prefix) string {
	a := dst.Addr()
	if dst.Bits() == 0 {
		if !m.in.AcceptDefault {
			return "default routes are not accepted from BGP"
		}
		return ""
	}
	if a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.Is4In6() || (a.IsUnspecified() && dst.IsSingleIP()) {
		return "its addresses are not global unicast"
	}
	if why := m.collides(dst); why != "" {
		return "it lies in " + why
	}
	if r, ok := m.routes[dst]; ok {
		return fmt.Sprintf("it is the address of this node's pod behind %s", r.NextHop.Device)
	}
	if m.exact[dst] {
		return ""
	}
	for _, p := range m.tunnelled {
		if inside(dst, p.CIDR) && dst != p.CIDR {
			return fmt.Sprintf("it lies in pool %s, whose blocks are reached by %s", p.Name, p.Sending)
		}
	}
	return ""
}

func (m *maker) resolve(dst netip.Prefix, nextHops []netip.Addr) (Route, string) {
	r := Route{Dst: dst, Source: RouteSourceBGP, Protocol: names.BGPRouteProtocol}
	var hops []NextHop
	why := "it has no next hop"
	for _, via := range nextHops {
		via = via.Unmap()
		hop, known := m.resolved[via]
		if !known {
			hop = m.onLink(via)
			m.resolved[via] = hop
		}
		switch {
		case !via.IsValid() || via.Is4() != dst.Addr().Is4():
			why = fmt.Sprintf("its next hop %s is not of its family", via)
		case m.isOwn(via):
			why = fmt.Sprintf("its next hop %s is this node", via)
		case hop.Device == "":
			why = fmt.Sprintf("no route leads to its next hop %s", via)
		default:
			hops = append(hops, hop)
		}
	}
	if len(hops) == 0 {
		return r, why
	}
	slices.SortFunc(hops, func(a, b NextHop) int {
		if c := a.Via.Compare(b.Via); c != 0 {
			return c
		}
		return cmp.Compare(a.Device, b.Device)
	})
	hops = slices.Compact(hops)
	r.NextHop = hops[0]
	if len(hops) > 1 {
		r.More = hops[1:]
	}
	return r, ""
}

func (m *maker) isOwn(a netip.Addr) bool { return a == m.in.V4.Address || a == m.in.V6.Address }

// onLink resolves a next hop by the longest match among the node's networks and the fabric's routes.
func (m *maker) onLink(via netip.Addr) NextHop {
	if via.Zone() != "" {
		return NextHop{Via: via.WithZone(""), Device: via.Zone()}
	}
	best, bits := NextHop{}, -1
	if u := m.underlay(via); u.Interface != "" && u.Subnet.IsValid() && u.Subnet.Contains(via) {
		best, bits = NextHop{Via: via, Device: u.Interface}, u.Subnet.Bits()
	}
	for _, f := range m.in.Fabric {
		if f.Via.IsValid() && f.Via.Is4() != via.Is4() {
			continue // RFC 8950: nothing we could write as a gateway
		}
		if !f.Prefix.IsValid() || f.Device == "" || f.Prefix.Bits() <= bits || !f.Prefix.Contains(via) {
			continue
		}
		best, bits = NextHop{Via: via, Device: f.Device}, f.Prefix.Bits()
		if f.Via.IsValid() {
			best.Via = f.Via
		}
	}
	return best
}

// peerRoutes plans the ways to BGP peers that are not on the link. They come last: a pod's or a block's route wins.
func (m *maker) peerRoutes() {
	peers := map[netip.Prefix]Route{}
	for _, p := range m.in.PeerRoutes {
		peer, via := p.Peer.Unmap().WithZone(""), p.Via.Unmap()
		if !peer.IsValid() || !via.IsValid() || peer.Is4() != via.Is4() {
			continue
		}
		dst := netip.PrefixFrom(peer, peer.BitLen())
		hop := m.onLink(via)
		own := slices.ContainsFunc(m.hidden, func(b netip.Prefix) bool { return inside(dst, b) })
		if _, taken := m.fixed[dst]; own || hop.Device == "" || taken || m.exact[dst] || m.isOwn(peer) {
			m.refuse(dst, fmt.Sprintf("the peer can't be reached by %s", via))
			continue
		}
		peers[dst] = Route{Dst: dst, Source: RouteSourceBGP, Protocol: names.BGPRouteProtocol, NextHop: hop}
	}
	maps.Copy(m.routes, peers)
	maps.Copy(m.fixed, peers)
}
