package traces

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// The legs of a path, as agents name them.
const (
	legRequest, legReply, legError, legTunnel = "Request", "Reply", "Error", "Tunnel"
	in, out                                   = "In", "Out"
)

// mostHops is how many hops a status holds.
const mostHops = 128

// Story is what the observations tell.
type Story struct {
	Hops []v1alpha1.PathHop
	End  v1alpha1.PathEnd
}

// Tell makes the story. have are the observations by node; silent are the nodes that have not answered.
func Tell(f *Facts, have map[string]*v1alpha1.PathObservation, silent []string) Story {
	if f.End != nil {
		return Story{End: *f.End}
	}
	t := teller{f: f, have: have, silent: silent}
	for _, leg := range []string{legRequest, legReply, legError} {
		t.hops = append(t.hops, t.leg(leg)...)
	}
	end := t.end()
	return Story{Hops: t.hops[:min(len(t.hops), mostHops)], End: end}
}

// teller is a story that is being made.
type teller struct {
	f      *Facts
	have   map[string]*v1alpha1.PathObservation
	silent []string
	hops   []v1alpha1.PathHop
}

// leg puts the packets of one way in order. A packet's TTL becomes smaller at every node, so the order does not depend on the
// nodes' clocks; within a node the kernel's order counts. Each interface is told once for each direction.
func (t *teller) leg(leg string) []v1alpha1.PathHop {
	type visit struct {
		ttl  int32
		hops []v1alpha1.PathHop
	}
	var visits []visit
	for node, o := range t.have {
		var v visit
		for i := range o.Status.Packets {
			p := &o.Status.Packets[i]
			told := slices.ContainsFunc(v.hops, func(h v1alpha1.PathHop) bool { return h.Interface == p.Interface && h.Direction == p.Direction })
			if p.Leg != leg || told || !t.sized(p) {
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

// sized leaves out the small packet that was sent after a large one had no answer.
func (t *teller) sized(p *v1alpha1.SeenPacket) bool {
	large := t.f.Probe.Size > 0 && p.Leg != legError && (p.Leg == legRequest || t.f.Probe.Protocol == v1alpha1.TraceICMP)
	return !large || p.Packet.Length == t.f.Probe.Size
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
func (t *teller) explain(h *v1alpha1.PathHop) {
	if h.Leg == legError || h.Packet.Outer != nil {
		return
	}
	if h.Direction == in {
		if r := t.route(h.Node, h.Leg, h.Interface); r != nil {
			h.Route, h.Rule = routeText(r), r.Rule
		}
		return
	}
	if r := t.tunnelInto(h.Node, h.Leg, h.Interface); r != nil {
		if outer := t.outer(h.Node, r); outer != nil {
			h.Route, h.Rule = "tunnel to "+r.Tunnel+": "+routeText(outer), outer.Rule
		}
	}
}

// route is what a node does with the packet that came in by an interface; nil where that is not known.
func (t *teller) route(node, leg, input string) *v1alpha1.RouteFact {
	return t.fact(node, func(r *v1alpha1.RouteFact) bool { return r.Leg == leg && r.InputInterface == input })
}

// tunnelInto is the route that leads into a tunnel's interface.
func (t *teller) tunnelInto(node, leg, link string) *v1alpha1.RouteFact {
	return t.fact(node, func(r *v1alpha1.RouteFact) bool { return r.Leg == leg && r.Interface == link && r.Tunnel != "" })
}

// outer is the route of a tunnel's own packet.
func (t *teller) outer(node string, into *v1alpha1.RouteFact) *v1alpha1.RouteFact {
	return t.fact(node, func(r *v1alpha1.RouteFact) bool { return r.Leg == legTunnel && r.Destination == into.Tunnel })
}

func (t *teller) fact(node string, is func(*v1alpha1.RouteFact) bool) *v1alpha1.RouteFact {
	o := t.have[node]
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

// routeText writes a route much as ip-route(8) does.
func routeText(r *v1alpha1.RouteFact) string {
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
	case protoOurs:
		return " (Causeway)"
	case protoLearned:
		return " (Causeway, learned by BGP)"
	case 2:
		return " (kernel)"
	}
	return ""
}

// Protocols of Causeway's routes.
const protoOurs, protoLearned = 202, 203
