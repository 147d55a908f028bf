package cniserver

import (
	"net/netip"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// RecordName returns the name of an endpoint's WorkloadEndpoint: the pod's name, and the hash that the host end has too.
func RecordName(e addressbook.Endpoint) string {
	hash := strings.TrimPrefix(e.Interface, names.HostInterfacePrefix)
	pod := e.Pod[:min(len(e.Pod), 253-1-len(hash))]
	return strings.TrimRight(pod, "-.") + "-" + hash
}

// Record returns an endpoint's WorkloadEndpoint.
func Record(e addressbook.Endpoint, node string) *v1alpha1.WorkloadEndpoint {
	record := &v1alpha1.WorkloadEndpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: RecordName(e)},
		Spec: v1alpha1.WorkloadEndpointSpec{
			Pod: e.Pod, PodUID: e.PodUID, ContainerID: e.ContainerID, Node: node, Network: e.Network,
			ContainerInterface: e.ContainerInterface, Interface: e.Interface, MAC: e.MAC,
			NetworkNamespace: e.NetworkNamespace, Pools: e.Pools,
		},
	}
	for _, a := range e.Addresses {
		record.Spec.Addresses = append(record.Spec.Addresses, netip.PrefixFrom(a, a.BitLen()).String())
	}
	return record
}

// Endpoint reverses Record. Addresses that can't be read are left out.
func Endpoint(record *v1alpha1.WorkloadEndpoint) addressbook.Endpoint {
	e := addressbook.Endpoint{
		Interface: record.Spec.Interface, Namespace: record.Namespace, Pod: record.Spec.Pod, PodUID: record.Spec.PodUID,
		ContainerID: record.Spec.ContainerID, ContainerInterface: record.Spec.ContainerInterface, Network: record.Spec.Network,
		NetworkNamespace: record.Spec.NetworkNamespace, MAC: record.Spec.MAC, State: addressbook.Ready,
	}
	for i, text := range record.Spec.Addresses {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		e.Addresses = append(e.Addresses, p.Addr())
		pool := ""
		if i < len(record.Spec.Pools) {
			pool = record.Spec.Pools[i]
		}
		e.Pools = append(e.Pools, pool)
	}
	return e
}
