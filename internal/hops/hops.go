// Package hops puts in order what nodes saw of one packet: the observations of a path trace come in, and the hops of its path go out,
// for the controller, which judges them, and for people who look on while others have yet to report. It is pure.
package hops

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// The legs of a path, and the directions, as agents name them.
const (
	Request, Reply, Error, Tunnel = "Request", "Reply", "Error", "Tunnel"
	In, Out                       = "In", "Out"
)

// Most is how many hops a status holds.
const Most = 128

// Sights are the observations of one trace.
type Sights struct {
	// Probe is the packet that was looked for.
	Probe v1alpha1.ProbeSpec
	// Seen are the observations by node.
	Seen map[string]*v1alpha1.PathObservation
}

// All are the hops of the packet in its order, then those of the answer and of errors.
func (t Sights) All() []v1alpha1.PathHop {
	var out []v1alpha1.PathHop
	for _, leg := range []string{Request, Reply, Error} {
		out = append(out, t.leg(leg)...)
	}
	return out
}

// leg puts the packets of one way in order. A packet's TTL becomes smaller at every node, so the order does not depend on the
// nodes' clocks; within a node the kernel's order counts. Each interface is told once for each direction.
func (t Sights) leg(leg string) []v1alpha1.PathHop {
	type visit struct {
		ttl  int32
		hops []v1alpha1.PathHop
	}
	var visits []visit
	for node, o := range t.Seen {
		var v visit
		for i := range o.Status.Packets {
			p := &o.Status.Packets[i]
			told := slices.ContainsFunc(v.hops, func(h v1alpha1.PathHop) bool { return h.Interface == p.Interface && h.Direction == p.Direction })
			if p.Leg != leg || told || !t.Sized(p) {
				continue
			}
			v.ttl = max(v.ttl, p.Packet.TTL)
			hop := v1alpha1.PathHop{Node: node, Interface: p.Interface, Direction: p.Direction, Leg: leg, Packet: p.Packet, Time: p.Time}
			t.explain(&hop)
			v.hops = append(v.hops, hop)
		}
		if len(v.hops) > 0 {
			visits = append(visits, v)
		}
	}
	slices.SortFunc(visits, func(a, b visit) int {
		return cmp.Or(cmp.Compare(b.ttl, a.ttl), a.hops[0].Time.Compare(b.hops[0].Time.Time), cmp.Compare(a.hops[0].Node, b.hops[0].Node))
	})
	var hops []v1alpha1.PathHop
	for _, v := range visits {
		hops = append(hops, v.hops...)
	}
	for i := 1; i < len(hops); i++ {
		hops[i].NAT = rewritten(hops[i-1].Packet, hops[i].Packet)
	}
	return hops
}

// Sized leaves out the small packet that was sent after a large one had no answer.
func (t Sights) Sized(p *v1alpha1.SeenPacket) bool {
	large := t.Probe.Size > 0 && p.Leg != Error && (p.Leg == Request || t.Probe.Protocol == v1alpha1.TraceICMP)
	return !large || p.Packet.Length == t.Probe.Size
}

func rewritten(before, after v1alpha1.PathPacket) string {
	var all []string
	if before.Source != after.Source {
		all = append(all, fmt.Sprintf("source %s became %s", before.Source, after.Source))
	}
	if before.Destination != after.Destination {
		all = append(all, fmt.Sprintf("destination %s became %s", before.Destination, after.Destination))
	}
	return strings.Join(all, ", ")
}

// explain adds the route to a hop: that of the packet where it comes in, that of the tunnel's packet where it enters the tunnel.
func (t Sights) explain(h *v1alpha1.PathHop) {
	if h.Leg == Error || h.Packet.Outer != nil {
		return
	}
	if h.Direction == In {
		if r := t.Route(h.Node, h.Leg, h.Interface); r != nil {
			h.Route, h.Rule = RouteText(r), r.Rule
		}
		return
	}
	if r := t.tunnelInto(h.Node, h.Leg, h.Interface); r != nil {
		if outer := t.Outer(h.Node, r); outer != nil {
			h.Route, h.Rule = "tunnel to "+r.Tunnel+": "+RouteText(outer), outer.Rule
		}
	}
}

// Route is what a node does with the packet that came in by an interface; nil where that is not known.
func (t Sights) Route(node, leg, input string) *v1alpha1.RouteFact {
	return t.Fact(node, func(r *v1alpha1.RouteFact) bool { return r.Leg == leg && r.InputInterface == input })
}

// tunnelInto is the route that leads into a tunnel's interface.
func (t Sights) tunnelInto(node, leg, link string) *v1alpha1.RouteFact {
	return t.Fact(node, func(r *v1alpha1.RouteFact) bool { return r.Leg == leg && r.Interface == link && r.Tunnel != "" })
}

// Outer is the route of a tunnel's own packet.
func (t Sights) Outer(node string, into *v1alpha1.RouteFact) *v1alpha1.RouteFact {
	return t.Fact(node, func(r *v1alpha1.RouteFact) bool { return r.Leg == Tunnel && r.Destination == into.Tunnel })
}

// Fact is the first of a node's facts that is what was asked for; nil where there is none.
func (t Sights) Fact(node string, is func(*v1alpha1.RouteFact) bool) *v1alpha1.RouteFact {
	o := t.Seen[node]
	if o == nil {
		return nil
	}
	for i := range o.Status.Routes {
		if is(&o.Status.Routes[i]) {
			return &o.Status.Routes[i]
		}
	}
	return nil
}

// RouteText writes a route much as ip-route(8) does.
func RouteText(r *v1alpha1.RouteFact) string {
	if r.Type == "missing" {
		return "no route to " + r.Destination
	}
	text := r.Prefix
	if strings.HasSuffix(text, "/0") {
		text = "default"
	}
	if r.Type != "unicast" {
		text = r.Type + " " + cmp.Or(text, r.Destination)
	}
	if r.Gateway != "" {
		text += " via " + r.Gateway
	}
	if r.Interface != "" {
		text += " dev " + r.Interface
	}
	return text + protocolText(r.Protocol)
}

// protocolText says who has made a route (rtnetlink(7), rtm_protocol; ours are in docs/design.md).
func protocolText(protocol int32) string {
	switch protocol {
	case ProtocolOurs:
		return " (Causeway)"
	case ProtocolLearned:
		return " (Causeway, learned by BGP)"
	case 2:
		return " (kernel)"
	}
	return ""
}

// Protocols of Causeway's routes.
const ProtocolOurs, ProtocolLearned = 202, 203
