package bgp

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// Links returns the node's links with the networks they are on. The links of pods are left out: they lead to no router.
func Links() ([]bgpplan.Link, error) {
	all, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // pods' links come and go; the others are in the list
		return nil, err
	}
	var out []bgpplan.Link
	for _, l := range all {
		if isPodLink(l) {
			continue
		}
		addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // the link is gone
		}
		link := bgpplan.Link{Name: l.Attrs().Name}
		for _, a := range addresses {
			if address, ok := netip.AddrFromSlice(a.IP); ok {
				ones, _ := a.Mask.Size()
				link.Prefixes = append(link.Prefixes, netip.PrefixFrom(address.Unmap(), ones).Masked())
			}
		}
		out = append(out, link)
	}
	return out, nil
}

func isPodLink(l netlink.Link) bool {
	return l.Type() == "veth" && names.IsHostInterface(l.Attrs().Name)
}

// LearnedInKernel returns the routes that an earlier agent learned by BGP.
func LearnedInKernel() ([]plan.LearnedRoute, error) {
	var out []plan.LearnedRoute
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := collect(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Protocol: names.BGPRouteProtocol}, netlink.RT_FILTER_PROTOCOL)
		})
		if err != nil {
			return nil, fmt.Errorf("list the routes that were learned by BGP: %w", err)
		}
		out = append(out, routes...)
	}
	return out, nil
}

// interruptedLists is how many interrupted lists are put together. A route that was there all the time is in one of them:
// the kernel goes on behind the last one that it has told, whatever changes meanwhile.
const interruptedLists = 5

// collect lists until one list is whole. Where the kernel's routes change all the time, so that none is, it returns all
// routes that were in any: one too many is withdrawn when the peers have been heard, one too few would cut a pod off.
func collect(list func() ([]netlink.Route, error)) ([]plan.LearnedRoute, error) {
	found := map[netip.Prefix]plan.LearnedRoute{}
	for range interruptedLists {
		routes, err := list()
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, err
		}
		if err == nil {
			clear(found)
		}
		for i := range routes {
			if learned, ok := learnedRoute(&routes[i]); ok {
				found[learned.Prefix] = learned
			}
		}
		if err == nil {
			break
		}
	}
	out := make([]plan.LearnedRoute, 0, len(found))
	for _, r := range found {
		out = append(out, r)
	}
	return out, nil
}

func learnedRoute(r *netlink.Route) (plan.LearnedRoute, bool) {
	if r.Dst == nil {
		return plan.LearnedRoute{}, false
	}
	base, _ := netip.AddrFromSlice(r.Dst.IP)
	ones, _ := r.Dst.Mask.Size()
	learned := plan.LearnedRoute{Prefix: netip.PrefixFrom(base.Unmap(), ones)}
	if via, ok := netip.AddrFromSlice(r.Gw); ok {
		learned.NextHops = append(learned.NextHops, via.Unmap())
	}
	for _, hop := range r.MultiPath {
		if via, ok := netip.AddrFromSlice(hop.Gw); ok {
			learned.NextHops = append(learned.NextHops, via.Unmap())
		}
	}
	return learned, len(learned.NextHops) > 0
}
