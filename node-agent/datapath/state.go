package datapath

import (
	"cmp"
	"slices"

	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// State is what a pass found and did.
type State struct {
	// Failure is why the kernel could not be read. What else there is in the state is empty then.
	Failure error
	V4, V6  plan.Underlay
	// Capabilities are what the kernel can do.
	Capabilities plan.Capabilities
	// Pools are those that the kernel shows in full, as they were planned.
	Pools []cluster.Pool
	// Routes are counted by source.
	Routes   []plan.RouteCount
	Problems []plan.Problem
	// Refused are the objects that the kernel does not take.
	Refused []kernel.Failure
}

func (l *Loop) state(pools []cluster.Pool) State {
	s := State{
		V4: l.observed.V4, V6: l.observed.V6, Capabilities: l.capabilities, Routes: l.planner.Counts(), Problems: l.planner.Problems(),
		Refused: slices.Clone(l.refused),
	}
	for _, f := range l.refused {
		if r, ok := l.planner.Planned(f.Dst); ok {
			s.discount(r)
		}
	}
	for _, p := range pools {
		if !slices.ContainsFunc(l.refused, func(f kernel.Failure) bool { return affects(f, p.Route) }) {
			s.Pools = append(s.Pools, p)
		}
	}
	return s
}

func (s *State) discount(r plan.Route) {
	i, ok := slices.BinarySearchFunc(s.Routes, r, func(c plan.RouteCount, r plan.Route) int {
		return cmp.Or(cmp.Compare(c.Protocol, int32(r.Protocol)), cmp.Compare(c.Source, r.Source))
	})
	if ok && s.Routes[i].Count > 0 {
		s.Routes[i].Count--
	}
}

// affects says whether a pool does not work in full because of a refused object.
func affects(f kernel.Failure, p plan.Pool) bool {
	switch {
	case f.Dst.IsValid():
		return p.CIDR.Overlaps(f.Dst)
	case f.Device != "":
		return p.Uses(f.Device)
	}
	return true // a setting or the filter, which all pools need
}
