package agent

import (
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

// endpointsForPlan returns the pods' interfaces. Those that are being made or taken away are left as they are found.
func endpointsForPlan(endpoints []addressbook.Endpoint) []routeplan.Endpoint {
	out := make([]routeplan.Endpoint, 0, len(endpoints))
	for _, e := range endpoints {
		out = append(out, routeplan.Endpoint{Interface: e.Interface, Addresses: e.Addresses, Pools: e.Pools, Ready: e.State == addressbook.Ready})
	}
	return out
}
