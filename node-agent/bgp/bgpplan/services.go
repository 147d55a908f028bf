package bgpplan

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// servicePrefixes returns the service addresses that this node announces. Cluster IPs go out as their range, from every
// node; external and load balancer IPs one by one. With externalTrafficPolicy Local an address is announced alone, and
// only where a ready endpoint is.
func (p *planner) servicePrefixes() (prefixes []netip.Prefix) {
	cluster := ranges(p.config.ServiceClusterIPs)
	external := ranges(p.config.ServiceExternalIPs)
	balancer := ranges(p.config.ServiceLoadBalancerIPs)
	if len(cluster)+len(external)+len(balancer) == 0 {
		return nil
	}
	prefixes = append(prefixes, cluster...)
	if _, excluded := p.self.labels[corev1.LabelNodeExcludeBalancers]; excluded {
		external, balancer = nil, nil
	}
	local := p.localServices()
	for i := range p.in.Services {
		svc := &p.in.Services[i]
		onlyLocal := svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
		if onlyLocal && !local[types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}] {
			continue
		}
		if onlyLocal {
			prefixes = appendInside(prefixes, cluster, svc.Spec.ClusterIPs)
		}
		prefixes = appendInside(prefixes, external, svc.Spec.ExternalIPs)
		var ingress []string
		for _, i := range svc.Status.LoadBalancer.Ingress {
			ingress = append(ingress, i.IP)
		}
		prefixes = appendInside(prefixes, balancer, ingress)
	}
	return prefixes
}

func ranges(list []v1alpha1.ServiceCIDR) (out []netip.Prefix) {
	for _, r := range list {
		if cidr, err := netip.ParsePrefix(r.CIDR); err == nil { // others are among the problems of the BGPConfiguration
			out = append(out, cidr.Masked())
		}
	}
	return out
}

// appendInside appends the addresses that are in one of the ranges.
func appendInside(prefixes, ranges []netip.Prefix, addrs []string) []netip.Prefix {
	for _, text := range addrs {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			continue // "None", or a load balancer known by its name only.
		}
		for _, r := range ranges {
			if r.Contains(addr.Unmap()) {
				prefixes = append(prefixes, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
				break
			}
		}
	}
	return prefixes
}

// localServices returns the Services that have a ready endpoint on this node.
func (p *planner) localServices() map[types.NamespacedName]bool {
	local := map[types.NamespacedName]bool{}
	for _, slice := range p.in.EndpointSlices {
		service := slice.Labels[discoveryv1.LabelServiceName]
		if service == "" {
			continue
		}
		for _, e := range slice.Endpoints {
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			if ready && e.NodeName != nil && *e.NodeName == p.in.Node {
				local[types.NamespacedName{Namespace: slice.Namespace, Name: service}] = true
				break
			}
		}
	}
	return local
}
