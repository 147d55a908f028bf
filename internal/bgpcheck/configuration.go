package bgpcheck

import (
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Configuration returns what is wrong with a BGPConfiguration by itself. The parts that are right have effect.
func Configuration(spec *v1alpha1.BGPConfigurationSpec) (problems []Problem) {
	for i := range spec.Nodes {
		if _, problem := Selector(fmt.Sprintf("nodes[%d].nodeSelector", i), spec.Nodes[i].NodeSelector); problem != nil {
			problems = append(problems, *problem)
		}
	}
	for _, text := range spec.ListenAddresses {
		if _, err := netip.ParseAddr(text); err != nil {
			problems = append(problems, Problem{InvalidAddress,
				"listenAddresses has " + quote(text) + ", which is not an IP address; write addresses of the nodes, 0.0.0.0 or ::."})
		}
	}
	if mesh := &spec.NodeToNodeMesh; mesh.Enabled {
		if _, _, ok := Timers(mesh.HoldTime, mesh.KeepaliveTime); !ok {
			problems = append(problems, Problem{InvalidTimers,
				"holdTime of the mesh must be 0s or 3s to 65535s, and keepaliveTime at least 1s and shorter; correct them."})
		}
	}
	for _, adv := range spec.PrefixAdvertisements {
		if _, err := netip.ParsePrefix(adv.CIDR); err != nil {
			problems = append(problems, Problem{InvalidCIDR, "prefixAdvertisements has " + quote(adv.CIDR) + ", which is not a CIDR; correct it."})
		}
		for _, c := range adv.Communities {
			if !ValidCommunity(string(c)) {
				problems = append(problems, Problem{InvalidCommunity, "prefixAdvertisements has the community " + quote(string(c)) + "; " + communityForm + "."})
			}
		}
	}
	for _, list := range []struct {
		field string
		cidrs []v1alpha1.ServiceCIDR
	}{
		{"serviceClusterIPs", spec.ServiceClusterIPs}, {"serviceExternalIPs", spec.ServiceExternalIPs},
		{"serviceLoadBalancerIPs", spec.ServiceLoadBalancerIPs},
	} {
		for _, c := range list.cidrs {
			if _, err := netip.ParsePrefix(c.CIDR); err != nil {
				problems = append(problems, Problem{InvalidCIDR, list.field + " has " + quote(c.CIDR) + ", which is not a CIDR; correct it."})
			}
		}
	}
	return problems
}
