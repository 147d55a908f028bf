package plan

import (
	"fmt"
	"maps"
	"net/netip"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// endpoints plans one route for each address of each wired pod.
func (m *maker) endpoints() {
	for _, e := range sortedEndpoints(m.in.Endpoints) {
		if !e.Ready {
			m.plan.Keep = append(m.plan.Keep, e.Interface)
			continue
		}
		for _, a := range e.Addresses {
			if a = a.Unmap().WithZone(""); !a.IsValid() {
				continue
			}
			dst := netip.PrefixFrom(a, a.BitLen())
			if other, taken := m.routes[dst]; taken {
				m.problem(Problem{Message: fmt.Sprintf("Address %s is recorded for %s and for %s: delete the pod that came last.", a, other.NextHop.Device, e.Interface)})
				continue
			}
			m.routes[dst] = Route{Dst: dst, Source: RouteSourceEndpoint, Protocol: names.RouteProtocol, NextHop: NextHop{Device: e.Interface}}
		}
	}
}

// gateway plans a way to the pods' IPv4 gateway where there is none: proxy ARP answers only for addresses to which some
// other link leads (arp(7), proxy_arp), and a node may have lost its default route.
func (m *maker) gateway() {
	if m.in.NoWayToGateway {
		dst := netip.PrefixFrom(names.GatewayV4, 32)
		m.routes[dst] = Route{Dst: dst, Source: RouteSourceEndpoint, Protocol: names.RouteProtocol, NextHop: NextHop{Device: "lo"}}
	}
}

// ownBlocks plans the aggregates that drop what no pod has, so that it does not leave by the default route.
func (m *maker) ownBlocks() {
	for _, b := range m.blocks {
		if b.Node != m.in.Node {
			continue
		}
		m.hidden = append(m.hidden, b.CIDR)
		if !b.CIDR.IsSingleIP() {
			m.routes[b.CIDR] = Route{Dst: b.CIDR, Source: RouteSourceBlock, Protocol: names.RouteProtocol}
		}
	}
}

// remoteBlocks plans the ways to other nodes' blocks, then adds what was learned.
func (m *maker) remoteBlocks() {
	for _, b := range m.blocks {
		if b.Node == m.in.Node {
			continue
		}
		_, learned := m.bgp[b.CIDR]
		if _, taken := m.routes[b.CIDR]; taken || learned && m.byBGP[b.CIDR] {
			continue // a pod's, an own block, or an older block's
		}
		if why := m.collides(b.CIDR); why != "" {
			m.problem(Problem{Pool: b.Pool, Message: fmt.Sprintf("Block %s of node %s gets no route: it lies in %s.", b.CIDR, b.Node, why)})
			continue
		}
		p, ok := m.pools[b.Pool]
		if !ok {
			m.problem(Problem{Pool: b.Pool, Message: fmt.Sprintf("Block %s gets no route: its pool %s does not exist.", b.CIDR, b.Pool)})
			continue
		}
		m.byBGP[b.CIDR] = m.byBGP[b.CIDR] || p.Sending == v1alpha1.EncapsulationNone
		if r, ok := m.wayTo(b, p); ok {
			m.routes[b.CIDR] = r
		}
	}
	m.fixed = m.routes
	m.routes = make(map[netip.Prefix]Route, len(m.fixed)+len(m.bgp))
	maps.Copy(m.routes, m.fixed)
	for dst, r := range m.bgp {
		if m.mayLearn(dst) {
			m.routes[dst] = r
		}
	}
}

// mayLearn says whether a learned route to a destination is used: where nothing else leads there, or where it leads to a
// block of a pool without encapsulation.
func (m *maker) mayLearn(dst netip.Prefix) bool {
	_, taken := m.fixed[dst]
	return m.byBGP[dst] || !taken && !m.exact[dst]
}

// collides says what own network a destination would be a part of.
func (m *maker) collides(dst netip.Prefix) string {
	for _, own := range m.hidden {
		if inside(dst, own) {
			return fmt.Sprintf("this node's block %s", own)
		}
	}
	if own := m.underlay(dst.Addr()).Subnet; inside(dst, own) {
		return fmt.Sprintf("the underlay's network %s", own)
	}
	return ""
}

// wayTo is the table of README.md.
func (m *maker) wayTo(b Block, p Pool) (Route, bool) {
	r := Route{Dst: b.CIDR, Protocol: names.RouteProtocol}
	node := ofFamily(b.NodeAddresses, b.CIDR.Addr())
	here := m.underlay(b.CIDR.Addr())
	near := node.IsValid() && here.Address.IsValid() && here.Interface != "" && here.Subnet.Contains(node) && node != here.Address
	if near && (p.Sending == v1alpha1.EncapsulationNone || isCrossSubnet(p.Sending)) {
		r.Source, r.NextHop = RouteSourceDirect, NextHop{Via: node, Device: here.Interface}
	}
	switch {
	case p.Sending == v1alpha1.EncapsulationNone:
		if _, learned := m.bgp[b.CIDR]; !learned && !near && !here.Address.IsValid() {
			m.problem(Problem{Pool: p.Name, Encapsulation: p.Sending, Message: fmt.Sprintf(
				"Pool %s sends %s packets as they are, but node %s has no %s address: give it one, or use VXLAN.", p.Name, family(b.CIDR.Addr()), m.in.Node, family(b.CIDR.Addr()))})
		}
		return r, near
	case near && isCrossSubnet(p.Sending):
		return r, true
	case isIPIP(p.Sending):
		return m.throughIPIP(r, b, p, node)
	case isVXLAN(p.Sending):
		return m.throughVXLAN(r, b, p)
	}
	m.problem(Problem{Pool: p.Name, Encapsulation: p.Sending, Message: fmt.Sprintf("Pool %s has the unknown encapsulation %q: upgrade this node's agent.", p.Name, p.Sending)})
	return r, false
}

func (m *maker) throughIPIP(r Route, b Block, p Pool, node netip.Addr) (Route, bool) {
	if b.CIDR.Addr().Is6() {
		m.problem(Problem{Pool: p.Name, Encapsulation: p.Sending, Message: fmt.Sprintf("Pool %s is IPv6, which IPIP can't carry: use VXLAN.", p.Name)})
		return r, false
	}
	if m.ipip == nil || !m.usable(b, p, node, m.in.V4.Address) {
		return r, false
	}
	r.Source, r.NextHop = RouteSourceIPIP, NextHop{Via: node, Device: m.ipip.Name, OnLink: true}
	return r, true
}

func (m *maker) throughVXLAN(r Route, b Block, p Pool) (Route, bool) {
	if m.vxlan == nil {
		return r, false
	}
	node := ofFamily(b.NodeAddresses, m.vxlan.Local)
	if !m.usable(b, p, node, m.vxlan.Local) {
		return r, false
	}
	mac := names.VTEPMAC(b.Node)
	hop := NextHop{Via: linkLocal(mac), Device: m.vxlan.Name}
	if b.CIDR.Addr().Is4() {
		vtep, ok := m.vteps[vtepKey{b.Node, true}]
		if !ok {
			return r, false // blocks of one address only: nothing that a VTEP could have
		}
		hop = NextHop{Via: vtep, Device: m.vxlan.Name, OnLink: true}
	}
	m.neighbours[Neighbour{m.vxlan.Name, hop.Via, mac.String()}] = true
	if _, ok := m.fdb[mac.String()]; !ok {
		m.fdb[mac.String()] = node
	}
	r.Source, r.NextHop = RouteSourceVXLAN, hop
	return r, true
}

// usable says whether a tunnel can end at a node's address.
func (m *maker) usable(b Block, p Pool, node, own netip.Addr) bool {
	if !node.IsValid() {
		m.problem(Problem{Pool: p.Name, Encapsulation: p.Sending, Message: fmt.Sprintf(
			"The blocks of node %s get no route: it has no %s address to tunnel to; give its Node such an InternalIP.", b.Node, family(own))})
		return false
	}
	if node == own {
		m.problem(Problem{Pool: p.Name, Encapsulation: p.Sending, Message: fmt.Sprintf(
			"The blocks of node %s get no route: it has the same address %s as this node; give each an InternalIP of its own.", b.Node, node)})
		return false
	}
	return true
}
