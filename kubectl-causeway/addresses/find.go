package addresses

import (
	"net/netip"

	"github.com/causeway-net/causeway/internal/ipam/reservation"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// Answer is what is known of one address.
type Answer struct {
	Address netip.Addr `json:"address"`
	Pool    string     `json:"pool,omitempty"`
	Block   string     `json:"block,omitempty"`
	// Node is the owner of the block, or the node that has the address itself.
	Node string `json:"node,omitempty"`
	// Remembered is the pod of a StatefulSet that the address is remembered for.
	Remembered string `json:"remembered,omitempty"`
	// Use says in a sentence what the address is for.
	Use     string   `json:"use"`
	Holders []Holder `json:"holders,omitempty"`
}

// Find says whose an address is.
func Find(c *objects.Cluster, a netip.Addr) Answer {
	out := Answer{Address: a}
	for i := range c.Pools.Items {
		if p, err := c.Pools.Items[i].Spec.Prefix(); err == nil && p.Contains(a) {
			out.Pool = c.Pools.Items[i].Name
		}
	}
	for _, h := range holders(c) {
		if h.Address == a {
			out.Holders = append(out.Holders, h)
		}
	}
	for i := range c.Networks.Items {
		for _, own := range c.Networks.Items[i].Status.Addresses {
			if own.Address == a.String() {
				out.Node, out.Use = c.Networks.Items[i].Name, "The address is the node's own."
			}
		}
	}
	m := remembered(c, a)
	if m != nil {
		out.Remembered = m.Namespace + "/" + m.Name
	}
	block := newIndex(c).find(a)
	if block != nil {
		out.Block, out.Node = block.CIDR, block.NodeOf(a)
	}
	switch {
	case out.Use != "":
	case len(out.Holders) == 0 && reserved(c, a) != "":
		out.Use = "No pod gets the address: it is reserved by " + reserved(c, a) + "."
	case len(out.Holders) == 1:
		out.Use = "Pod " + out.Holders[0].Pod + " on node " + out.Holders[0].Node + " has the address."
		if m != nil {
			out.Use += " It is remembered for pod " + out.Remembered + " of StatefulSet " + m.Spec.StatefulSet + "."
		}
	case len(out.Holders) > 1:
		out.Use = "More than one pod has the address: see kubectl causeway ipam check."
	case m != nil:
		out.Use = "No pod has the address; it is remembered for pod " + out.Remembered + " of StatefulSet " + m.Spec.StatefulSet + "."
	case block != nil && block.Capacity > 1 && a == block.prefix.Addr():
		out.Use = "The address is kept for the tunnels of node " + block.Node + "."
	case block != nil:
		out.Use = "No pod has the address; node " + out.Node + " may give it to one."
	case out.Pool != "":
		out.Use = "No node has a block with the address yet."
	default:
		out.Use = "The address is in no pool."
	}
	return out
}

// reserved names what reserves an address, or nothing.
func reserved(c *objects.Cluster, a netip.Addr) string {
	for i := range c.Pools.Items {
		p := &c.Pools.Items[i]
		if set, _ := reservation.Parse(p.Spec.Reserved, netip.Prefix{}); set.Contains(a) {
			return "IPPool " + p.Name
		}
	}
	for i := range c.Reservations.Items {
		r := &c.Reservations.Items[i]
		if set, _ := reservation.Parse(r.Spec.Addresses, netip.Prefix{}); set.Contains(a) {
			name := "IPReservation " + r.Name
			if r.Spec.Reason != "" {
				name += " (" + r.Spec.Reason + ")"
			}
			return name
		}
	}
	return ""
}
