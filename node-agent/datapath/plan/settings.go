package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// minIPv6MTU is the least that an IPv6 link must carry (RFC 8200 section 5).
const minIPv6MTU = 1280

const (
	loose  = 2
	strict = 1
)

// makeSysctls plans settings in the order in which they have to be made.
//
// A device's effective rp_filter is the greater of its own and conf/all (Documentation/networking/ip-sysctl.rst). The
// host ends need strict (1), so conf/all must not be loose (2). Tunnels and the underlay's NIC need loose: while a pool's
// encapsulation changes, a pod's packets arrive by one way and the answers leave by the other.
func (p *Planner) makeSysctls() {
	for _, l := range p.fixed.Links {
		p.set("net/ipv4/conf/"+l.Name+"/rp_filter", loose, false)
	}
	if nic := p.in.V4; nic.Interface != "" {
		all := p.in.RPFilterAll
		if all == loose {
			all = 0
		}
		if max(all, nic.RPFilter) == strict {
			p.set("net/ipv4/conf/"+nic.Interface+"/rp_filter", loose, false)
		}
	}
	if p.in.RPFilterAll == loose {
		p.lowerRPFilterAll()
	}
	p.set("net/ipv4/ip_forward", 1, false)
	if p.anyIPv6() {
		// A forwarding node ignores router advertisements unless accept_ra is 2, and would lose its default route.
		if p.in.V6.AcceptRA == 1 && p.in.V6.Interface != "" {
			p.set("net/ipv6/conf/"+p.in.V6.Interface+"/accept_ra", 2, false)
		}
		p.set("net/ipv6/conf/all/forwarding", 1, false)
	}
}

// lowerRPFilterAll gives others' links, and those that are still to come, what they have by conf/all, before that goes.
func (p *Planner) lowerRPFilterAll() {
	for _, name := range slices.Sorted(maps.Keys(p.in.RPFilter)) {
		key := "net/ipv4/conf/" + name + "/rp_filter"
		planned := slices.ContainsFunc(p.fixed.Sysctls, func(s Sysctl) bool { return s.Key == key })
		if p.in.RPFilter[name] != loose && !planned {
			p.set(key, loose, true)
		}
	}
	p.set("net/ipv4/conf/all/rp_filter", 0, false)
}

func (p *Planner) set(key string, value int, optional bool) {
	p.fixed.Sysctls = append(p.fixed.Sysctls, Sysctl{key, strconv.Itoa(value), optional})
}

// podSysctls are the settings of the host ends.
func (p *Planner) podSysctls() []Sysctl {
	var out []Sysctl
	for _, e := range p.endpoints {
		if e.Ready {
			out = append(out,
				Sysctl{"net/ipv4/conf/" + e.Interface + "/proxy_arp", "1", true},
				Sysctl{"net/ipv4/conf/" + e.Interface + "/rp_filter", "1", true},
				Sysctl{"net/ipv6/conf/" + e.Interface + "/accept_ra", "0", true})
		}
	}
	return out
}

func (p *Planner) anyIPv6() bool {
	for _, pool := range p.pools {
		if pool.CIDR.Addr().Is6() {
			return true
		}
	}
	return false
}

// makeMTUs plans what pods may send at most: what fits through whatever their pool is sent with, now or soon.
func (p *Planner) makeMTUs() {
	for _, pool := range p.pools {
		mtu := 0
		for _, e := range []v1alpha1.Encapsulation{pool.Encapsulation, pool.Sending} {
			if one := p.mtuOf(e, pool.CIDR.Addr().Is4()); one > 0 && (mtu == 0 || one < mtu) {
				mtu = one
			}
		}
		if mtu <= 0 {
			continue
		}
		if pool.CIDR.Addr().Is6() && mtu < minIPv6MTU {
			p.fixedProblem(Problem{Reason: MTUTooSmall, Pool: pool.Name, Encapsulation: pool.Encapsulation, Message: fmt.Sprintf(
				"Pods of pool %s get an MTU of %d on node %s, but IPv6 needs %d: raise the MTU of the node's interface.", pool.Name, mtu, p.in.Node, minIPv6MTU)})
		}
		p.fixed.PodMTU = append(p.fixed.PodMTU, PoolMTU{pool.Name, mtu})
	}
	slices.SortFunc(p.fixed.PodMTU, func(a, b PoolMTU) int { return cmp.Compare(a.Pool, b.Pool) })
}

// PodMTU returns what new pods get, by pool.
func (p *Planner) PodMTU() []PoolMTU { return p.fixed.PodMTU }

// EndpointMTU returns the most that each running pod's interface may have.
func (p *Planner) EndpointMTU() []InterfaceMTU {
	var out []InterfaceMTU
	for _, e := range p.endpoints {
		if mtu := p.fixed.PodMTUOf(e.Pools...); mtu > 0 {
			out = append(out, InterfaceMTU{e.Interface, mtu})
		}
	}
	return out
}
