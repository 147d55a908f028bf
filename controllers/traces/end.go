package traces

import (
	"fmt"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Causes of an end, for programs.
const (
	causeAgent        = "AgentStopped"
	causeRefused      = "AgentRefused"
	causePod          = "PodCannotSend"
	causeFirewall     = "Firewall"
	causeNotListening = "NotListening"
	causeReset        = "ConnectionReset"
	causeMTU          = "MTU"
	causeRejected     = "RouteRejects"
	causeNoRoute      = "NoRoute"
	causeSession      = "BGPSessionDown"
	causeReversePath  = "ReversePathFilter"
	causeNeighbour    = "NoNeighbour"
	causeWrongMAC     = "WrongNeighbour"
	causeTunnel       = "NoTunnelEndpoint"
	causeUnderlay     = "LostBetweenNodes"
	causeUnexplained  = "Unexplained"
	causeNoAnswer     = "NoAnswer"
	causeEndpoints    = "NoEndpoints"
	causeEndpoint     = "EndpointUnknown"
	causeUnasked      = "NodeNotAsked"
	causeTTL          = "TTLExceeded"
	causeNoTraffic    = "NoTraffic"
	causeTooMuch      = "TooMuchTraffic"
)

func dropped(node, cause, format string, args ...any) v1alpha1.PathEnd {
	return v1alpha1.PathEnd{Result: v1alpha1.PathDropped, Node: node, Cause: cause, Message: fmt.Sprintf(format, args...)}
}

func unknown(node, cause, format string, args ...any) v1alpha1.PathEnd {
	return v1alpha1.PathEnd{Result: v1alpha1.PathUnknown, Node: node, Cause: cause, Message: fmt.Sprintf(format, args...)}
}

// end judges. What is certain comes first: an answer, then the rule that dropped the packet, then what an ICMP error says, then
// what the kernel of the last node that saw the packet would do with it.
func (t *teller) end() v1alpha1.PathEnd {
	node := t.f.Source.Node
	source := t.Seen[node]
	if slices.Contains(t.silent, node) || source == nil {
		return unknown(node, causeAgent, "The agent of node %s does not answer, so nothing was sent. Look at its pod: kubectl -n causeway-system get pods -o wide.", node)
	}
	if source.Status.State == v1alpha1.ObservationRefused {
		return unknown(node, causeRefused, "The agent of node %s did not send the packet: %s.", node, strings.TrimSuffix(source.Status.Message, "."))
	}
	for _, judge := range []func() *v1alpha1.PathEnd{t.idle, t.answered, t.filtered, t.reset, t.errored, t.overrun, t.unforwarded} {
		if end := judge(); end != nil {
			return *end
		}
	}
	if replies := t.of(legReply); len(replies) > 0 {
		end := t.lost(replies[len(replies)-1], "The destination answered, and the answer")
		return end
	}
	requests := t.of(legRequest)
	if len(requests) == 0 {
		return t.unseen(source)
	}
	last := requests[len(requests)-1]
	if p, ok := t.f.endAt(last.Node, last.Interface); ok && last.Direction == out {
		return v1alpha1.PathEnd{Result: v1alpha1.PathDelivered, Node: last.Node, Cause: causeNoAnswer,
			Message: fmt.Sprintf("The packet was delivered to pod %s, which did not answer.%s", p.Pod, t.forwarded())}
	}
	return t.lost(last, "The packet")
}

// idle is a pod that sent nothing by itself.
func (t *teller) idle() *v1alpha1.PathEnd {
	source := t.Seen[t.f.Source.Node]
	if !t.f.Probe.Observe || source.Status.Flow != 0 || source.Status.State != v1alpha1.ObservationDone {
		return nil
	}
	end := unknown(t.f.Source.Node, causeNoTraffic, "Pod %s sent no such packet to %s within ten seconds, so there was nothing to follow.", t.f.Source.Pod, destinationText(t.f.Probe))
	return &end
}

// overrun is so much traffic that what is not seen proves nothing.
func (t *teller) overrun() *v1alpha1.PathEnd {
	for _, node := range t.inOrder() {
		if t.Seen[node].Status.Overrun {
			end := unknown(node, causeTooMuch, "So many packets match that the agent of node %s did not look at all of them; no answer was seen. Trace without observe: that sends a packet of its own.", node)
			return &end
		}
	}
	return nil
}

// unseen is a packet that not even the source's node saw.
func (t *teller) unseen(source *v1alpha1.PathObservation) v1alpha1.PathEnd {
	node, link := t.f.Source.Node, t.f.Source.Link
	if source.Status.Message != "" {
		return dropped(node, causePod, "The pod could not send: %s.", strings.TrimSuffix(source.Status.Message, "."))
	}
	if r := t.Route(node, legRequest, link); r != nil && filtersReverse(r, link) {
		return dropped(node, causeReversePath, "The packet did not come out of the pod's interface %s, because node %s does not even answer the pod's ARP requests: its reverse path filter (rp_filter) drops what comes in there, since the way back to %s is by %s.",
			link, node, r.Source, orNone(r.Back))
	}
	return dropped(node, causePod, "The packet did not come out of the pod's interface %s. Look at the routes and the firewall inside the pod.", link)
}

// of are the hops of one leg.
func (t *teller) of(leg string) []v1alpha1.PathHop {
	var hops []v1alpha1.PathHop
	for _, h := range t.hops {
		if h.Leg == leg {
			hops = append(hops, h)
		}
	}
	return hops
}

// home is the reply that came back to the source's pod.
func (t *teller) home() *v1alpha1.PathHop {
	for i := range t.hops {
		h := &t.hops[i]
		if h.Leg == legReply && h.Node == t.f.Source.Node && h.Interface == t.f.Source.Link && h.Direction == out {
			return h
		}
	}
	return nil
}

func (t *teller) answered() *v1alpha1.PathEnd {
	h := t.home()
	if h == nil || h.Packet.Kind == kindReset {
		return nil
	}
	return &v1alpha1.PathEnd{Result: v1alpha1.PathAnswered, Node: t.answerer(), Message: fmt.Sprintf("The pod got the answer: %s from %s.%s%s", h.Packet.Kind, h.Packet.Source, t.forwarded(), t.masqueraded())}
}

// masqueraded says where the hops of live packets end because the packet got another source.
func (t *teller) masqueraded() string {
	requests := t.of(legRequest)
	at := slices.IndexFunc(requests, func(h v1alpha1.PathHop) bool { return addressIn(h.Packet.Source) != t.f.Source.Address })
	if !t.f.Probe.Observe || at < 0 {
		return ""
	}
	h := requests[at]
	text := fmt.Sprintf(" From node %s on the packet has the source %s instead of the pod's address (masquerading).", h.Node, h.Packet.Source)
	if len(t.Seen) > 1 {
		text += " Live packets are looked for by the pod's address, so what other nodes saw of it is not shown; trace without observe shows that."
	}
	return text
}

// forwarded says which endpoint of the Service the packet went to, as far as it was seen.
func (t *teller) forwarded() string {
	for i := range t.hops {
		h := &t.hops[i]
		end := h.Packet.Destination
		if h.Leg == legReply {
			end = h.Packet.Source
		}
		for _, b := range t.f.Backends {
			if h.Leg == legError || addressIn(end) != b.Address {
				continue
			}
			text := fmt.Sprintf(" Service %s forwarded the packet to %s", t.f.Service, end)
			if b.Pod != "" {
				text += ", pod " + b.Pod
			}
			if b.Node != "" {
				text += " on node " + b.Node
			}
			return text + "."
		}
	}
	return ""
}

// unforwarded is a live packet to a Service that was not seen with the address of an endpoint.
func (t *teller) unforwarded() *v1alpha1.PathEnd {
	requests := t.of(legRequest)
	if t.f.Service == "" || !t.f.Probe.Observe || len(requests) == 0 || t.forwarded() != "" {
		return nil
	}
	last := requests[len(requests)-1]
	if addressIn(last.Packet.Destination) != t.f.Destination.Address || last.Direction != in {
		return nil
	}
	which := fmt.Sprintf("the %d ready endpoints", len(t.f.Backends))
	if t.f.Unlisted > 0 {
		which = fmt.Sprintf("the %d endpoints that were looked for (%d more are ready)", len(t.f.Backends), t.f.Unlisted)
	}
	end := unknown(last.Node, causeEndpoint, "The packet came to node %s by %s for Service %s, and did not go on to one of %s. Either kube-proxy on the node does not forward it, or the connection leads to another endpoint, perhaps one that was ready when it began. Trace without observe: that makes a connection of its own.",
		last.Node, last.Interface, t.f.Service, which)
	return &end
}

const kindReset = "TCP RST"

// answerer is the node that the first reply was seen on.
func (t *teller) answerer() string {
	if replies := t.of(legReply); len(replies) > 0 {
		return replies[0].Node
	}
	return ""
}

func (t *teller) filtered() *v1alpha1.PathEnd {
	for _, node := range t.inOrder() {
		verdicts := t.Seen[node].Status.Verdicts
		if len(verdicts) == 0 {
			continue
		}
		end := ruleEnd(node, verdicts[0])
		if r := t.forged(node, verdicts[0]); r != nil {
			end = dropped(node, causeReversePath, "%s came to node %s by %s, and was dropped there as one with a forged source (nftables table inet %s, chain %s), because the way back to %s is by %s.",
				whose(verdicts[0]), node, r.InputInterface, ourTable, verdicts[0].Chain, r.Source, orNone(r.Back))
		}
		return &end
	}
	return nil
}

// ourTable is the nftables table of Causeway's agents, forgedPod its chain against pods that send from the addresses of others.
const ourTable, forgedPod = "causeway", "forged_pod"

// forged is the route of a packet that our own rule took for a forged one, because the way back to its source is by another link.
func (t *teller) forged(node string, v v1alpha1.FilterVerdict) *v1alpha1.RouteFact {
	if v.Table != ourTable || v.Chain != forgedPod {
		return nil
	}
	return t.Fact(node, func(r *v1alpha1.RouteFact) bool {
		return r.Leg == v.Leg && r.InputInterface != "" && r.Back != r.InputInterface
	})
}

func whose(v v1alpha1.FilterVerdict) string {
	if v.Leg == legReply {
		return "The destination answered, and the answer"
	}
	return "The packet"
}

func ruleEnd(node string, v v1alpha1.FilterVerdict) v1alpha1.PathEnd {
	what, rule := whose(v), v.Rule
	if rule == "" {
		rule = fmt.Sprintf("handle %d", v.Handle)
	}
	return dropped(node, causeFirewall, "%s was dropped by nftables on node %s: table %s %s, chain %s: %s", what, node, v.Family, v.Table, v.Chain, rule)
}

// inOrder are the nodes, those that saw the packet first.
func (t *teller) inOrder() []string {
	var nodes []string
	for _, h := range t.hops {
		if !slices.Contains(nodes, h.Node) {
			nodes = append(nodes, h.Node)
		}
	}
	var others []string
	for node := range t.Seen {
		if !slices.Contains(nodes, node) {
			others = append(others, node)
		}
	}
	slices.Sort(others)
	return append(nodes, others...)
}

func (t *teller) reset() *v1alpha1.PathEnd {
	h := t.home()
	if h == nil {
		return nil
	}
	end := dropped(t.answerer(), causeNotListening, "The packet was delivered, and %s refused the connection (TCP RST): nothing listens on the port.", h.Packet.Source)
	if requests := t.of(legRequest); t.f.Probe.Observe && len(requests) > 0 && requests[0].Packet.Kind != "TCP SYN" {
		end = dropped(t.answerer(), causeReset, "The packet was delivered, and %s reset the connection (TCP RST).", h.Packet.Source)
	}
	return &end
}

// errored reads the first ICMP error about the request.
func (t *teller) errored() *v1alpha1.PathEnd {
	errs := t.of(legError)
	if len(errs) == 0 {
		return nil
	}
	h := errs[0]
	node := h.Node
	if named := t.f.nodeAt(h.Packet.Source); named != "" {
		node = named
	}
	var end v1alpha1.PathEnd
	switch kind := h.Packet.Kind; kind {
	case "fragmentation needed", "packet too big":
		end = dropped(node, causeMTU, "A packet%s is too large: %s says %q. %d bytes would pass.", t.size(), h.Packet.Source, kind, t.mtuOf(h))
	case "port unreachable":
		end = dropped(node, causeNotListening, "The packet was delivered, and %s answered %q: nothing listens on the port.", h.Packet.Source, kind)
	case "TTL exceeded", "hop limit exceeded":
		end = dropped(node, causeTTL, "The packet went round in a circle: %s says %q. Compare the routes of the nodes that it passed.", h.Packet.Source, kind)
	default:
		if requests := t.of(legRequest); len(requests) > 0 {
			last := requests[len(requests)-1]
			if end = t.lost(last, "The packet"); end.Node == node && end.Cause != causeUnexplained {
				return &end
			}
		}
		end = dropped(node, causeRejected, "The packet was refused: %s says %q.", h.Packet.Source, kind)
	}
	return &end
}

// size tells the size of a packet that was sent; that of a live one is not known.
func (t *teller) size() string {
	if t.f.Probe.Size == 0 {
		return ""
	}
	return fmt.Sprintf(" of %d bytes", t.f.Probe.Size)
}

// mtuOf is the MTU that an ICMP error tells.
func (t *teller) mtuOf(h v1alpha1.PathHop) int32 {
	for _, p := range t.Seen[h.Node].Status.Packets {
		if p.MTU > 0 {
			return p.MTU
		}
	}
	return 0
}
