package blocks

import (
	"net/netip"

	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/causeway-net/causeway/internal/infrastructure"
)

// fixed is the infrastructure apart from the nodes, by the name of the object that says so.
type fixed struct {
	slices, ranges map[string][]infrastructure.Network
}

// networks returns all.
func (f *fixed) networks() (out []infrastructure.Network) {
	for _, part := range []map[string][]infrastructure.Network{f.slices, f.ranges} {
		for _, networks := range part {
			out = append(out, networks...)
		}
	}
	return out
}

// setSlice reads the addresses of the API server. Other EndpointSlices say nothing here.
func (f *fixed) setSlice(before, after *discoveryv1.EndpointSlice) {
	if f.slices == nil {
		f.slices = map[string][]infrastructure.Network{}
	}
	if before != nil {
		delete(f.slices, before.Name)
	}
	if after == nil || after.Labels[discoveryv1.LabelServiceName] != "kubernetes" {
		return
	}
	var found []infrastructure.Network
	for _, endpoint := range after.Endpoints {
		for _, text := range endpoint.Addresses {
			if a, err := netip.ParseAddr(text); err == nil {
				found = append(found, infrastructure.APIServer(a))
			}
		}
	}
	f.slices[after.Name] = found
}

// setRange reads a ServiceCIDR.
func (f *fixed) setRange(before, after *networkingv1.ServiceCIDR) {
	if f.ranges == nil {
		f.ranges = map[string][]infrastructure.Network{}
	}
	if before != nil {
		delete(f.ranges, before.Name)
	}
	if after == nil {
		return
	}
	var found []infrastructure.Network
	for _, text := range after.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			found = append(found, infrastructure.ServiceRange(p))
		}
	}
	f.ranges[after.Name] = found
}
