package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// learn turns what was learned for a destination into a route, or notes why it is refused.
func (p *Planner) learn(dst netip.Prefix, v *verdict) (Route, bool) {
	hops, ok := p.learned[dst]
	if b, block := p.blocks[dst]; !ok && block {
		hops, ok = p.learnedOver(*b)
	}
	if !ok {
		return Route{}, false
	}
	why := p.refuses(dst)
	if why == "" {
		var r Route
		if r, why = p.resolve(dst, hops); why == "" {
			return r, true
		}
	}
	v.refused = fmt.Sprintf("The learned route %s is not used: %s.", dst, why)
	return Route{}, false
}

// refuses says why a learned destination must not get into the kernel, or nothing.
func (p *Planner) refuses(dst netip.Prefix) string {
	a := dst.Addr()
	if dst.Bits() == 0 {
		if !p.in.AcceptDefault {
			return "default routes are not accepted from BGP"
		}
		return ""
	}
	if a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.Is4In6() || (a.IsUnspecified() && dst.IsSingleIP()) {
		return "its addresses are not global unicast"
	}
	block, isBlock := p.blocks[dst]
	lentByUs := isBlock && block.Lender == p.in.Node
	for _, own := range p.own {
		if !lentByUs && inside(dst, own.CIDR) {
			return fmt.Sprintf("it lies in this node's block %s", own.CIDR)
		}
	}
	if subnet := p.underlay(a).Subnet; inside(dst, subnet) {
		return fmt.Sprintf("it lies in the underlay's network %s", subnet)
	}
	if pod, ok := p.pods[dst]; ok {
		return fmt.Sprintf("it is the address of this node's pod behind %s", pod)
	}
	if isBlock {
		return ""
	}
	for _, pool := range p.tunnelled {
		if inside(dst, pool.CIDR) && dst != pool.CIDR {
			return fmt.Sprintf("it lies in pool %s, whose blocks are reached by %s", pool.Name, pool.Sending)
		}
	}
	return ""
}

func (p *Planner) resolve(dst netip.Prefix, nextHops []netip.Addr) (Route, string) {
	r := Route{Dst: dst, Source: RouteSourceBGP, Protocol: names.BGPRouteProtocol}
	hops := make([]NextHop, 0, 1)
	why := "it has no next hop"
	for _, via := range nextHops {
		via = via.Unmap()
		hop, known := p.resolved[via]
		if !known {
			hop = p.onLink(via)
			p.resolved[via] = hop
		}
		switch {
		case !via.IsValid() || via.Is4() != dst.Addr().Is4():
			why = fmt.Sprintf("its next hop %s is not of its family", via)
		case p.isOwn(via):
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
		return cmp.Or(a.Via.Compare(b.Via), cmp.Compare(a.Device, b.Device))
	})
	hops = slices.Compact(hops)
	r.NextHop = hops[0]
	if len(hops) > 1 {
		r.More = hops[1:]
	}
	return r, ""
}

func (p *Planner) isOwn(a netip.Addr) bool { return a == p.in.V4.Address || a == p.in.V6.Address }

// onLink resolves a next hop by the longest match among the node's networks and the fabric's routes.
func (p *Planner) onLink(via netip.Addr) NextHop {
	if via.Zone() != "" {
		return NextHop{Via: via.WithZone(""), Device: via.Zone()}
	}
	best, bits := NextHop{}, -1
	if u := p.underlay(via); u.Interface != "" && u.Subnet.IsValid() && u.Subnet.Contains(via) {
		best, bits = NextHop{Via: via, Device: u.Interface}, u.Subnet.Bits()
	}
	for _, f := range p.in.Fabric {
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

// peer is the way to a BGP peer that is not on the link. A pod's or a block's route goes before it.
type peer struct {
	hop    NextHop
	via    netip.Addr
	usable bool
}

func (p *Planner) makePeers() {
	for _, r := range p.in.PeerRoutes {
		to, via := r.Peer.Unmap().WithZone(""), r.Via.Unmap()
		if !to.IsValid() || !via.IsValid() || to.Is4() != via.Is4() {
			continue
		}
		dst, hop := netip.PrefixFrom(to, to.BitLen()), p.onLink(via)
		own := slices.ContainsFunc(p.own, func(b Block) bool { return inside(dst, b.CIDR) })
		p.peers[dst] = peer{hop: hop, via: via, usable: !own && hop.Device != "" && !p.isOwn(to)}
	}
}

func (r peer) route(dst netip.Prefix) Route {
	return Route{Dst: dst, Source: RouteSourceBGP, Protocol: names.BGPRouteProtocol, NextHop: r.hop}
}

func (r peer) refused(dst netip.Prefix) string {
	return fmt.Sprintf("The learned route %s is not used: the peer can't be reached by %s.", dst, r.via)
}
