package agent

import (
	"context"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/datapath/routeplan"
)

// poolsForPlan returns what routing needs of the pools.
func poolsForPlan(pools []v1alpha1.IPPool) []routeplan.Pool {
	out := make([]routeplan.Pool, 0, len(pools))
	for _, p := range pools {
		cidr, err := netip.ParsePrefix(p.Spec.CIDR)
		if err != nil {
			continue // the API admits none
		}
		ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		out = append(out, routeplan.Pool{
			Name: p.Name, CIDR: cidr, Encapsulation: p.Spec.Encapsulation, Sending: p.Status.Encapsulation, NATOutgoing: p.Spec.NATOutgoing,
			Settled: p.Status.Encapsulation == p.Spec.Encapsulation && p.Status.ObservedGeneration == p.Generation &&
				ready != nil && ready.ObservedGeneration == p.Generation && p.Status.NodesReady >= p.Status.NodesTotal,
		})
	}
	return out
}

// blocksForPlan returns what routing needs of the blocks.
func blocksForPlan(blocks []v1alpha1.IPBlock) []routeplan.Block {
	out := make([]routeplan.Block, 0, len(blocks))
	for _, b := range blocks {
		cidr, err := netip.ParsePrefix(b.Spec.CIDR)
		if err != nil {
			continue // the API admits none
		}
		out = append(out, routeplan.Block{
			CIDR: cidr, Pool: b.Spec.Pool, Node: b.Spec.Node, NodeAddresses: parseAddresses(b.Spec.NodeAddresses), Created: b.CreationTimestamp.Time,
		})
	}
	return out
}

func parseAddresses(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// endpointsForPlan returns the pods' interfaces. Those that are being made or taken away are left as they are found.
func endpointsForPlan(endpoints []addressbook.Endpoint) []routeplan.Endpoint {
	out := make([]routeplan.Endpoint, 0, len(endpoints))
	for _, e := range endpoints {
		out = append(out, routeplan.Endpoint{Interface: e.Interface, Addresses: e.Addresses, Pools: e.Pools, Ready: e.State == addressbook.Ready})
	}
	return out
}

// nodeAddresses returns the addresses of all nodes: tunnels accept packets from these only.
func (a *Agent) nodeAddresses(ctx context.Context) ([]netip.Addr, error) {
	var list v1alpha1.NodeNetworkList
	if err := a.api.cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, n := range list.Items {
		for _, address := range n.Status.Addresses {
			if parsed, err := netip.ParseAddr(address.Address); err == nil {
				out = append(out, parsed)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out), nil
}
