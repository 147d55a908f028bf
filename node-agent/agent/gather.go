package agent

import (
	"github.com/vishvananda/netlink"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/routeplan"
)

// poolsForPlan returns what routing needs of the pools.
func poolsForPlan(pools []cluster.Pool) []routeplan.Pool {
	out := make([]routeplan.Pool, 0, len(pools))
	for _, p := range pools {
		out = append(out, p.Route)
	}
	return out
}

// endpointsForPlan returns the pods' interfaces. Those that are being made or taken away are left as they are found, and so
// are those that the kernel did not show: their pod is gone, or the link is about to be mended.
func endpointsForPlan(endpoints []addressbook.Endpoint, links []netlink.Link) []routeplan.Endpoint {
	there := make(map[string]bool, len(links))
	for _, l := range links {
		there[l.Attrs().Name] = true
	}
	out := make([]routeplan.Endpoint, 0, len(endpoints))
	for _, e := range endpoints {
		ready := e.State == addressbook.Ready && there[e.Interface]
		out = append(out, routeplan.Endpoint{Interface: e.Interface, Addresses: e.Addresses, Pools: e.Pools, Ready: ready})
	}
	return out
}
