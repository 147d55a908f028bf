package traces

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/hops"
)

// lost says why a packet was seen at a hop and not at another one behind it. what begins the sentence.
func (t *teller) lost(h v1alpha1.PathHop, what string) v1alpha1.PathEnd {
	if h.Direction == in {
		return t.swallowed(h, what)
	}
	if rewritten := h.Leg == legRequest && addressIn(h.Packet.Source) != t.f.Source.Address; rewritten && t.f.Probe.Observe {
		return v1alpha1.PathEnd{Result: v1alpha1.PathDelivered, Node: h.Node, Cause: causeNoAnswer,
			Message: fmt.Sprintf("%s left node %s by %s, and no answer came.%s", what, h.Node, h.Interface, t.masqueraded())}
	}
	if h.Packet.Outer != nil {
		return t.onTheWire(h, what, h.Packet.Outer.Destination, t.Fact(h.Node, func(r *v1alpha1.RouteFact) bool {
			return r.Leg == legTunnel && r.Destination == h.Packet.Outer.Destination
		}))
	}
	r := t.Fact(h.Node, func(r *v1alpha1.RouteFact) bool { return r.Leg == h.Leg && r.Interface == h.Interface })
	if r != nil && r.Tunnel != "" {
		return t.inTunnel(h, what, r)
	}
	if r == nil {
		return dropped(h.Node, causeUnexplained, "%s left node %s by %s and was not seen again.", what, h.Node, h.Interface)
	}
	next := r.Gateway
	if next == "" {
		next = r.Destination
	}
	return t.onTheWire(h, what, next, r)
}

// addressIn is the address of an end, which may have a port.
func addressIn(end string) netip.Addr {
	if a, err := netip.ParseAddr(end); err == nil {
		return a
	}
	a, _ := netip.ParseAddrPort(end) // the zero address is nobody's
	return a.Addr()
}

// swallowed is a packet that came in and did not go out.
func (t *teller) swallowed(h v1alpha1.PathHop, what string) v1alpha1.PathEnd {
	if h.Packet.Outer != nil {
		if end := t.wrongInside(h, what); end != nil {
			return *end
		}
		return dropped(h.Node, causeUnexplained, "%s came to node %s in a tunnel (%s) and did not come out of it. Compare the tunnels' settings on both nodes: kubectl causeway plan %s.",
			what, h.Node, h.Packet.Outer.Encapsulation, h.Node)
	}
	r := t.Route(h.Node, h.Leg, h.Interface)
	if r == nil {
		return dropped(h.Node, causeUnexplained, "%s came to node %s by %s and did not leave it.", what, h.Node, h.Interface)
	}
	if end := t.refused(h, what, r); end != nil {
		return *end
	}
	switch {
	case filtersReverse(r, h.Interface):
		return dropped(h.Node, causeReversePath, "%s came to node %s by %s, and was dropped by the reverse path filter (rp_filter): the way back to %s is by %s.",
			what, h.Node, h.Interface, r.Source, orNone(r.Back))
	case r.Type == "local":
		return v1alpha1.PathEnd{Result: v1alpha1.PathDelivered, Node: h.Node, Cause: causeNoAnswer,
			Message: fmt.Sprintf("%s was delivered to node %s itself, and there was no answer.", what, h.Node)}
	case r.MTU > 0 && h.Packet.Length > r.MTU && !t.f.Probe.Observe: // a live one may be several that the link is to cut
		return dropped(h.Node, causeMTU, "%s of %d bytes is larger than the MTU %d of %s on node %s.", what, h.Packet.Length, r.MTU, r.Interface, h.Node)
	case slices.Contains([]string{"failed", "incomplete", "missing"}, r.NeighbourState) && r.Tunnel != "missing":
		return t.noNeighbour(h, what, r)
	case r.Tunnel != "":
		return t.inTunnel(h, what, r)
	}
	return dropped(h.Node, causeUnexplained, "%s came to node %s by %s and did not leave it, although the route is there: %s.", what, h.Node, h.Interface, hops.RouteText(r))
}

// filtersReverse says whether rp_filter is strict (1) and answers would leave by another link than the packet came in by.
func filtersReverse(r *v1alpha1.RouteFact, input string) bool {
	return r.ReversePathFilter == 1 && r.Back != input
}

// refused is a packet whose route is missing, or says no.
func (t *teller) refused(h v1alpha1.PathHop, what string, r *v1alpha1.RouteFact) *v1alpha1.PathEnd {
	var end v1alpha1.PathEnd
	switch r.Type {
	case "blackhole", "unreachable", "prohibit":
		advice := "Nobody at Causeway made it: find who did, with ip route on the node."
		if r.Protocol == hops.ProtocolOurs {
			advice = "It is Causeway's own for a block of this node: no pod here has that address."
		}
		end = dropped(h.Node, causeRejected, "%s was dropped on node %s by the route %q. %s", what, h.Node, hops.RouteText(r), advice)
	case "missing":
		if down := t.f.Sessions[h.Node]; len(down) > 0 {
			end = t.sessionDown(h.Node, what, r.Destination)
			break
		}
		missing := r.Destination
		if h.Leg == legRequest && t.f.Block.CIDR != "" {
			missing = fmt.Sprintf("%s (the block of node %s)", t.f.Block.CIDR, t.f.Block.Node)
		}
		end = dropped(h.Node, causeNoRoute, "%s was dropped on node %s, which has no route to %s. What its agent wants and refuses: kubectl causeway plan %s.", what, h.Node, missing, h.Node)
	default:
		return nil
	}
	return &end
}

func (t *teller) sessionDown(node, what, to string) v1alpha1.PathEnd {
	return dropped(node, causeSession, "%s went no further than node %s, which has learned no route to %s: %s", what, node, to, strings.Join(t.f.Sessions[node], " "))
}

func (t *teller) noNeighbour(h v1alpha1.PathHop, what string, r *v1alpha1.RouteFact) v1alpha1.PathEnd {
	next := r.Gateway
	if next == "" {
		next = r.Destination
	}
	return dropped(h.Node, causeNeighbour, "%s was dropped on node %s: nobody answers for %s on %s (neighbour %s).", what, h.Node, next, r.Interface, r.NeighbourState)
}

// inTunnel is a packet that went into a tunnel's interface, and of which no tunnel packet was seen.
func (t *teller) inTunnel(h v1alpha1.PathHop, what string, r *v1alpha1.RouteFact) v1alpha1.PathEnd {
	if r.Tunnel == "missing" {
		next := r.Gateway
		if next == "" {
			next = r.Destination
		}
		return dropped(h.Node, causeTunnel, "%s was dropped on node %s: %s does not know the node behind %s (hardware address %s), for there is no entry in its forwarding database.",
			what, h.Node, r.Interface, next, orNone(r.Neighbour))
	}
	if outer := t.Outer(h.Node, r); outer != nil {
		if end := t.refused(h, "The tunnel packet to "+r.Tunnel, outer); end != nil {
			return *end
		}
		if outer.NeighbourState == "failed" || outer.NeighbourState == "incomplete" {
			return t.noNeighbour(h, "The tunnel packet to "+r.Tunnel, outer)
		}
	}
	return dropped(h.Node, causeUnexplained, "%s went into %s on node %s, and no tunnel packet to %s left the node.", what, r.Interface, h.Node, r.Tunnel)
}

// onTheWire is a packet that left a node for another address of the underlay, and was not seen there.
func (t *teller) onTheWire(h v1alpha1.PathHop, what, next string, r *v1alpha1.RouteFact) v1alpha1.PathEnd {
	to := t.f.nodeAt(next)
	if r != nil && r.Gateway != "" && t.f.nodeAt(r.Gateway) == "" && to == "" {
		to = t.f.Block.Node // by a router, which we do not see
	}
	switch {
	case to != "" && t.Seen[to] == nil && !slices.Contains(t.silent, to):
		return v1alpha1.PathEnd{Result: v1alpha1.PathUnknown, Node: to, Cause: causeUnasked,
			Message: fmt.Sprintf("%s left node %s by %s for node %s, which was not asked: a trace asks %d nodes at most. Name a pod on that node instead.", what, h.Node, h.Interface, to, mostNodes)}
	case to != "" && slices.Contains(t.silent, to):
		return dropped(to, causeAgent, "%s left node %s for node %s, whose agent does not answer: what its kernel routes is as old as that. Look at its pod: kubectl -n causeway-system get pods -o wide.", what, h.Node, to)
	case r != nil && t.wrongMAC(to, next, r):
		return dropped(h.Node, causeWrongMAC, "%s left node %s by %s for the hardware address %s, which is not that of %s (node %s).", what, h.Node, h.Interface, r.Neighbour, next, to)
	case t.f.Probe.Size > 0 && t.smallPassed(to):
		return dropped(h.Node, causeMTU, "%s of %d bytes left node %s by %s and did not come to node %s, while a small one did: a link between the two has a smaller MTU, and nobody says so.",
			what, h.Packet.Length, h.Node, h.Interface, to)
	case to != "":
		return dropped(h.Node, causeUnderlay, "%s left node %s by %s for node %s (%s) and did not arrive: it was lost in the network between them.", what, h.Node, h.Interface, to, next)
	case len(t.f.Sessions[h.Node]) > 0:
		return t.sessionDown(h.Node, what, h.Packet.Destination)
	}
	return v1alpha1.PathEnd{Result: v1alpha1.PathDelivered, Node: h.Node, Cause: causeNoAnswer,
		Message: fmt.Sprintf("%s left node %s by %s for %s, outside of the cluster, and there was no answer.", what, h.Node, h.Interface, next)}
}

// wrongMAC says whether a packet to an address of a node was sent to a hardware address that the node does not have.
func (t *teller) wrongMAC(node, next string, r *v1alpha1.RouteFact) bool {
	o := t.Seen[node]
	direct := r.Gateway == "" || r.Gateway == next
	if o == nil || r.Neighbour == "" || !direct || len(o.Status.Links) == 0 {
		return false
	}
	return !slices.ContainsFunc(o.Status.Links, func(l v1alpha1.NodeLink) bool { return l.MAC == r.Neighbour })
}

// wrongInside finds a tunnel packet whose inner frame is for a hardware address that the node's tunnel does not have.
func (t *teller) wrongInside(h v1alpha1.PathHop, what string) *v1alpha1.PathEnd {
	from := t.f.nodeAt(h.Packet.Outer.Source)
	r := t.Fact(from, func(r *v1alpha1.RouteFact) bool { return r.Leg == h.Leg && r.Tunnel != "" })
	if r == nil || r.Neighbour == "" || !t.wrongMAC(h.Node, r.Gateway, r) {
		return nil
	}
	end := dropped(from, causeWrongMAC, "%s was sent by node %s into %s for the hardware address %s, which is not that of node %s, so node %s dropped it.", what, from, r.Interface, r.Neighbour, h.Node, h.Node)
	return &end
}

// smallPassed says whether the small packet, which was sent after the large one, came to a node.
func (t *teller) smallPassed(node string) bool {
	o := t.Seen[node]
	return o != nil && slices.ContainsFunc(o.Status.Packets, func(p v1alpha1.SeenPacket) bool { return p.Leg == legRequest && !t.Sized(&p) })
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
