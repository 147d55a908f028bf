package plan

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// Plan returns the whole plan. It is the same whether everything was there when the planner was made, or came later.
func (p *Planner) Plan() Plan {
	out := p.fixed
	out.Problems, out.Refused = p.Problems(), p.Refused()
	out.Sysctls = slices.Concat(p.fixed.Sysctls, p.podSysctls())
	out.EndpointMTU = p.EndpointMTU()
	out.Keep = slices.Sorted(maps.Keys(p.keep))
	for _, b := range p.own {
		if _, routed := p.routes[b.CIDR]; b.CIDR.IsSingleIP() && p.held[b.CIDR] && !routed {
			out.KeepTo = append(out.KeepTo, b.CIDR)
		}
	}
	slices.SortFunc(out.KeepTo, ComparePrefixes)
	out.Routes = make([]Route, 0, len(p.routes))
	for dst, c := range p.routes {
		out.Routes = append(out.Routes, c.route(dst))
	}
	slices.SortFunc(out.Routes, func(a, b Route) int { return ComparePrefixes(a.Dst, b.Dst) })
	out.Neighbours = sortedKeys(p.neighbours, compareNeighbours)
	out.FDB = sortedKeys(p.fdb, compareFDB)
	return out
}

// sortedKeys takes no more memory than the keys, which are many in a large cluster.
func sortedKeys[K comparable](m map[K]int, compare func(a, b K) int) []K {
	if len(m) == 0 {
		return nil
	}
	out := slices.AppendSeq(make([]K, 0, len(m)), maps.Keys(m))
	slices.SortFunc(out, compare)
	return out
}

// Counts returns how many routes are planned of each source, sorted.
func (p *Planner) Counts() []RouteCount {
	out := make([]RouteCount, 0, len(p.counts))
	for k, n := range p.counts {
		k.Count = n
		out = append(out, k)
	}
	slices.SortFunc(out, compareCounts)
	return out
}

// Planned returns the route that is planned to a destination.
func (p *Planner) Planned(dst netip.Prefix) (Route, bool) {
	c, ok := p.routes[dst]
	if !ok {
		return Route{}, false
	}
	return c.route(dst), true
}

// CountRoutes counts routes by source, sorted.
func CountRoutes(routes []Route) []RouteCount {
	p := Planner{counts: map[RouteCount]int32{}}
	for _, r := range routes {
		p.count(r, 1)
	}
	return p.Counts()
}

func compareCounts(a, b RouteCount) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Source, b.Source))
}

func compareNeighbours(a, b Neighbour) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), a.Address.Compare(b.Address), cmp.Compare(a.MAC, b.MAC))
}

func compareFDB(a, b FDBEntry) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.MAC, b.MAC), a.Node.Compare(b.Node))
}
