package plan

import "net/netip"

// RouteChange is what is planned for one destination: a route, or none.
type RouteChange struct {
	Dst   netip.Prefix
	Route Route
	// Gone says that no route is planned.
	Gone bool
}

// Incremental plans single destinations of learned routes against all else that a Plan was made from, so that one change
// among 100,000 learned routes costs no new Plan. It is for one goroutine.
type Incremental struct{ m *maker }

// newIncremental keeps of a maker what Plan needs.
func newIncremental(m *maker) *Incremental {
	return &Incremental{&maker{
		in:     Input{Node: m.in.Node, V4: m.in.V4, V6: m.in.V6, Fabric: m.in.Fabric, AcceptDefault: m.in.AcceptDefault},
		hidden: m.hidden, exact: m.exact, byBGP: m.byBGP, fixed: m.fixed, tunnelled: m.tunnelled, resolved: m.resolved,
	}}
}

// Plan returns what Make plans for a destination that is learned with these next hops, or with none any more.
func (i *Incremental) Plan(l LearnedRoute) RouteChange {
	dst := l.Prefix.Masked()
	if i.m.mayLearn(dst) && len(l.NextHops) > 0 {
		if r, why := i.m.learn(dst, l.NextHops); why == "" {
			return RouteChange{Dst: dst, Route: r}
		}
	}
	r, ok := i.m.fixed[dst]
	return RouteChange{Dst: dst, Route: r, Gone: !ok}
}
