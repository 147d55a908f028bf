package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// minIPv6MTU is the least that an IPv6 link must carry (RFC 8200 section 5).
const minIPv6MTU = 1280

// sysctls plans settings in the order in which they have to be made.
//
// A device's effective rp_filter is the greater of its own and conf/all (Documentation/networking/ip-sysctl.rst). The
// host ends need strict (1), so conf/all must not be 2. Tunnels and the underlay's NIC need loose (2): while a pool's
// encapsulation changes, a pod's packets arrive by one way and the answers leave by the other.
func (m *maker) sysctls() {
	for _, l := range m.plan.Links {
		m.set("net/ipv4/conf/"+l.Name+"/rp_filter", 2, false)
	}
	if nic := m.in.V4; nic.Interface != "" {
		all := m.in.RPFilterAll
		if all == 2 {
			all = 0
		}
		if max(all, nic.RPFilter) == 1 {
			m.set("net/ipv4/conf/"+nic.Interface+"/rp_filter", 2, false)
		}
	}
	if m.in.RPFilterAll == 2 {
		m.set("net/ipv4/conf/all/rp_filter", 0, false)
	}
	m.set("net/ipv4/ip_forward", 1, false)
	if m.anyIPv6() {
		// A forwarding node ignores router advertisements unless accept_ra is 2, and would lose its default route.
		if m.in.V6.AcceptRA == 1 && m.in.V6.Interface != "" {
			m.set("net/ipv6/conf/"+m.in.V6.Interface+"/accept_ra", 2, false)
		}
		m.set("net/ipv6/conf/all/forwarding", 1, false)
	}
	for _, e := range sortedEndpoints(m.in.Endpoints) {
		if e.Ready {
			m.set("net/ipv4/conf/"+e.Interface+"/proxy_arp", 1, true)
			m.set("net/ipv4/conf/"+e.Interface+"/rp_filter", 1, true)
			m.set("net/ipv6/conf/"+e.Interface+"/accept_ra", 0, true)
		}
	}
}

func (m *maker) set(key string, value int, optional bool) {
	m.plan.Sysctls = append(m.plan.Sysctls, Sysctl{key, strconv.Itoa(value), optional})
}

func (m *maker) anyIPv6() bool {
	for _, p := range m.pools {
		if p.CIDR.Addr().Is6() {
			return true
		}
	}
	return false
}

// mtus plans what pods may send at most: what fits through whatever their pool is sent with, now or soon.
func (m *maker) mtus() {
	for _, p := range m.pools {
		mtu := 0
		for _, e := range []v1alpha1.Encapsulation{p.Encapsulation, p.Sending} {
			if one := m.mtuOf(e, p.CIDR.Addr().Is4()); one > 0 && (mtu == 0 || one < mtu) {
				mtu = one
			}
		}
		if mtu <= 0 {
			continue
		}
		if p.CIDR.Addr().Is6() && mtu < minIPv6MTU {
			m.problem(Problem{Pool: p.Name, Encapsulation: p.Encapsulation, Message: fmt.Sprintf(
				"Pods of pool %s get an MTU of %d on node %s, but IPv6 needs %d: raise the MTU of the node's interface.", p.Name, mtu, m.in.Node, minIPv6MTU)})
		}
		m.plan.PodMTU = append(m.plan.PodMTU, PoolMTU{p.Name, mtu})
	}
	slices.SortFunc(m.plan.PodMTU, func(a, b PoolMTU) int { return cmp.Compare(a.Pool, b.Pool) })
	for _, e := range sortedEndpoints(m.in.Endpoints) {
		if mtu := m.plan.PodMTUOf(e.Pools...); mtu > 0 {
			m.plan.EndpointMTU = append(m.plan.EndpointMTU, InterfaceMTU{e.Interface, mtu})
		}
	}
}

// mtuOf returns what one encapsulation leaves of the underlay's MTU; 0 if that is not known.
func (m *maker) mtuOf(e v1alpha1.Encapsulation, v4 bool) int {
	plain := m.in.V6.MTU
	if v4 {
		plain = m.in.V4.MTU
	}
	switch {
	case isIPIP(e):
		return m.in.V4.MTU - names.IPIPOverhead
	case isVXLAN(e) && m.in.V4.Address.IsValid():
		mtu := m.in.V4.MTU - names.VXLANOverheadV4
		if isCrossSubnet(e) && plain > 0 {
			mtu = min(mtu, plain)
		}
		return mtu
	case isVXLAN(e):
		return m.in.V6.MTU - names.VXLANOverheadV6
	}
	return plain
}

// sortedEndpoints leaves out what has no name, and what names an interface twice.
func sortedEndpoints(all []Endpoint) []Endpoint {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b Endpoint) int { return cmp.Compare(a.Interface, b.Interface) })
	sorted = slices.CompactFunc(sorted, func(a, b Endpoint) bool { return a.Interface == b.Interface })
	return slices.DeleteFunc(sorted, func(e Endpoint) bool { return e.Interface == "" })
}
