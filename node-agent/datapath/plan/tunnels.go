package plan

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

type vtepKey struct {
	node string
	v4   bool
}

// tunnels plans the tunnel links that the pools need, sending or receiving, and their addresses.
func (m *maker) tunnels() {
	if m.needs(isVXLAN, names.VXLANDevice) && m.able(isVXLAN, "vxlan", m.in.Capabilities.VXLAN) {
		m.planVXLAN()
	}
	if m.needs(isIPIP, names.IPIPDevice) && m.able(isIPIP, "ipip", m.in.Capabilities.IPIP) {
		m.planIPIP()
	}
	for _, l := range []*Link{m.ipip, m.vxlan} {
		if l != nil {
			m.plan.Links = append(m.plan.Links, *l)
		}
	}
	for _, b := range m.blocks {
		p := m.pools[b.Pool]
		if isVXLAN(p.Encapsulation) || isVXLAN(p.Sending) {
			key := vtepKey{b.Node, b.CIDR.Addr().Is4()}
			if _, ok := m.vteps[key]; !ok && !b.CIDR.IsSingleIP() {
				m.vteps[key] = b.CIDR.Addr()
			}
		}
	}
	m.ownAddress(m.ipip, isIPIP, true)
	m.ownAddress(m.vxlan, isVXLAN, true)
	m.ownAddress(m.vxlan, isVXLAN, false)
}

// needs says whether any pool is sent or received by a kind. While a pool is not settled, some node may still send it
// with what it had before, so a tunnel that exists stays.
func (m *maker) needs(kind func(v1alpha1.Encapsulation) bool, device string) bool {
	exists := slices.Contains(m.in.Tunnels, device)
	for _, p := range m.pools {
		if kind(p.Encapsulation) || kind(p.Sending) || (!p.Settled && exists) {
			return true
		}
	}
	return false
}

// able reports the pools that need a kernel module which is missing.
func (m *maker) able(kind func(v1alpha1.Encapsulation) bool, module string, have bool) bool {
	if have {
		return true
	}
	for _, p := range m.pools {
		for _, e := range []v1alpha1.Encapsulation{p.Encapsulation, p.Sending} {
			if kind(e) {
				m.problems[Problem{Pool: p.Name, Encapsulation: e, Module: module, Message: fmt.Sprintf(
					"Pool %s needs %s, but the kernel of node %s has no module %s: load or install it.", p.Name, e, m.in.Node, module)}] = true
			}
		}
	}
	return false
}

func (m *maker) planVXLAN() {
	at, overhead := m.in.V4, names.VXLANOverheadV4
	if !at.Address.IsValid() {
		at, overhead = m.in.V6, names.VXLANOverheadV6
	}
	if !at.Address.IsValid() || at.Interface == "" {
		m.problem(Problem{Message: fmt.Sprintf("Node %s has no address that VXLAN could use: give its Node an InternalIP that one of its interfaces has.", m.in.Node)})
		return
	}
	m.vxlan = &Link{
		Name: names.VXLANDevice, Kind: KindVXLAN, MTU: at.MTU - overhead, VNI: m.in.VXLAN.VNI, Port: m.in.VXLAN.Port,
		Local: at.Address, Parent: at.Interface, MAC: names.VTEPMAC(m.in.Node).String(),
	}
}

func (m *maker) planIPIP() {
	if !m.in.V4.Address.IsValid() {
		m.problem(Problem{Message: fmt.Sprintf("Node %s has no IPv4 address that IPIP could use: give its Node an InternalIP that one of its interfaces has.", m.in.Node)})
		return
	}
	m.ipip = &Link{Name: names.IPIPDevice, Kind: KindIPIP, MTU: m.in.V4.MTU - names.IPIPOverhead}
}

// ownAddress gives a tunnel link the first address of the node's first block of such a pool. Blocks that other nodes
// may still reach through it come after those that say so.
func (m *maker) ownAddress(l *Link, kind func(v1alpha1.Encapsulation) bool, v4 bool) {
	if l == nil {
		return
	}
	for _, lingering := range []bool{false, true} {
		for _, b := range m.blocks {
			p, ok := m.pools[b.Pool]
			if !ok || b.Node != m.in.Node || b.CIDR.IsSingleIP() || b.CIDR.Addr().Is4() != v4 {
				continue
			}
			if kind(p.Encapsulation) || kind(p.Sending) || (lingering && !p.Settled) {
				a := b.CIDR.Addr()
				m.plan.Addresses = append(m.plan.Addresses, Address{l.Name, netip.PrefixFrom(a, a.BitLen())})
				return
			}
		}
	}
}

// linkLocal is the link-local address that a hardware address gives (RFC 4291 appendix A). Remote VTEPs are IPv6 next
// hops by it: the kernel refuses a global next hop that its table routes elsewhere, as it does in the midst of a change
// of encapsulation (ip6_route_check_nh_onlink).
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 0x02, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

func (m *maker) problem(p Problem) { m.problems[p] = true }
