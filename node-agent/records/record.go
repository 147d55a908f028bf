package records

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// Name returns the name of an endpoint's WorkloadEndpoint: the pod's name, and the hash that the host end has too.
func Name(e addressbook.Endpoint) string {
	hash := strings.TrimPrefix(e.Interface, names.HostInterfacePrefix)
	pod := e.Pod[:min(len(e.Pod), 253-1-len(hash))]
	return strings.TrimRight(pod, "-.") + "-" + hash
}

// Record returns an endpoint's WorkloadEndpoint.
func Record(e addressbook.Endpoint, node string) *v1alpha1.WorkloadEndpoint {
	record := &v1alpha1.WorkloadEndpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: Name(e)},
		Spec: v1alpha1.WorkloadEndpointSpec{
			Pod: e.Pod, PodUID: e.PodUID, ContainerID: e.ContainerID, Node: node, Network: e.Network,
			ContainerInterface: e.ContainerInterface, Interface: e.Interface, MAC: e.MAC,
			NetworkNamespace: e.NetworkNamespace, Pools: e.Pools,
		},
	}
	for _, a := range e.Addresses {
		record.Spec.Addresses = append(record.Spec.Addresses, netip.PrefixFrom(a, a.BitLen()).String())
	}
	record.Spec.Networks = strings.Join(record.Spec.Addresses, ",")
	return record
}

// Endpoint reverses Record. It returns an error where the parts of the record do not fit together, as they do in every
// record that an agent writes: the interface is named after container and interface, the object after pod and interface,
// and there is one whole address for each family. Whose blocks the addresses are in is not looked at.
func Endpoint(record *v1alpha1.WorkloadEndpoint, node string) (addressbook.Endpoint, error) {
	s := record.Spec
	e := addressbook.Endpoint{
		Interface: s.Interface, Namespace: record.Namespace, Pod: s.Pod, PodUID: s.PodUID, ContainerID: s.ContainerID,
		ContainerInterface: s.ContainerInterface, Network: s.Network, NetworkNamespace: s.NetworkNamespace, MAC: s.MAC,
		State: addressbook.Ready, Since: record.CreationTimestamp.Time,
	}
	if s.Node != node {
		return e, fmt.Errorf("it is of node %q", s.Node)
	}
	if want := names.HostInterface(s.ContainerID, s.ContainerInterface); s.Interface != want {
		return e, fmt.Errorf("its interface is %q, but that of its container is %q", s.Interface, want)
	}
	if want := Name(e); record.Name != want {
		return e, fmt.Errorf("its name does not fit its pod and interface, which make %q", want)
	}
	if len(s.Addresses) == 0 || len(s.Pools) != len(s.Addresses) {
		return e, fmt.Errorf("it has %d addresses of %d pools", len(s.Addresses), len(s.Pools))
	}
	for _, text := range s.Addresses {
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Bits() != p.Addr().BitLen() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			return e, fmt.Errorf("%q is not one address with /32 or /128", text)
		}
		e.Addresses = append(e.Addresses, p.Addr())
	}
	if len(e.Addresses) > 2 || len(e.Addresses) == 2 && e.Addresses[0].Is4() == e.Addresses[1].Is4() {
		return e, fmt.Errorf("it has more than one address of one family: %v", s.Addresses)
	}
	e.Pools = append(e.Pools, s.Pools...)
	return e, nil
}

// sameSpec compares two records' content. Empty and missing lists are the same.
func sameSpec(a, b v1alpha1.WorkloadEndpointSpec) bool {
	lists := slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.Pools, b.Pools)
	a.Addresses, a.Pools, b.Addresses, b.Pools = nil, nil, nil, nil
	return lists && reflect.DeepEqual(a, b)
}
