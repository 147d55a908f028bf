// Package underlay finds where a node is on the network that carries everything: its addresses, their links and MTUs,
// the ways to others, and the networks of links that are not ours. It reads only, and leaves nothing behind.
package underlay

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/infrastructure"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/datapath/rtnl"
)

// passing are the flags of addresses that come or go.
const passing = unix.IFA_F_TEMPORARY | unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED

// ErrNoAddress says that the node has no usable address.
var ErrNoAddress = errors.New("no interface has an InternalIP of the Node, and no interface with a default route has a global address; give one an address")

// Find looks, among all links of the node, for the one that has one of the node's addresses, for each family; failing
// that, it takes the first global address of the link with the default route. A choice takes the place of both.
func Find(links []netlink.Link, nodeAddresses []netip.Addr, choice Choice) (kernel.Observed, error) {
	byIndex := map[int]netlink.Link{}
	for _, l := range links {
		if !isOwnDevice(l.Attrs().Name) {
			byIndex[l.Attrs().Index] = l
		}
	}
	var p kernel.Observed
	for _, of := range []struct {
		family int
		at     *plan.Underlay
	}{{netlink.FAMILY_V4, &p.V4}, {netlink.FAMILY_V6, &p.V6}} {
		addresses, err := rtnl.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, of.family) })
		if err != nil {
			return kernel.Observed{}, fmt.Errorf("list addresses: %w", err)
		}
		if *of.at, err = find(of.family, addresses, nodeAddresses, byIndex, choice); err != nil {
			return kernel.Observed{}, err
		}
		p.Foreign = append(p.Foreign, networks(addresses, byIndex)...)
	}
	if !p.V4.Address.IsValid() && !p.V6.Address.IsValid() {
		if choice.made() {
			return kernel.Observed{}, fmt.Errorf("%w: %s", ErrNotChosen, choice)
		}
		return kernel.Observed{}, ErrNoAddress
	}
	p.LikePods = likePods(links)
	if p.RPFilterAll = setting("ipv4/conf/all/rp_filter"); p.RPFilterAll == 2 {
		p.RPFilter = rpFilters(byIndex)
	}
	p.NoWayToGateway = noWayTo(names.GatewayV4)
	if p.V4.Interface != "" {
		p.V4.RPFilter = setting("ipv4/conf/" + p.V4.Interface + "/rp_filter")
	}
	if p.V6.Interface != "" {
		p.V6.AcceptRA = setting("ipv6/conf/" + p.V6.Interface + "/accept_ra")
	}
	return p, nil
}

// noWayTo says whether no route of somebody else leads to an address. A default route behind one of ours does not show.
func noWayTo(a netip.Addr) bool {
	routes, err := netlink.RouteGetWithOptions(a.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	if err != nil {
		return errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)
	}
	return len(routes) > 0 && routes[0].Protocol == names.RouteProtocol
}

// networks are the networks that links of others are connected to, sorted.
func networks(addresses []netlink.Addr, links map[int]netlink.Link) []infrastructure.Network {
	var out []infrastructure.Network
	for _, a := range addresses {
		if u, ok := place(a, links); ok {
			out = append(out, infrastructure.LinkNetwork(u.Interface, u.Subnet))
		}
	}
	slices.SortFunc(out, infrastructure.Compare)
	return slices.Compact(out)
}

// likePods are the links of others whose names begin like those of pods' links.
func likePods(links []netlink.Link) []string {
	var out []string
	for _, l := range links {
		name := l.Attrs().Name
		if strings.HasPrefix(name, names.HostInterfacePrefix) && !names.IsHostInterface(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// rpFilters reads the reverse path filters of others' links, and what new links get.
func rpFilters(links map[int]netlink.Link) map[string]int {
	out := map[string]int{"default": setting("ipv4/conf/default/rp_filter")}
	for _, l := range links {
		out[l.Attrs().Name] = setting("ipv4/conf/" + l.Attrs().Name + "/rp_filter")
	}
	return out
}

func find(family int, addresses []netlink.Addr, nodeAddresses []netip.Addr, links map[int]netlink.Link, choice Choice) (plan.Underlay, error) {
	if choice.made() {
		return choice.of(addresses, links), nil
	}
	for _, want := range nodeAddresses {
		for _, a := range addresses {
			if u, ok := place(a, links); ok && u.Address == want.Unmap() {
				return u, nil
			}
		}
	}
	device, err := defaultLink(family)
	if err != nil {
		return plan.Underlay{}, err
	}
	for _, a := range addresses {
		u, ok := place(a, links)
		if ok && a.LinkIndex == device && u.Address.IsGlobalUnicast() && a.Flags&passing == 0 {
			return u, nil
		}
	}
	return plan.Underlay{}, nil
}

// place turns one address into a place; it reports false for links of our own.
func place(a netlink.Addr, links map[int]netlink.Link) (plan.Underlay, bool) {
	l, ok := links[a.LinkIndex]
	if !ok || a.IPNet == nil {
		return plan.Underlay{}, false
	}
	address, _ := netip.AddrFromSlice(a.IP)
	ones, _ := a.Mask.Size()
	if address = address.Unmap(); !address.IsValid() || ones > address.BitLen() {
		return plan.Underlay{}, false
	}
	return plan.Underlay{
		Address: address, Subnet: netip.PrefixFrom(address, ones).Masked(), Interface: l.Attrs().Name, MTU: l.Attrs().MTU,
	}, true
}

// defaultLink returns the index of the link with the default route of the lowest metric, or 0.
func defaultLink(family int) (int, error) {
	routes, err := foreignRoutes(family)
	if err != nil {
		return 0, err
	}
	index, metric := 0, 0
	for _, r := range routes {
		if dst, ok := destination(r); ok && dst.Bits() == 0 && (index == 0 || r.Priority < metric) {
			if hop, ok := firstHop(r); ok {
				index, metric = hop.LinkIndex, r.Priority
			}
		}
	}
	return index, nil
}

// Fabric returns the unicast routes of the main table that are not ours, by which a plan resolves next hops. It is only
// needed where BGP learns routes. links are all links of the node.
func Fabric(links []netlink.Link) ([]plan.FabricRoute, error) {
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var fabric []plan.FabricRoute
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := foreignRoutes(family)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			dst, ok := destination(r)
			hop, hasHop := firstHop(r)
			name := names[hop.LinkIndex]
			if !ok || !hasHop || name == "" || isOwnDevice(name) || dst.Addr().IsLinkLocalUnicast() || dst.Addr().IsMulticast() {
				continue
			}
			via, _ := netip.AddrFromSlice(hop.Gw)
			fabric = append(fabric, plan.FabricRoute{Prefix: dst, Via: via.Unmap(), Device: name})
		}
	}
	return fabric, nil
}

// foreignRoutes keeps one route at a time: there may be 100,000 of ours among them.
func foreignRoutes(family int) ([]netlink.Route, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	routes, err := rtnl.Whole(func() ([]netlink.Route, error) {
		var foreign []netlink.Route
		err := netlink.RouteListFilteredIter(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE, func(r netlink.Route) bool {
			if r.Protocol != names.RouteProtocol && r.Protocol != names.BGPRouteProtocol {
				foreign = append(foreign, r)
			}
			return true
		})
		return foreign, err
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}

func destination(r netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		if r.Family == netlink.FAMILY_V6 {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), true
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), true
	}
	a, _ := netip.AddrFromSlice(r.Dst.IP)
	ones, _ := r.Dst.Mask.Size()
	if r.Family == netlink.FAMILY_V4 {
		a = a.Unmap()
	}
	p := netip.PrefixFrom(a, ones)
	return p, p.IsValid()
}

// firstHop returns the only next hop, or the first of several.
func firstHop(r netlink.Route) (netlink.NexthopInfo, bool) {
	if len(r.MultiPath) > 0 {
		return *r.MultiPath[0], true
	}
	return netlink.NexthopInfo{LinkIndex: r.LinkIndex, Gw: r.Gw}, r.LinkIndex != 0
}

func isOwnDevice(name string) bool {
	return slices.Contains(plan.TunnelDevices(), name) || name == "lo" || names.IsHostInterface(name)
}

func setting(key string) int {
	b, err := os.ReadFile(filepath.Join("/proc/sys/net", key))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}
