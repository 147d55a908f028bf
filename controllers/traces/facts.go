package traces

import (
	"net/netip"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Place is an address, and whose it is as far as that is known.
type Place struct {
	Address netip.Addr
	// Pod is "namespace/name", Node the node that it runs on, and Link the host end of its interface.
	Pod, Node, Link string
}

// Backend is an endpoint of a Service.
type Backend struct {
	Place
	Port uint16
}

// Facts are what is known of a trace before anything is sent.
type Facts struct {
	Source, Destination Place
	// Service is "namespace/name" where the destination is one, Forwards the name of its port, and Backends are the endpoints behind
	// it. Unlisted is how many more there are than are looked at.
	Service, Forwards string
	Backends          []Backend
	Unlisted          int
	// Block is the block that the destination lies in; its zero value where there is none.
	Block v1alpha1.IPBlockSpec
	// Encapsulation is what the block's pool sends with.
	Encapsulation v1alpha1.Encapsulation
	// Nodes are the nodes by their addresses.
	Nodes map[netip.Addr]string
	// Sessions are sentences about BGP sessions that are down, by node.
	Sessions map[string][]string
	// Probe is what is sent.
	Probe v1alpha1.ProbeSpec
	// End says why there is nothing to send; nil where there is.
	End *v1alpha1.PathEnd
}

// nodeAt returns the node that has an address; "" where none has.
func (f *Facts) nodeAt(text string) string {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	return f.Nodes[a]
}

// ends are the places where the packet may arrive.
func (f *Facts) ends() []Place {
	if f.Service == "" {
		return []Place{f.Destination}
	}
	var out []Place
	for _, b := range f.Backends {
		out = append(out, b.Place)
	}
	return out
}

// endAt returns the place whose pod is behind a link of a node.
func (f *Facts) endAt(node, link string) (Place, bool) {
	for _, p := range f.ends() {
		if p.Node == node && p.Link == link && link != "" {
			return p, true
		}
	}
	return Place{}, false
}
