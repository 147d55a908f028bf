package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Encapsulation says how packets to a pod on another node travel.
// +kubebuilder:validation:Enum=None;IPIP;IPIPCrossSubnet;VXLAN;VXLANCrossSubnet
type Encapsulation string

const (
	// EncapsulationNone sends packets as they are. Nodes of one subnet route to each other directly; between subnets
	// the fabric must know the way (BGP).
	EncapsulationNone Encapsulation = "None"
	// EncapsulationIPIP wraps packets in IPv4 (IP protocol 4, RFC 2003) between all nodes.
	EncapsulationIPIP Encapsulation = "IPIP"
	// EncapsulationIPIPCrossSubnet is None within a subnet and IPIP between subnets.
	EncapsulationIPIPCrossSubnet Encapsulation = "IPIPCrossSubnet"
	// EncapsulationVXLAN wraps packets in VXLAN (RFC 7348) between all nodes.
	EncapsulationVXLAN Encapsulation = "VXLAN"
	// EncapsulationVXLANCrossSubnet is None within a subnet and VXLAN between subnets.
	EncapsulationVXLANCrossSubnet Encapsulation = "VXLANCrossSubnet"
)

// AssignmentMode says who may take addresses from a pool.
// +kubebuilder:validation:Enum=Automatic;Manual
type AssignmentMode string

const (
	// AssignmentAutomatic lets every pod that the selectors allow take an address.
	AssignmentAutomatic AssignmentMode = "Automatic"
	// AssignmentManual gives addresses only to pods that name the pool (annotation causeway.dev/ippools).
	AssignmentManual AssignmentMode = "Manual"
)

// FixedAddresses says whether pods may ask for addresses of a pool.
// +kubebuilder:validation:Enum=Forbidden;Allowed
type FixedAddresses string

const (
	// FixedAddressesForbidden lets no pod choose.
	FixedAddressesForbidden FixedAddresses = "Forbidden"
	// FixedAddressesAllowed lets pods ask for an address by the annotation causeway.dev/ips.
	FixedAddressesAllowed FixedAddresses = "Allowed"
)

// StickyAddresses says whose pods come back with the addresses that they had.
// +kubebuilder:validation:Enum=None;StatefulSet
type StickyAddresses string

const (
	// StickyNone remembers no address.
	StickyNone StickyAddresses = "None"
	// StickyStatefulSet remembers the addresses of a StatefulSet's pods as long as the StatefulSet is there.
	StickyStatefulSet StickyAddresses = "StatefulSet"
)

// OtherNamespaces stands in a NamespaceLimit for each namespace that no other entry names.
const OtherNamespaces = "*"

// NamespaceLimit is how many addresses of a pool one namespace may have.
type NamespaceLimit struct {
	// namespace is the name of a namespace, or * for each one that no other entry names.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$`
	Namespace string `json:"namespace"`

	// addresses is the largest number of the pool's addresses that the pods of the namespace may have together. 0 keeps it out.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16777216
	Addresses int32 `json:"addresses"`
}

// IPPoolSpec is what the user wants of a pool.
// +kubebuilder:validation:XValidation:rule="self.cidr == oldSelf.cidr",message="cidr can't be changed; make a new pool, move the pods, then delete this one",fieldPath=".cidr"
// +kubebuilder:validation:XValidation:rule="has(self.blockSize) == has(oldSelf.blockSize) && (!has(self.blockSize) || self.blockSize == oldSelf.blockSize)",message="blockSize can't be changed; make a new pool, move the pods, then delete this one",fieldPath=".blockSize"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || !has(self.blockSize) || (cidr(self.cidr).ip().family() == 4 ? self.blockSize >= 20 && self.blockSize <= 32 : self.blockSize >= 116 && self.blockSize <= 128)",message="blockSize must be 20 to 32 for an IPv4 pool and 116 to 128 for an IPv6 pool",fieldPath=".blockSize"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || !has(self.blockSize) || self.blockSize >= cidr(self.cidr).prefixLength()",message="a block can't be larger than its pool: blockSize must be at least the prefix length of cidr",fieldPath=".blockSize"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || has(self.blockSize) || cidr(self.cidr).prefixLength() <= (cidr(self.cidr).ip().family() == 4 ? 26 : 122)",message="the pool is smaller than the default block (/26, for IPv6 /122): set blockSize",fieldPath=".blockSize"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || cidr(self.cidr).ip().family() == 4 || !self.encapsulation.startsWith('IPIP')",message="IPIP carries IPv4 only; use None, VXLAN or VXLANCrossSubnet for an IPv6 pool",fieldPath=".encapsulation"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || !has(self.blockSize) || self.encapsulation == 'None' || self.blockSize != (cidr(self.cidr).ip().family() == 4 ? 32 : 128)",message="blocks of one address leave none for the tunnel: use a shorter blockSize, or encapsulation None",fieldPath=".encapsulation"
// +kubebuilder:validation:XValidation:rule="!has(self.natOutgoingExcept) || !isCIDR(self.cidr) || self.natOutgoingExcept.all(e, !isCIDR(e) || cidr(e).ip().family() == cidr(self.cidr).ip().family())",message="an entry is of the other family than the pool",fieldPath=".natOutgoingExcept"
// +kubebuilder:validation:XValidation:rule="!has(self.natOutgoingExcept) || size(self.natOutgoingExcept) == 0 || (has(self.natOutgoing) && self.natOutgoing)",message="exceptions mean something only where natOutgoing is true",fieldPath=".natOutgoingExcept"
// +kubebuilder:validation:XValidation:rule="!has(self.aggregation) || !isCIDR(self.cidr) || (self.aggregation.prefixLength > cidr(self.cidr).prefixLength() && self.aggregation.prefixLength < (has(self.blockSize) ? self.blockSize : (cidr(self.cidr).ip().family() == 4 ? 26 : 122)))",message="prefixLength must be more than that of cidr and less than blockSize (default 26, for IPv6 122)",fieldPath=".aggregation"
type IPPoolSpec struct {
	// cidr is the range of addresses, in canonical form (no host bits). It can't be changed.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="not a CIDR; write it like 10.211.0.0/16 or fd00:10:211::/48"
	// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || (cidr(self) == cidr(self).masked() && string(cidr(self)) == self)",message="not in canonical form: it has host bits set, or is not written the shortest way; write the network address"
	// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || !(cidr(self).ip().isLoopback() || cidr(self).ip().isLinkLocalUnicast() || cidr(self).ip().isLinkLocalMulticast() || cidr(self).ip().isGlobalUnicast() == false)",message="pods need unicast addresses that are neither loopback nor link-local"
	CIDR string `json:"cidr"`

	// blockSize is the prefix length of the blocks that nodes get: 20 to 32 (default 26) for IPv4, 116 to 128
	// (default 122) for IPv6. It can't be changed.
	// +optional
	BlockSize *int32 `json:"blockSize,omitempty"`

	// encapsulation says how packets to a pod on another node travel. It can be changed while pods run.
	// +kubebuilder:default=VXLANCrossSubnet
	// +optional
	Encapsulation Encapsulation `json:"encapsulation,omitempty"`

	// natOutgoing masquerades packets from this pool to addresses outside all pools.
	// +kubebuilder:default=false
	// +optional
	NATOutgoing bool `json:"natOutgoing,omitempty"`

	// natOutgoingExcept are networks that see the pods' own addresses although natOutgoing is on: CIDRs of the pool's family, in canonical
	// form. They can be changed while pods run; a connection that exists keeps the address that it began with.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="not a CIDR; write it like 192.168.0.0/16 or fd00:1::/48, and a single address with /32 or /128"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || (cidr(self) == cidr(self).masked() && string(cidr(self)) == self)",message="not in canonical form: it has host bits set, or is not written the shortest way; write the network address"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || cidr(self).prefixLength() > 0",message="this is every address; set natOutgoing to false to masquerade nothing"
	// +listType=set
	// +optional
	NATOutgoingExcept []string `json:"natOutgoingExcept,omitempty"`

	// reserved are addresses of this pool that no pod gets: addresses (10.211.0.5), ranges (10.211.0.5-10.211.0.9, both ends
	// included) and CIDRs (10.211.0.0/28). They can be changed at any time: a pod that has one of them keeps it.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=79
	// +kubebuilder:validation:items:Pattern=`^[0-9a-fA-F:.]+(/[0-9]{1,3}|-[0-9a-fA-F:.]+)?$`
	// +listType=atomic
	// +optional
	Reserved []string `json:"reserved,omitempty"`

	// disabled stops new addresses from being given out. Pods keep those that they have.
	// +kubebuilder:default=false
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// nodeSelector chooses the nodes that get blocks of this pool, by the labels of the Node. Default: all.
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`

	// namespaceSelector chooses the namespaces whose pods may use this pool, by the labels of the Namespace. Default: all.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// assignmentMode is Automatic, or Manual for a pool that only pods which name it may use.
	// +kubebuilder:default=Automatic
	// +optional
	AssignmentMode AssignmentMode `json:"assignmentMode,omitempty"`

	// fixedAddresses is Allowed where pods of the namespaces that namespaceSelector chooses may ask for a certain address (annotation
	// causeway.dev/ips). The address comes to the pod's node, from another node's block too.
	// +kubebuilder:default=Forbidden
	// +optional
	FixedAddresses FixedAddresses `json:"fixedAddresses,omitempty"`

	// sticky is StatefulSet where a pod of a StatefulSet comes back with the addresses of this pool that it had, on whatever node it starts
	// again: each is remembered in a StickyAddress, and no other pod gets it, until the StatefulSet is deleted.
	// +kubebuilder:default=None
	// +optional
	Sticky StickyAddresses `json:"sticky,omitempty"`

	// maxBlocksPerNode is the largest number of blocks that one node may have of this pool at a time, whatever it asks for.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	// +kubebuilder:default=64
	// +optional
	MaxBlocksPerNode int32 `json:"maxBlocksPerNode,omitempty"`

	// aggregation gives nodes of one rack or zone their blocks out of few larger prefixes. No node gets a block in a prefix of another
	// group: when a group's prefixes are full and none is left, its pods wait although other groups' prefixes have room
	// (condition AggregatesFull). It can be changed at any time; blocks that nodes have stay where they are.
	// +optional
	Aggregation *Aggregation `json:"aggregation,omitempty"`

	// namespaceLimits bound how many addresses of this pool one namespace may have. A namespace that has more than a new limit keeps them and
	// gets no more. Several nodes that start pods at the same moment can pass a limit by these pods; one node alone never does.
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=namespace
	// +optional
	NamespaceLimits []NamespaceLimit `json:"namespaceLimits,omitempty"`

	// disableBGPExport keeps this pool's blocks from being announced by BGP.
	// +kubebuilder:default=false
	// +optional
	DisableBGPExport bool `json:"disableBGPExport,omitempty"`
}

// IPPoolStatus is what the controller found.
type IPPoolStatus struct {
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// capacity is the number of addresses that pods can have. The first address of each block is kept for the node's
	// tunnels (but for blocks of one address). Counts stop at 2^63-1.
	// +optional
	Capacity int64 `json:"capacity,omitempty"`

	// allocated is the number of addresses that WorkloadEndpoints hold.
	// +kubebuilder:default=0
	// +optional
	Allocated int64 `json:"allocated"`

	// free is capacity less allocated and remembered.
	// +kubebuilder:default=0
	// +optional
	Free int64 `json:"free"`

	// remembered is the number of addresses that no pod has and that are remembered for pods of StatefulSets (sticky). They are not free.
	// +optional
	Remembered int64 `json:"remembered,omitempty"`

	// freeText is free once more, for the columns of kubectl: ">1M" above a million.
	// +kubebuilder:validation:MaxLength=20
	// +optional
	FreeText string `json:"freeText,omitempty"`

	// blocks is the number of blocks that nodes own.
	// +kubebuilder:default=0
	// +optional
	Blocks int64 `json:"blocks"`

	// namespacesAtLimit are the namespaces that have as many addresses as namespaceLimits lets them have, or more, sorted; the first 1000.
	// No node gives them another one.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	NamespacesAtLimit []string `json:"namespacesAtLimit,omitempty"`

	// encapsulation is what nodes send with now. After a change of the spec it follows once every node can receive
	// the new one.
	// +optional
	Encapsulation Encapsulation `json:"encapsulation,omitempty"`

	// nodesReady is the number of nodes that have rendered this generation.
	// +kubebuilder:default=0
	// +optional
	NodesReady int32 `json:"nodesReady"`

	// nodesTotal is the number of nodes with a live agent.
	// +kubebuilder:default=0
	// +optional
	NodesTotal int32 `json:"nodesTotal"`

	// conditions: Ready (all nodes have rendered this generation), Reconciling, Stalled, Overlapping, Conflicting, Disabled, Drained, Terminating, Exhausted, NodesAtLimit, AggregatesFull, NamespacesAtLimit, KernelSupport.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// IPPool is a range of addresses for pods.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=ipp,categories=causeway
// +kubebuilder:printcolumn:name="CIDR",type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name="Encapsulation",type=string,JSONPath=`.spec.encapsulation`
// +kubebuilder:printcolumn:name="NAT",type=boolean,JSONPath=`.spec.natOutgoing`
// +kubebuilder:printcolumn:name="Allocated",type=integer,JSONPath=`.status.allocated`
// +kubebuilder:printcolumn:name="Free",type=string,JSONPath=`.status.freeText`
// +kubebuilder:printcolumn:name="Blocks",type=integer,JSONPath=`.status.blocks`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type IPPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IPPoolSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status IPPoolStatus `json:"status,omitempty"`
}

// IPPoolList is a list of IPPools.
// +kubebuilder:object:root=true
type IPPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []IPPool `json:"items"`
}
