package trace

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/trace/match"
)

// job is one observation that is being made.
type job struct {
	probe    match.Probe
	size     int
	pod      podLink
	capture  *capture
	rules    *rules
	verdicts *verdicts
	unmarked error // why nftables tells nothing
	drops    int64
	flow     uint16 // of the live packets that are told
}

// podLink is where the pod that sends is; its zero value where another node sends.
type podLink struct{ link, namespace string }

func (t *Tracer) begin(o *v1alpha1.PathObservation) (*job, error) {
	probe, err := parseProbe(o.Spec.Probe)
	if err != nil {
		return nil, err
	}
	j := &job{probe: probe, size: int(o.Spec.Probe.Size), drops: reversePathDrops()}
	if o.Spec.Pod != "" {
		if j.pod, err = t.findPod(o.Namespace, o.Spec.Pod, probe.Source); err != nil {
			return nil, err
		}
	}
	var l *live
	if probe.Live {
		l = newLive(j.pod.link, ownAddresses())
	}
	patterns := probe.Patterns(t.o.VXLANPort)
	if j.capture, err = startCapture(patterns, l); err != nil {
		return nil, err
	}
	j.mark(string(o.UID), patterns)
	return j, nil
}

// mark has nftables tell what it does with the probe. Without that, the trace lacks the rule that dropped it, and nothing else.
func (j *job) mark(id string, patterns []match.Pattern) {
	if j.verdicts, j.unmarked = watchVerdicts(tablePrefix + id); j.unmarked != nil {
		return
	}
	var limit uint64
	if j.probe.Live { // those with one address may be another pod's
		limit = markedPerSecond
		patterns = slices.DeleteFunc(slices.Clone(patterns), func(p match.Pattern) bool { return p.Rewritten })
	}
	j.rules, j.unmarked = markProbe(id, patterns, limit)
}

func (j *job) end() {
	j.capture.stop()
	if j.rules != nil {
		j.rules.close()
	}
	if j.verdicts != nil {
		j.verdicts.stop()
	}
}

func parseProbe(p v1alpha1.ProbeSpec) (match.Probe, error) {
	from, errFrom := netip.ParseAddr(p.Source)
	to, errTo := netip.ParseAddr(p.Destination)
	if errFrom != nil || errTo != nil || from.Is4() != to.Is4() || from.Is4In6() || to.Is4In6() {
		return match.Probe{}, fmt.Errorf("%s and %s are not two addresses of one family", p.Source, p.Destination)
	}
	out := match.Probe{Source: from, Destination: to, ID: uint16(p.ID), Port: uint16(p.Port), Live: p.Observe}
	switch p.Protocol {
	case v1alpha1.TraceICMP:
		out.Protocol = match.ICMP
	case v1alpha1.TraceTCP:
		out.Protocol = match.TCP
	case v1alpha1.TraceUDP:
		out.Protocol = match.UDP
	default:
		return match.Probe{}, fmt.Errorf("the protocol %q is not known to this agent", p.Protocol)
	}
	if len(p.Endpoints) > v1alpha1.MaxProbeEndpoints || len(p.Endpoints) > 0 && (!out.Live || out.Protocol == match.ICMP) {
		return match.Probe{}, fmt.Errorf("this agent looks for live packets of TCP or UDP to at most %d endpoints", v1alpha1.MaxProbeEndpoints)
	}
	for _, e := range p.Endpoints {
		a, err := netip.ParseAddr(e.Address)
		if err != nil || a.Is4() != to.Is4() || a.Is4In6() {
			return match.Probe{}, fmt.Errorf("the endpoint %s is no address of the family of %s", e.Address, to)
		}
		out.Endpoints = append(out.Endpoints, netip.AddrPortFrom(a.WithZone(""), uint16(e.Port)))
	}
	return out, nil
}

// findPod believes the pod's own link alone: a pod is on this node, and has the address, if its link says so.
func (t *Tracer) findPod(namespace, name string, address netip.Addr) (podLink, error) {
	found, err := t.o.Pods.List()
	if err != nil {
		return podLink{}, fmt.Errorf("list the pods' links: %w", err)
	}
	for _, f := range found {
		if f.Alias.Namespace == namespace && f.Alias.Pod == name && f.Complete && !f.Deleted && slices.Contains(f.Addresses, address) {
			return podLink{link: f.HostInterface, namespace: f.Alias.NetworkNamespace}, nil
		}
	}
	return podLink{}, fmt.Errorf("node %s has no link of a running pod %s/%s to which %s is routed", t.o.Node, namespace, name, address)
}

// firstRoutes tells the controller where the packet will go, so that it asks the next node too.
func (j *job) firstRoutes() []v1alpha1.RouteFact {
	if j.pod.link == "" {
		return nil
	}
	return withTunnel(route(way{leg: string(match.Request), to: j.probe.Destination, from: j.probe.Source, input: j.pod.link}))
}

// withTunnel adds the route of the tunnel's own packet.
func withTunnel(f v1alpha1.RouteFact) []v1alpha1.RouteFact {
	out := []v1alpha1.RouteFact{f}
	if end, err := netip.ParseAddr(f.Tunnel); err == nil {
		outer := route(way{leg: "Tunnel", to: end})
		out = append(out, outer)
	}
	return out
}

// send sends the packet from the pod, again after a while, and waits for an answer or an ICMP error.
func (j *job) send(ctx context.Context) error {
	if j.pod.link == "" || j.probe.Live {
		return fmt.Errorf("this node was asked to send, but not what, or not from which pod")
	}
	s, err := openSender(j.pod.namespace, j.probe, j.size)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.send(1); err != nil {
		return err
	}
	if _, ok := j.await(ctx, again, j.ends); !ok {
		s.size = 0    // a small one passes where only a large one is lost
		_ = s.send(2) // what can go wrong was told at the first time
		if _, ok = j.await(ctx, answerWithin-again, j.ends); !ok {
			return nil
		}
	}
	pause(ctx, trailing)
	return nil
}

// follow waits until the pod sends something that matches, and then for an answer to that or an ICMP error.
func (j *job) follow(ctx context.Context) error {
	if j.pod.link == "" || !j.probe.Live {
		return fmt.Errorf("this node was asked to follow live packets, but not from which pod")
	}
	j.capture.restart()
	first, ok := j.await(ctx, followWithin, func(s seen) bool {
		return s.leg == match.Request && !s.out && s.link == j.pod.link && s.header.Flow != 0 && s.header.Destination == j.probe.Destination
	})
	if !ok {
		return nil
	}
	j.flow = first.header.Flow
	j.await(ctx, answerWithin, j.ends)
	pause(ctx, trailing)
	return nil
}

// await waits for a packet.
func (j *job) await(ctx context.Context, within time.Duration, is func(seen) bool) (seen, bool) {
	deadline := time.After(within)
	for {
		packets, more := j.capture.look()
		if i := slices.IndexFunc(packets, is); i >= 0 {
			return packets[i], true
		}
		select {
		case <-more:
		case <-deadline:
			return seen{}, false
		case <-ctx.Done():
			return seen{}, false
		}
	}
}

// ends says whether a packet ends the waiting: an answer or an error that goes to the pod.
func (j *job) ends(s seen) bool {
	return s.leg != match.Request && s.out && s.link == j.pod.link && (!j.probe.Live || s.header.Flow == j.flow)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// mostRoutes is how many routes are reported.
const mostRoutes = 16

// report is all that this node has seen.
func (j *job) report(ctx context.Context, failed error) v1alpha1.PathObservationStatus {
	packets, _ := j.capture.look()
	if j.probe.Live { // those of the one flow that is followed, and none where there is none
		packets = slices.DeleteFunc(packets, func(s seen) bool { return j.flow == 0 || s.header.Flow != j.flow })
		packets = packets[:min(len(packets), mostPackets)]
	}
	out := v1alpha1.PathObservationStatus{State: v1alpha1.ObservationDone, Links: links(), ReversePathDrops: reversePathDrops() - j.drops,
		Flow: int32(j.flow), Overrun: j.capture.overrun()}
	if failed != nil {
		out.Message = sentence(failed)
	} else if j.unmarked != nil {
		out.Message = sentence(fmt.Errorf("nftables does not tell what its rules do: %w", j.unmarked))
	}
	for _, p := range packets {
		out.Packets = append(out.Packets, p.observed())
	}
	asked := map[way]bool{}
	for _, w := range j.ways(packets) {
		if !asked[w] && len(out.Routes)+2 <= mostRoutes {
			asked[w] = true
			out.Routes = append(out.Routes, withTunnel(route(w))...)
		}
	}
	if j.verdicts != nil {
		out.Verdicts = j.verdicts.found(ctx)
	}
	return out
}

// ways are the packets whose routes are worth to know: those that came in, with the address that they went on with.
func (j *job) ways(packets []seen) []way {
	var out []way
	for _, p := range packets {
		if p.out || p.tunnel || p.leg == match.Error {
			continue
		}
		w := way{leg: string(p.leg), to: p.header.Destination, from: p.header.Source, input: p.link}
		for _, later := range packets {
			if later.out && !later.tunnel && later.leg == p.leg && later.at.After(p.at) && later.header.Destination != w.to {
				w.to = later.header.Destination
				break
			}
		}
		out = append(out, w)
	}
	if len(packets) == 0 && j.pod.link != "" {
		out = append(out, way{leg: string(match.Request), to: j.probe.Destination, from: j.probe.Source, input: j.pod.link})
	}
	return out
}

func (s seen) observed() v1alpha1.SeenPacket {
	direction := "In"
	if s.out {
		direction = "Out"
	}
	h := s.header
	packet := v1alpha1.PathPacket{Source: endpoint(h.Source, h.SourcePort), Destination: endpoint(h.Destination, h.DestinationPort),
		Kind: h.Kind, TTL: int32(h.TTL), Length: int32(h.Length)}
	if o := h.Outer; o != nil {
		packet.Outer = &v1alpha1.OuterHeader{Encapsulation: o.Encapsulation, Source: o.Source.String(), Destination: o.Destination.String(), TTL: int32(o.TTL), VNI: int32(o.VNI)}
	}
	return v1alpha1.SeenPacket{Interface: s.link, Direction: direction, Leg: string(s.leg), Packet: packet, MTU: int32(h.MTU), Time: metav1.NewMicroTime(s.at)}
}

func endpoint(a netip.Addr, port uint16) string {
	if port == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String()
}
