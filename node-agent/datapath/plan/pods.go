package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// SetEndpoints takes the pods of this node.
func (p *Planner) SetEndpoints(endpoints []Endpoint) {
	sorted := sortedEndpoints(endpoints)
	if p.endpoints != nil && slices.EqualFunc(p.endpoints, sorted, Endpoint.equal) {
		return
	}
	before, held := p.pods, p.held
	p.endpoints, p.pods, p.podProblems = sorted, make(map[netip.Prefix]string, 2*len(sorted)), nil
	p.keep, p.held = map[string]bool{}, map[netip.Prefix]bool{}
	for _, e := range sorted {
		if !e.Ready {
			p.hold(e)
			continue
		}
		for _, a := range e.Addresses {
			p.addPod(a, e.Interface)
		}
	}
	for dst, device := range before {
		if p.pods[dst] != device {
			p.dirty[dst] = true
		}
	}
	for dst, device := range p.pods {
		if before[dst] != device {
			p.dirty[dst] = true
		}
	}
	for _, changed := range []map[netip.Prefix]bool{held, p.held} {
		for dst := range changed {
			p.dirty[dst] = p.dirty[dst] || held[dst] != p.held[dst]
		}
	}
	p.pending.Sysctls = p.podSysctls()
}

// hold notes that the routes of an endpoint are left as they are found.
func (p *Planner) hold(e Endpoint) {
	p.keep[e.Interface] = true
	for _, a := range e.Addresses {
		if a = a.Unmap().WithZone(""); a.IsValid() {
			p.held[netip.PrefixFrom(a, a.BitLen())] = true
		}
	}
}

func (p *Planner) addPod(a netip.Addr, device string) {
	if a = a.Unmap().WithZone(""); !a.IsValid() {
		return
	}
	dst := netip.PrefixFrom(a, a.BitLen())
	if other, taken := p.pods[dst]; taken {
		p.podProblems = append(p.podProblems, Problem{Reason: AddressTwice, Message: fmt.Sprintf(
			"Address %s is recorded for %s and for %s: delete the pod that came last.", a, other, device)})
		return
	}
	p.pods[dst] = device
	if problem, refused := p.podRefused(dst); refused {
		p.podProblems = append(p.podProblems, problem)
	}
}

// podRefused refuses a pod's route only if that very address is somebody else's: a node's, or the API server's. A pod that
// has run since before its network became somebody else's goes on.
func (p *Planner) podRefused(dst netip.Prefix) (Problem, bool) {
	for _, hit := range p.hits(dst) {
		if hit.Prefix == dst {
			return p.infrastructure(dst, "", fmt.Sprintf("The pod behind %s with the address %s", p.pods[dst], dst.Addr()), "gets no route")
		}
	}
	return Problem{}, false
}

func (e Endpoint) equal(o Endpoint) bool {
	return e.Interface == o.Interface && e.Ready == o.Ready && slices.Equal(e.Addresses, o.Addresses) && slices.Equal(e.Pools, o.Pools)
}

// sortedEndpoints leaves out what has no name, and what names an interface twice.
func sortedEndpoints(all []Endpoint) []Endpoint {
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b Endpoint) int { return cmp.Compare(a.Interface, b.Interface) })
	sorted = slices.CompactFunc(sorted, func(a, b Endpoint) bool { return a.Interface == b.Interface })
	return slices.DeleteFunc(sorted, func(e Endpoint) bool { return e.Interface == "" })
}
