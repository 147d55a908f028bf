package datapath

import (
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// State is what a pass found and did.
type State struct {
	// Failure is why the pass did not do all. What else there is in the state is empty then.
	Failure error
	V4, V6  plan.Underlay
	// Capabilities are what the kernel can do.
	Capabilities plan.Capabilities
	// Pools are those that the kernel shows in full, as they were planned.
	Pools []cluster.Pool
	// Routes are counted by source.
	Routes   []plan.RouteCount
	Problems []plan.Problem
}
