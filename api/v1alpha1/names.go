package v1alpha1

import (
	"fmt"
	"net/netip"
	"strings"
)

// Names that several parts of Causeway must spell alike.
const (
	// FinalizerPool holds a deleted IPPool until its last address and block have come back.
	FinalizerPool = "causeway.dev/addresses"
	// FinalizerBlock holds a deleted IPBlock until its node has given up every address in it.
	FinalizerBlock = "causeway.dev/addresses"
	// AnnotationPools names the pools (comma separated, the best first) that a pod, or every pod of a namespace, takes its
	// addresses from. To be named, here or below, is the only way into a pool with assignmentMode Manual.
	AnnotationPools = "causeway.dev/ippools"
	// AnnotationV4Pools and AnnotationV6Pools name pools of one family, and leave the other one as it is.
	AnnotationV4Pools = "causeway.dev/ipv4-pools"
	AnnotationV6Pools = "causeway.dev/ipv6-pools"
	// AnnotationRequireDualStack, with the value "true" on a pod or namespace, lets pods wait until they get an address of each family.
	AnnotationRequireDualStack = "causeway.dev/require-dual-stack"
	// AnnotationIPs, on a pod, names the addresses that the pod must have, one of each family at most. Their pools must allow it
	// (fixedAddresses).
	AnnotationIPs = "causeway.dev/ips"
	// AnnotationMAC, on a pod, is the hardware address of its interface eth0.
	AnnotationMAC = "causeway.dev/mac"
	// LabelPathTrace names the PathTrace that a PathObservation belongs to, by its UID.
	LabelPathTrace = "causeway.dev/path-trace"
	// SystemNamespace is where Causeway itself runs, and where its leases are.
	SystemNamespace = "causeway-system"
	// BGPNamespace is where the Secrets are that BGPPeers and the BGPConfiguration refer to, and nothing else.
	BGPNamespace = "causeway-bgp"
	// AgentLeasePrefix, followed by the node's name, names the Lease by which a node's agent shows that it is alive.
	AgentLeasePrefix = "causeway-agent-"
	// TaintAgentNotReady is the key of a taint that keeps pods off a node until its agent serves. Whoever registers nodes puts
	// it there, with any effect; the controller lifts it.
	TaintAgentNotReady = "causeway.dev/agent-not-ready"
	// ControllerLease names the Lease that controllers elect their leader by.
	ControllerLease = "causeway-controller"
	// AgentAccount names the ServiceAccount of the agents' pods.
	AgentAccount = "causeway-agent"
	// ControllerAccount names the ServiceAccount of the controllers' pods.
	ControllerAccount = "causeway-controller"
)

// Condition types. Ready comes first on every object that has conditions.
const (
	ConditionReady = "Ready"
	// ConditionReconciling is True while the controller and the nodes work on an object (kstatus). Ready is not True then.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True where only a person can help (kstatus).
	ConditionStalled = "Stalled"
	// ConditionConflicting is True on an IPPool that covers, or lies in, an address or network of the infrastructure: a
	// node's, the API server's, a Service range or a foreign link's. It gives nothing out. On a NodeNetwork it is True where
	// the node refuses routes for that reason.
	ConditionConflicting = "Conflicting"
	// ConditionRoutesApplied is False on a NodeNetwork whose node refuses some wanted routes or other kernel objects.
	ConditionRoutesApplied = "RoutesApplied"
	// ConditionBlocksReachable is False on a NodeNetwork whose node has no way to the blocks of some other node.
	ConditionBlocksReachable = "BlocksReachable"
	// ConditionAddressesUnique is False on a NodeNetwork whose node has two pods with the same address.
	ConditionAddressesUnique = "AddressesUnique"
	// ConditionMTUSufficient is False on a NodeNetwork whose node's network carries less than pods' addresses need.
	ConditionMTUSufficient = "MTUSufficient"
	// ConditionEndpointsRecorded is False on a NodeNetwork whose node runs pods that the API server lets it write no
	// WorkloadEndpoint for.
	ConditionEndpointsRecorded = "EndpointsRecorded"
	// ConditionReservedInUse is True on an IPPool or IPReservation while pods have addresses that are reserved. They keep them.
	ConditionReservedInUse = "ReservedInUse"
	// ConditionReservationsValid is False on an IPPool or IPReservation with an entry that can't be read, reserves nothing, or overlaps
	// another. The other entries count.
	ConditionReservationsValid = "ReservationsValid"
	// ConditionOverlapping is True on an IPPool that shares addresses with an older one. It gives nothing out.
	ConditionOverlapping = "Overlapping"
	// ConditionDisabled is True on an IPPool that gives out no new address because its spec says so.
	ConditionDisabled = "Disabled"
	// ConditionTerminating is True on a deleted IPPool that still has addresses in use.
	ConditionTerminating = "Terminating"
	// ConditionExhausted is True on an IPPool that could not serve a node's last request for a block.
	ConditionExhausted = "Exhausted"
	// ConditionAggregatesFull is True on an IPPool while pods wait on nodes whose group's prefixes are full (spec.aggregation).
	ConditionAggregatesFull = "AggregatesFull"
	// ConditionDrained is True on an IPPool that gives out nothing, because it is disabled or deleted, and of which no address is in use any
	// more; while addresses are, its message counts them.
	ConditionDrained = "Drained"
	// ConditionNodesAtLimit is True on an IPPool while pods wait on nodes that have as many of its blocks as maxBlocksPerNode allows.
	ConditionNodesAtLimit = "NodesAtLimit"
	// ConditionNamespacesAtLimit is True on an IPPool while namespaces have as many of its addresses as namespaceLimits lets them have.
	ConditionNamespacesAtLimit = "NamespacesAtLimit"
	// ConditionKernelSupport is False where a pool needs an encapsulation that a node's kernel lacks.
	ConditionKernelSupport = "KernelSupport"
)

// BlockName returns the name of the IPBlock for a prefix: the prefix itself, with the characters that an object's
// name may not have replaced. Distinct prefixes have distinct names (RFC 5952 text, ':' and '/' become '-').
func BlockName(p netip.Prefix) string {
	addr := p.Masked().Addr().String()
	if strings.HasPrefix(addr, ":") {
		addr = "0" + addr
	}
	return fmt.Sprintf("%s-%d", strings.ReplaceAll(addr, ":", "-"), p.Bits())
}

// SplitList returns the entries of an annotation that lists names or addresses.
func SplitList(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
}
