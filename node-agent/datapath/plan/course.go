package plan

import "net/netip"

// course is a route without its destination. In a large cluster the blocks of one node have the same, which is in memory once.
type course struct {
	source   RouteSource
	protocol int
	hop      NextHop
	more     []NextHop
}

func (c *course) route(dst netip.Prefix) Route {
	return Route{Dst: dst, Source: c.source, Protocol: c.protocol, NextHop: c.hop, More: c.more}
}

// course returns a route's course: the one that was planned last, if it is the same. The blocks of a node are planned one after the other.
func (p *Planner) course(r Route) *course {
	if p.latest == nil || !p.latest.route(r.Dst).Equal(r) {
		p.latest = &course{source: r.Source, protocol: r.Protocol, hop: r.NextHop, more: r.More}
	}
	return p.latest
}
