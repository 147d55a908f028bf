package cniserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/wish"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
)

// config is the network configuration of the plugin.
type config struct {
	types.PluginConf
	// IPPools, IPv4Pools, IPv6Pools and RequireDualStack say what the annotations of these names say. A pod's annotations have more
	// weight, those of its namespace have less.
	IPPools          []string `json:"ipPools,omitempty"`
	IPv4Pools        []string `json:"ipv4Pools,omitempty"`
	IPv6Pools        []string `json:"ipv6Pools,omitempty"`
	RequireDualStack *bool    `json:"requireDualStack,omitempty"`

	RuntimeConfig struct {
		// PodAnnotations come from runtimes that have the capability of this name (containerd, CRI-O).
		PodAnnotations map[string]string `json:"io.kubernetes.cri.pod-annotations,omitempty"`
		// IPs are addresses that the pod must have (CNI conventions, "ips").
		IPs []string `json:"ips,omitempty"`
		// MAC is the hardware address that the interface must have (CNI conventions, "mac").
		MAC string `json:"mac,omitempty"`
	} `json:"runtimeConfig"`
}

// arguments are what a Kubernetes runtime puts into CNI_ARGS.
type arguments struct {
	types.CommonArgs
	MAC               types.UnmarshallableString // as the reference plugins bridge, macvlan and tuning read it
	K8S_POD_NAMESPACE types.UnmarshallableString //nolint:revive,staticcheck // the runtimes' spelling
	K8S_POD_NAME      types.UnmarshallableString //nolint:revive,staticcheck // the runtimes' spelling
	K8S_POD_UID       types.UnmarshallableString //nolint:revive,staticcheck // the runtimes' spelling
}

// call is a checked request.
type call struct {
	protocol.Request
	config    config
	namespace string
	pod       string
	podUID    string
	key       string // the host end's name
	mac       string // of the interface in the pod
}

func cniError(code uint, format string, args ...any) *protocol.Error {
	return &protocol.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// parse checks all that the kernel and the API will see.
func parse(r protocol.Request) (*call, *protocol.Error) {
	c := &call{Request: r}
	if err := json.Unmarshal(r.Config, &c.config); err != nil {
		return nil, cniError(protocol.CodeDecodingFailure, "The network configuration is not valid JSON of the expected shape: %v.", err)
	}
	if bad := checkVersion(r.Command, c.config.CNIVersion); bad != nil {
		return nil, bad
	}
	if c.config.Name == "" {
		return nil, cniError(protocol.CodeInvalidConfig, "The network configuration has no name; CNI demands one.")
	}
	if err := utils.ValidateNetworkName(c.config.Name); err != nil {
		return nil, cniError(protocol.CodeInvalidConfig, "The network's name %q is not usable: %s.", c.config.Name, err.Msg)
	}
	if r.Command == "GC" || r.Command == "STATUS" {
		return c, nil
	}
	if err := utils.ValidateContainerID(r.ContainerID); err != nil {
		return nil, cniError(protocol.CodeInvalidEnvironment, "CNI_CONTAINERID is not usable: %s.", err.Msg)
	}
	if err := utils.ValidateInterfaceName(r.Interface); err != nil {
		return nil, cniError(protocol.CodeInvalidEnvironment, "CNI_IFNAME %q is not usable: %s %s.", r.Interface, err.Msg, err.Details)
	}
	args := arguments{CommonArgs: types.CommonArgs{IgnoreUnknown: true}}
	if err := types.LoadArgs(r.Args, &args); err != nil {
		return nil, cniError(protocol.CodeInvalidEnvironment, "CNI_ARGS can't be read: %v.", err)
	}
	c.namespace, c.pod, c.podUID = string(args.K8S_POD_NAMESPACE), string(args.K8S_POD_NAME), string(args.K8S_POD_UID)
	if c.pod == "" {
		c.pod = objectName(r.ContainerID) // not called by Kubernetes
	}
	if c.namespace == "" {
		c.namespace = "default"
	}
	if objectName(c.pod) != c.pod || objectName(c.namespace) != c.namespace || len(c.namespace) > 63 {
		return nil, cniError(protocol.CodeInvalidEnvironment, "CNI_ARGS names a pod that can't exist in Kubernetes: %q in %q.", c.pod, c.namespace)
	}
	c.key = names.HostInterface(r.ContainerID, r.Interface)
	if r.Command != "ADD" {
		return c, nil // a DEL must not fail over a wish
	}
	var bad *protocol.Error
	if c.mac, bad = c.hardwareAddress(string(args.MAC)); bad != nil {
		return nil, bad
	}
	return c, nil
}

// wishes are what the pod and the network configuration ask for, the one with more weight first.
func (c *call) wishes() []wish.Wish {
	network := wish.Wish{Source: "the network configuration", Pools: c.config.IPPools, V4: c.config.IPv4Pools, V6: c.config.IPv6Pools}
	if c.config.RequireDualStack != nil {
		network.DualStack = strconv.FormatBool(*c.config.RequireDualStack)
	}
	return []wish.Wish{wish.Read("the pod", c.config.RuntimeConfig.PodAnnotations), network}
}

// endpoint returns what the address book is to enter.
func (c *call) endpoint() addressbook.Endpoint {
	return addressbook.Endpoint{
		Interface: c.key, Namespace: c.namespace, Pod: c.pod, PodUID: c.podUID, ContainerID: c.ContainerID,
		ContainerInterface: c.Interface, Network: c.config.Name, NetworkNamespace: c.NetworkNamespace, MAC: c.mac,
	}
}

// Spec returns what the kernel is to show of an endpoint.
func Spec(e addressbook.Endpoint, mtu int) (veth.Spec, error) {
	mac, err := net.ParseMAC(e.MAC)
	if err != nil && e.MAC != "" {
		return veth.Spec{}, fmt.Errorf("parse the hardware address of %s/%s: %w", e.Namespace, e.Pod, err)
	}
	fixed := e.MAC
	if fixed == names.PodMAC(e.ContainerID, e.ContainerInterface).String() {
		fixed = ""
	}
	return veth.Spec{
		HostInterface: e.Interface, ContainerInterface: e.ContainerInterface, NetworkNamespace: e.NetworkNamespace,
		MAC: mac, MTU: mtu, Addresses: e.Addresses,
		Alias: veth.Alias{
			Namespace: e.Namespace, Pod: e.Pod, PodUID: e.PodUID, ContainerID: e.ContainerID, ContainerInterface: e.ContainerInterface,
			Network: e.Network, NetworkNamespace: e.NetworkNamespace, MAC: fixed,
		},
	}, nil
}

// objectName makes an RFC 1123 subdomain of a text, leaving one that is alone.
func objectName(text string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, text)
	return strings.Trim(name[:min(len(name), 253)], "-.")
}

// asError turns an error of a lower layer into a CNI error.
func (s *Server) asError(c *call, err error) *protocol.Error {
	var full *addressbook.FullError
	var wait *addressbook.WaitError
	var asked *addressbook.AddressError
	var refused *wish.Error
	var family *wish.FamilyError
	var barred *addressbook.NamespaceError
	var inUse *addressbook.InUseError
	var notHere *addressbook.NotHereError
	var elsewhere *addressbook.ElsewhereError
	var remembered *addressbook.RememberedError
	switch {
	case errors.As(err, &remembered):
		return cniError(protocol.CodeTryAgainLater, "Pod %s/%s can't have its address: %s. Ask for another one, or delete that memory (kubectl -n %s delete stickyaddress %s).", c.namespace, c.pod, err.Error(), remembered.Pod.Namespace, remembered.Pod.Name)
	case errors.As(err, &inUse):
		return cniError(protocol.CodeTryAgainLater, "Pod %s/%s waits for its address: %s; it gets the address when that pod is gone.", c.namespace, c.pod, err.Error())
	case errors.As(err, &elsewhere):
		return cniError(protocol.CodeTryAgainLater, "Pod %s/%s waits for its address: %s. %s", c.namespace, c.pod, err.Error(), s.whereIs(elsewhere.Address))
	case errors.As(err, &notHere):
		return cniError(protocol.CodeTryAgainLater, "Pod %s/%s can't have its address: %s. Only addresses of an IPPool whose fixedAddresses is Allowed, or sticky StatefulSet, come from other nodes (kubectl get ipblocks).", c.namespace, c.pod, err.Error())
	case errors.As(err, &barred):
		return cniError(protocol.CodePoolFull, "Pod %s/%s can't have an address: %s (namespaceLimits of the IPPool). Delete pods of the namespace, or raise the limit.", c.namespace, c.pod, err.Error())
	case errors.As(err, &full):
		return s.poolFull(c, full)
	case errors.As(err, &wait):
		return cniError(protocol.CodeTryAgainLater, "The controller has not given this node a block of pool %s in time; see `kubectl describe ippool %s` and whether causeway-controller runs.", wait.Pool, wait.Pool)
	case errors.Is(err, addressbook.ErrUnknownNamespace):
		return cniError(protocol.CodeTryAgainLater, "The agent does not know namespace %s of pod %s yet; try again later.", c.namespace, c.pod)
	case errors.As(err, &refused):
		return cniError(protocol.CodeNoPool, "Pod %s/%s can't have an address: %s.", c.namespace, c.pod, err.Error())
	case errors.As(err, &family):
		return cniError(protocol.CodeTryAgainLater, "Pod %s/%s waits: %s. Add an IPPool for %s, or see why none is usable (kubectl get ippools).", c.namespace, c.pod, err.Error(), family.Family)
	case errors.Is(err, wish.ErrNoPool):
		return cniError(protocol.CodeNoPool, "No IPPool may serve pod %s/%s on this node: none is usable (kubectl get ippools) and matches the node and the namespace.", c.namespace, c.pod)
	case errors.Is(err, errNotRecorded):
		return cniError(protocol.CodeTryAgainLater, "%s; try again later.", sentence(err))
	case errors.As(err, &asked):
		return cniError(protocol.CodeInvalidConfig, "%s; see the annotation %s of the pod, and runtimeConfig.ips of the network configuration.", sentence(err), v1alpha1.AnnotationIPs)
	case errors.Is(err, veth.ErrNoNamespace):
		return cniError(protocol.CodeNoNamespace, "CNI_NETNS is not usable: %v.", err)
	case errors.Is(err, veth.ErrInterfaceTaken):
		return cniError(protocol.CodeInterfaceTaken, "CNI_IFNAME is not usable: %v.", err)
	}
	return cniError(protocol.CodeInternal, "%s.", sentence(err))
}

// whereIs says who has an address that has not come to this node, as far as the agent knows: it hears of other nodes' blocks, not of their
// pods.
func (s *Server) whereIs(a netip.Addr) string {
	node := ""
	if s.nodeWith != nil {
		node = s.nodeWith(a)
	}
	switch node {
	case "":
		return "No node's block holds it: this node may have as many blocks as maxBlocksPerNode of the IPPool allows, or the controller does not run."
	case s.node:
		return "It lies in a block of this node, and is on its way back from another one: a pod may still have it there (kubectl causeway ipam show " + a.String() + ")."
	}
	return "It is with node " + node + ": a pod may have it there (kubectl causeway ipam show " + a.String() + " names it), or the agent of that node or the controller does not run."
}

// poolFull says which pools are full, why, and what to do.
func (s *Server) poolFull(c *call, full *addressbook.FullError) *protocol.Error {
	var parts []string
	for _, p := range full.Pools {
		parts = append(parts, s.pools.Fullness(p))
	}
	advice := "Delete pods, or add an IPPool"
	for _, l := range full.AtLimit {
		parts = append(parts, fmt.Sprintf("node %s has as many blocks of IPPool %s as maxBlocksPerNode lets one node have (%d), and all their addresses are in use", s.node, l.Pool, l.Blocks))
		advice = "Raise maxBlocksPerNode of the IPPool, let pods run on other nodes, or add an IPPool"
	}
	return cniError(protocol.CodePoolFull, "There is no free address for pod %s/%s: %s. %s.", c.namespace, c.pod, strings.Join(parts, "; "), advice)
}

func sentence(err error) string {
	text := err.Error()
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
