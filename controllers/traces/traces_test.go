package traces

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

type observations = map[string]*v1alpha1.PathObservation

func facts() *Facts {
	address := netip.MustParseAddr
	return &Facts{
		Source: Place{address("10.0.0.1"), "default/a", "n1", "cwa"}, Destination: Place{address("10.0.1.1"), "default/b", "n2", "cwb"},
		Block:    v1alpha1.IPBlockSpec{CIDR: "10.0.1.0/26", Node: "n2"},
		Nodes:    map[netip.Addr]string{address("192.0.2.1"): "n1", address("192.0.2.2"): "n2", address("192.0.2.3"): "n3"},
		Sessions: map[string][]string{},
		Probe:    v1alpha1.ProbeSpec{Source: "10.0.0.1", Destination: "10.0.1.1", Protocol: v1alpha1.TraceICMP},
	}
}

func observation(state, step string) *v1alpha1.PathObservation {
	return &v1alpha1.PathObservation{Spec: v1alpha1.PathObservationSpec{Step: step}, Status: v1alpha1.PathObservationStatus{State: state}}
}

func TestStepsOfATrace(t *testing.T) {
	watching, done := v1alpha1.ObservationWatching, v1alpha1.ObservationDone
	third := observation(watching, v1alpha1.StepWatch)
	third.Status.Routes = []v1alpha1.RouteFact{{Gateway: "192.0.2.3"}}
	for _, c := range []struct {
		name string
		have observations
		age  time.Duration
		want Action
	}{
		{"ask both ends", observations{}, 0, Action{Ask: []string{"n1", "n2"}}},
		{"wait for them", observations{"n1": observation("", v1alpha1.StepWatch), "n2": observation(watching, v1alpha1.StepWatch)}, time.Second, Action{}},
		{"ask the next hop", observations{"n1": third, "n2": observation(watching, v1alpha1.StepWatch)}, time.Second, Action{Ask: []string{"n3"}}},
		{"send", observations{"n1": observation(watching, v1alpha1.StepWatch), "n2": observation(watching, v1alpha1.StepWatch)}, time.Second, Action{Steps: map[string]string{"n1": "Send"}}},
		{"send without a silent one", observations{"n1": observation(watching, v1alpha1.StepWatch), "n2": observation("", v1alpha1.StepWatch)}, beginWithin, Action{Steps: map[string]string{"n1": "Send"}}},
		{"report", observations{"n1": observation(done, v1alpha1.StepSend), "n2": observation(watching, v1alpha1.StepWatch)}, time.Second, Action{Steps: map[string]string{"n2": "Report"}}},
		{"finish", observations{"n1": observation(done, v1alpha1.StepSend), "n2": observation(done, v1alpha1.StepReport)}, time.Second, Action{Finish: true}},
		{"finish late", observations{"n1": observation(watching, v1alpha1.StepSend), "n2": observation(watching, v1alpha1.StepWatch)}, endWithin + 1, Action{Finish: true, Silent: []string{"n1", "n2"}}},
		{"nobody sends", observations{"n1": observation(v1alpha1.ObservationRefused, v1alpha1.StepWatch), "n2": observation(watching, v1alpha1.StepWatch)}, time.Second, Action{Finish: true, Silent: []string{"n2"}}},
	} {
		got := Next(facts(), c.have, c.age)
		same := strings.Join(got.Ask, " ") == strings.Join(c.want.Ask, " ") && got.Finish == c.want.Finish && len(got.Steps) == len(c.want.Steps) &&
			strings.Join(got.Silent, " ") == strings.Join(c.want.Silent, " ")
		for node, step := range c.want.Steps {
			same = same && got.Steps[node] == step
		}
		if !same {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// packet is one sight: "in eth0 64".
func packet(direction, link string, ttl int32) v1alpha1.SeenPacket {
	return v1alpha1.SeenPacket{Interface: link, Direction: direction, Leg: legRequest, Time: metav1.NewMicroTime(time.Unix(0, 0)),
		Packet: v1alpha1.PathPacket{Source: "10.0.0.1", Destination: "10.0.1.1", Kind: "echo request", TTL: ttl, Length: 84}}
}

func reply(p v1alpha1.SeenPacket, kind string) v1alpha1.SeenPacket {
	p.Leg, p.Packet.Source, p.Packet.Destination, p.Packet.Kind = legReply, "10.0.1.1", "10.0.0.1", kind
	return p
}

func saw(packets ...v1alpha1.SeenPacket) *v1alpha1.PathObservation {
	return &v1alpha1.PathObservation{Status: v1alpha1.PathObservationStatus{State: v1alpha1.ObservationDone, Packets: packets}}
}

func routed(o *v1alpha1.PathObservation, routes ...v1alpha1.RouteFact) *v1alpha1.PathObservation {
	o.Status.Routes = routes
	return o
}

func TestHowAPathEnds(t *testing.T) {
	there := []v1alpha1.SeenPacket{packet(in, "cwa", 64), packet(out, "eth0", 63)}
	arrives := []v1alpha1.SeenPacket{packet(in, "eth0", 63), packet(out, "cwb", 62)}
	way := v1alpha1.RouteFact{Leg: legRequest, InputInterface: "cwa", Interface: "eth0", Type: "unicast", Prefix: "10.0.1.0/26", Gateway: "192.0.2.2", Destination: "10.0.1.1", Neighbour: "02:00:00:00:00:02"}
	at := func(change func(r *v1alpha1.RouteFact)) v1alpha1.RouteFact {
		r := way
		change(&r)
		return r
	}
	links := func(o *v1alpha1.PathObservation, mac string) *v1alpha1.PathObservation {
		o.Status.Links = []v1alpha1.NodeLink{{Name: "eth0", MAC: mac}}
		return o
	}
	entry := []v1alpha1.SeenPacket{packet(in, "cwa", 64)}
	filtered := func(o *v1alpha1.PathObservation, table, chain string) *v1alpha1.PathObservation {
		o.Status.Verdicts = []v1alpha1.FilterVerdict{{Leg: legRequest, Family: "inet", Table: table, Chain: chain, Handle: 1}}
		return o
	}
	for _, c := range []struct {
		name                string
		have                observations
		silent              []string
		result, node, cause string
	}{
		{"answered", observations{"n1": saw(append(there, reply(packet(out, "cwa", 62), "echo reply"))...), "n2": saw(append(arrives, reply(packet(in, "cwb", 64), "echo reply"))...)}, nil, "Answered", "n2", ""},
		{"reset", observations{"n1": saw(append(there, reply(packet(out, "cwa", 62), "TCP RST"))...), "n2": saw(append(arrives, reply(packet(in, "cwb", 64), "TCP RST"))...)}, nil, "Dropped", "n2", causeNotListening},
		{"no answer", observations{"n1": saw(there...), "n2": saw(arrives...)}, nil, "Delivered", "n2", causeNoAnswer},
		{"blackhole", observations{"n1": routed(saw(entry...), at(func(r *v1alpha1.RouteFact) { r.Type = "blackhole" })), "n2": saw()}, nil, "Dropped", "n1", causeRejected},
		{"no route", observations{"n1": routed(saw(entry...), at(func(r *v1alpha1.RouteFact) { r.Type = "missing" })), "n2": saw()}, nil, "Dropped", "n1", causeNoRoute},
		{"rp_filter", observations{"n1": routed(saw(there...), way), "n2": routed(saw(packet(in, "eth0", 63)), v1alpha1.RouteFact{Leg: legRequest, InputInterface: "eth0", Type: "unicast", ReversePathFilter: 1, Back: "eth1"})}, nil, "Dropped", "n2", causeReversePath},
		{"no neighbour", observations{"n1": routed(saw(entry...), at(func(r *v1alpha1.RouteFact) { r.NeighbourState = "incomplete" })), "n2": saw()}, nil, "Dropped", "n1", causeNeighbour},
		{"no forwarding entry", observations{"n1": routed(saw(entry...), at(func(r *v1alpha1.RouteFact) { r.Tunnel = "missing" })), "n2": saw()}, nil, "Dropped", "n1", causeTunnel},
		{"wrong neighbour", observations{"n1": routed(saw(there...), way), "n2": links(saw(), "02:00:00:00:00:09")}, nil, "Dropped", "n1", causeWrongMAC},
		{"lost between", observations{"n1": routed(saw(there...), way), "n2": links(saw(), "02:00:00:00:00:02")}, nil, "Dropped", "n1", causeUnderlay},
		{"agent away", observations{"n1": routed(saw(there...), way), "n2": observation("", "Watch")}, []string{"n2"}, "Dropped", "n2", causeAgent},
		{"own agent away", observations{"n1": observation("", "Watch"), "n2": saw()}, []string{"n1"}, "Unknown", "n1", causeAgent},
		{"somebody's rule", observations{"n1": filtered(routed(saw(entry...), way), "foreign", "f"), "n2": saw()}, nil, "Dropped", "n1", causeFirewall},
		{"our rule against forged sources", observations{"n1": filtered(routed(saw(entry...), at(func(r *v1alpha1.RouteFact) { r.Back = "eth1" })), ourTable, forgedPod), "n2": saw()}, nil, "Dropped", "n1", causeReversePath},
		{"rp_filter keeps the pod from its gateway", observations{"n1": routed(saw(), at(func(r *v1alpha1.RouteFact) { r.ReversePathFilter, r.Back = 1, "eth1" })), "n2": saw()}, nil, "Dropped", "n1", causeReversePath},
		{"pod's own firewall", observations{"n1": saw(), "n2": saw()}, nil, "Dropped", "n1", causePod},
	} {
		got := Tell(facts(), c.have, c.silent).End
		if got.Result != c.result || got.Node != c.node || got.Cause != c.cause {
			t.Errorf("%s: %+v, want %s at %s by %s", c.name, got, c.result, c.node, c.cause)
		}
	}
}

func TestHopsAreInThePacketsOrder(t *testing.T) {
	late := packet(out, "eth0", 63)
	masqueraded := packet(in, "eth0", 63)
	masqueraded.Packet.Source = "192.0.2.1"
	hops := Tell(facts(), observations{"n2": saw(masqueraded), "n1": saw(packet(in, "cwa", 64), late, late)}, nil).Hops
	if len(hops) != 3 || hops[0].Interface != "cwa" || hops[1].Node != "n1" || hops[2].Node != "n2" || hops[2].NAT != "source 10.0.0.1 became 192.0.2.1" {
		t.Errorf("%+v", hops)
	}
}

// TestHowLivePacketsEnd: what is not seen of live packets proves less than of one that was sent for the purpose.
func TestHowLivePacketsEnd(t *testing.T) {
	followed := func(o *v1alpha1.PathObservation) *v1alpha1.PathObservation {
		o.Status.Flow = 40000
		return o
	}
	overrun := func(o *v1alpha1.PathObservation) *v1alpha1.PathObservation {
		o.Status.Overrun = true
		return o
	}
	masqueraded, ack := packet(out, "eth0", 63), packet(in, "cwa", 64)
	masqueraded.Packet.Source, ack.Packet.Kind = "192.0.2.1:40000", "TCP ACK"
	there := []v1alpha1.SeenPacket{packet(in, "cwa", 64), packet(out, "eth0", 63)}
	arrives := []v1alpha1.SeenPacket{packet(in, "eth0", 63), packet(out, "cwb", 62)}
	for _, c := range []struct {
		name                string
		have                observations
		result, node, cause string
	}{
		{"nothing was sent", observations{"n1": saw(), "n2": saw()}, "Unknown", "n1", causeNoTraffic},
		{"answered", observations{"n1": followed(saw(append(there, reply(packet(out, "cwa", 62), "echo reply"))...)), "n2": saw(append(arrives, reply(packet(in, "cwb", 64), "echo reply"))...)}, "Answered", "n2", ""},
		{"too much to be sure", observations{"n1": followed(saw(there...)), "n2": overrun(saw())}, "Unknown", "n2", causeTooMuch},
		{"masqueraded", observations{"n1": followed(saw(packet(in, "cwa", 64), masqueraded)), "n2": saw()}, "Delivered", "n1", causeNoAnswer},
		{"a connection is reset", observations{"n1": followed(saw(ack, reply(packet(out, "cwa", 62), "TCP RST"))), "n2": saw(reply(packet(in, "cwb", 64), "TCP RST"))}, "Dropped", "n2", causeReset},
	} {
		f := facts()
		f.Probe.Observe = true
		got := Tell(f, c.have, nil).End
		if got.Result != c.result || got.Node != c.node || got.Cause != c.cause {
			t.Errorf("%s: %+v, want %s at %s by %s", c.name, got, c.result, c.node, c.cause)
		}
	}
	f := facts()
	f.Probe.Observe = true
	watching := func() *v1alpha1.PathObservation { return observation(v1alpha1.ObservationWatching, v1alpha1.StepWatch) }
	if a := Next(f, observations{"n1": watching(), "n2": watching()}, time.Second); a.Steps["n1"] != v1alpha1.StepFollow {
		t.Errorf("%+v, want that n1 follows", a)
	}
}

// TestLivePacketsToAService: the story names the endpoint that a packet went to, and does not blame the node for one it can't know.
func TestLivePacketsToAService(t *testing.T) {
	toService := func() *Facts {
		f := facts()
		f.Service, f.Backends = "default/db", []Backend{{f.Destination, 8080}}
		f.Destination = Place{Address: netip.MustParseAddr("10.96.0.1")}
		f.Probe.Protocol, f.Probe.Observe, f.Probe.Destination, f.Probe.Port = v1alpha1.TraceTCP, true, "10.96.0.1", 80
		return f
	}
	between := func(p v1alpha1.SeenPacket, from, to string) v1alpha1.SeenPacket {
		p.Packet.Source, p.Packet.Destination, p.Packet.Kind = from, to, "TCP ACK"
		return p
	}
	came := between(packet(in, "cwa", 64), "10.0.0.1:4000", "10.96.0.1:80")
	went := between(packet(out, "eth0", 63), "10.0.0.1:4000", "10.0.1.1:8080")
	answer := reply(packet(out, "cwa", 62), "TCP ACK")
	answer.Packet.Source = "10.96.0.1:80"
	for name, c := range map[string]struct {
		seen     []v1alpha1.SeenPacket
		unlisted int
		result   string
		cause    string
		message  string
	}{
		"answered": {seen: []v1alpha1.SeenPacket{came, went, answer}, result: v1alpha1.PathAnswered,
			message: "Service default/db forwarded the packet to 10.0.1.1:8080, pod default/b on node n2."},
		"answered by an endpoint that is not ready": {seen: []v1alpha1.SeenPacket{came, answer}, result: v1alpha1.PathAnswered, message: "from 10.96.0.1:80."},
		"masqueraded and answered": {seen: []v1alpha1.SeenPacket{came, between(packet(out, "eth0", 63), "192.0.2.1:4000", "10.0.1.1:8080"), answer}, result: v1alpha1.PathAnswered,
			message: "From node n1 on the packet has the source 192.0.2.1:4000 instead of the pod's address (masquerading). Live packets are looked for by the pod's address"},
		"masqueraded without an answer": {seen: []v1alpha1.SeenPacket{came, between(packet(out, "eth0", 63), "192.0.2.1:4000", "10.0.1.1:8080")}, result: v1alpha1.PathDelivered, cause: causeNoAnswer,
			message: "left node n1 by eth0, and no answer came. From node n1 on"},
		"not seen again":     {seen: []v1alpha1.SeenPacket{came}, result: v1alpha1.PathUnknown, cause: causeEndpoint, message: "did not go on to one of the 1 ready endpoints"},
		"too many endpoints": {seen: []v1alpha1.SeenPacket{came}, unlisted: 7, result: v1alpha1.PathUnknown, cause: causeEndpoint, message: "(7 more are ready)"},
	} {
		f := toService()
		f.Unlisted = c.unlisted
		source := saw(c.seen...)
		source.Status.Flow = 4000
		end := Tell(f, observations{"n1": source, "n2": saw()}, nil).End
		if end.Result != c.result || end.Cause != c.cause || !strings.Contains(end.Message, c.message) {
			t.Errorf("%s: %+v, want %q", name, end, c.message)
		}
	}
}
