package veth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
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

// Alias is what the host end says about its pod (IFLA_IFALIAS, at most 255 bytes), for people and for restarts.
type Alias struct {
	Namespace, Pod, ContainerID, ContainerInterface, Network string
}

const maxAlias = 255

// String returns the alias as the kernel keeps it. What does not fit is cut off at the end.
func (a Alias) String() string {
	s := fmt.Sprintf("%s/%s %s %s %s", a.Namespace, a.Pod, a.ContainerInterface, a.ContainerID, a.Network)
	return s[:min(len(s), maxAlias)]
}

// ParseAlias reverses String as far as that is possible. It reports whether s is an alias of ours.
func ParseAlias(s string) (Alias, bool) {
	name, rest, ok := strings.Cut(s, " ")
	namespace, pod, slash := strings.Cut(name, "/")
	if !ok || !slash || namespace == "" || pod == "" {
		return Alias{}, false
	}
	containerInterface, rest, _ := strings.Cut(rest, " ")
	containerID, network, _ := strings.Cut(rest, " ")
	return Alias{Namespace: namespace, Pod: pod, ContainerInterface: containerInterface, ContainerID: containerID, Network: network}, containerInterface != ""
}
