package addresses

import (
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/wish"
)

// Fixed returns the pools of the addresses that a pod asks for, as a wish of the pod. A pool must allow it, and give out addresses on this
// node. Whether it may serve the pod's namespace is decided with all other wishes. The error is a *wish.Error.
func (p *Pools) Fixed(addresses []netip.Addr) (wish.Wish, error) {
	out := wish.Wish{Source: "the pod"}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, a := range addresses {
		name, err := p.fixed(a)
		if err != nil {
			return wish.Wish{}, err
		}
		family := &out.V6
		if a.Is4() {
			family = &out.V4
		}
		*family = append(*family, name)
	}
	return out, nil
}

// fixed returns the pool of one address. Where pools overlap, the one that gives out addresses counts.
func (p *Pools) fixed(a netip.Addr) (string, error) {
	refused := &wish.Error{Reason: fmt.Sprintf("address %s, which its annotation %s asks for, lies in no IPPool", a, v1alpha1.AnnotationIPs)}
	for _, c := range p.pools {
		switch {
		case !c.CIDR.Contains(a):
		case !c.fixedAllowed:
			refused = &wish.Error{Reason: fmt.Sprintf("IPPool %s does not let pods ask for addresses, such as %s; set its fixedAddresses to Allowed, or take the annotation %s away", c.Name, a, v1alpha1.AnnotationIPs)}
		case !c.Usable:
			refused = &wish.Error{Reason: fmt.Sprintf("IPPool %s, which holds the address %s of its annotation %s, gives out no addresses on this node now (kubectl describe ippool %s)", c.Name, a, v1alpha1.AnnotationIPs, c.Name)}
		default:
			return c.Name, nil
		}
	}
	return "", refused
}
