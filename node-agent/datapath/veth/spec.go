package veth

import (
	"errors"
	"net"
	"net/netip"
	"strings"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// Spec is all that the kernel must know of one pod interface.
type Spec struct {
	// HostInterface is the name of the host end.
	HostInterface string
	// ContainerInterface is the name in the pod.
	ContainerInterface string
	// NetworkNamespace is the path of the pod's network namespace.
	NetworkNamespace string
	// MAC is the pod's hardware address.
	MAC net.HardwareAddr
	// MTU of both ends, in bytes.
	MTU int
	// Addresses of the pod, one for each family.
	Addresses []netip.Addr
	// Alias is kept on the host end.
	Alias Alias
}

// Errors that callers tell apart.
var (
	// ErrNoNamespace says that the network namespace's path leads to none.
	ErrNoNamespace = errors.New("no such network namespace")
	// ErrInterfaceTaken says that the pod has an interface of that name already, which is not ours.
	ErrInterfaceTaken = errors.New("interface name is taken")
)

// Alias is what the host end says about its pod (IFLA_IFALIAS), for people and for restarts: with the addresses that are
// routed to the link it is enough to write the pod's WorkloadEndpoint again.
type Alias struct {
	Namespace, Pod, ContainerInterface, ContainerID, Network, PodUID, NetworkNamespace string
	// MAC is the hardware address in the pod, if it is fixed. Else names.PodMAC makes it.
	MAC string
}

const (
	// maxAlias is the most that the kernel keeps (IFALIASZ, less the final zero byte).
	maxAlias = 255
	// namespaceFolder is where runtimes keep network namespaces. It is left out of the alias, which has little room.
	namespaceFolder = "/var/run/netns/"
	// empty stands for an empty field.
	empty = "-"
)

// String returns the alias as the kernel keeps it: "<namespace>/<pod> <interface> <container> <network> <pod UID> <network
// namespace>", with a fixed hardware address after the interface's name, as in "eth0:02:00:00:00:00:01". What does not fit is cut off
// at the end; Fits says whether that happened.
func (a Alias) String() string {
	s := a.text()
	return s[:min(len(s), maxAlias)]
}

func (a Alias) text() string {
	path := a.NetworkNamespace
	if short, ok := strings.CutPrefix(path, namespaceFolder); ok && short != "" && short != empty && !strings.Contains(short, "/") {
		path = short
	}
	inPod := a.ContainerInterface
	if a.MAC != "" {
		inPod += ":" + a.MAC
	}
	fields := []string{a.Namespace + "/" + a.Pod, inPod, a.ContainerID, a.Network, a.PodUID, path}
	for i, field := range fields {
		if field == "" {
			fields[i] = empty
		}
	}
	return strings.Join(fields, " ")
}

// Fits reports whether the kernel can keep the whole alias, so that ParseAlias gives all of it back.
func (a Alias) Fits() bool {
	again, ok := ParseAlias(a.text())
	return ok && again == a && len(a.text()) <= maxAlias
}

// ParseAlias reverses String as far as that is possible. It reports whether s is an alias of ours.
func ParseAlias(s string) (Alias, bool) {
	fields := strings.SplitN(s, " ", 6)
	namespace, pod, slash := strings.Cut(fields[0], "/")
	if len(fields) < 2 || !slash || namespace == "" || pod == "" {
		return Alias{}, false
	}
	inPod, mac := splitMAC(fields[1])
	if inPod == "" || inPod == empty {
		return Alias{}, false
	}
	field := func(i int) string {
		if i >= len(fields) || fields[i] == empty {
			return ""
		}
		return fields[i]
	}
	a := Alias{Namespace: namespace, Pod: pod, ContainerInterface: inPod, MAC: mac, ContainerID: field(2), Network: field(3), PodUID: field(4), NetworkNamespace: field(5)}
	if a.NetworkNamespace != "" && !strings.Contains(a.NetworkNamespace, "/") {
		a.NetworkNamespace = namespaceFolder + a.NetworkNamespace
	}
	return a, true
}

// splitMAC separates the name of an interface from the hardware address after it, if there is one. A name has no colon.
func splitMAC(field string) (name, mac string) {
	name, text, _ := strings.Cut(field, ":")
	if address, err := net.ParseMAC(text); err == nil && len(address) == 6 {
		return name, address.String()
	}
	return field, ""
}

// Names reports whether the alias belongs to a host end of this name.
func (a Alias) Names(hostInterface string) bool {
	return names.HostInterface(a.ContainerID, a.ContainerInterface) == hostInterface
}
