package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeNetworkSpec holds what a user may set for one node. The object's labels are those of its Node.
type NodeNetworkSpec struct {
	// asNumber is the node's AS number where it differs from the BGPConfiguration's.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	ASNumber *int64 `json:"asNumber,omitempty"`

	// routeReflectorClusterID makes the node a BGP route reflector (RFC 4456) with this cluster id, an IPv4 address.
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",message="a cluster id is written like an IPv4 address, for example 224.0.0.1"
	// +optional
	RouteReflectorClusterID string `json:"routeReflectorClusterID,omitempty"`
}

// NodeAddress is one address of a node on the underlay.
type NodeAddress struct {
	// address is the node's IP address.
	// +kubebuilder:validation:MaxLength=39
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="not an IP address"
	Address string `json:"address"`
	// subnet is the prefix that the address is on. Nodes in it are reached without a router.
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="not a CIDR"
	Subnet string `json:"subnet"`
	// interface is the link that has the address.
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface"`
}

// NodePoolStatus is one node's share of one pool.
type NodePoolStatus struct {
	// pool is the IPPool's name.
	Pool string `json:"pool"`

	// observedGeneration is the generation of the IPPool that this node can receive packets of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// encapsulation is what this node sends with now.
	// +optional
	Encapsulation Encapsulation `json:"encapsulation,omitempty"`

	// free is the number of addresses that the node could give to pods at once. It may lag behind by some seconds.
	Free int32 `json:"free"`

	// wanted is the number of addresses that the node wants free.
	Wanted int32 `json:"wanted"`

	// waiting is the number of pods that wait for an address now.
	// +optional
	Waiting int32 `json:"waiting,omitempty"`

	// released are the blocks of this node, by CIDR, that it has emptied and will never take an address from again.
	// +kubebuilder:validation:MaxItems=4096
	// +listType=set
	// +optional
	Released []string `json:"released,omitempty"`
}

// RouteSource says where the kernel routes of a node come from.
// +kubebuilder:validation:Enum=Endpoint;Block;Direct;IPIP;VXLAN;BGP
type RouteSource string

const (
	// RouteSourceEndpoint marks the routes to the node's own pods.
	RouteSourceEndpoint RouteSource = "Endpoint"
	// RouteSourceBlock marks the blackhole routes of the node's own blocks.
	RouteSourceBlock RouteSource = "Block"
	// RouteSourceDirect marks routes to nodes of the same subnet.
	RouteSourceDirect RouteSource = "Direct"
	// RouteSourceIPIP marks routes through tunl0.
	RouteSourceIPIP RouteSource = "IPIP"
	// RouteSourceVXLAN marks routes through vxlan.cw.
	RouteSourceVXLAN RouteSource = "VXLAN"
	// RouteSourceBGP marks routes learned by BGP.
	RouteSourceBGP RouteSource = "BGP"
)

// RouteCount is the number of routes from one source.
type RouteCount struct {
	// source is where the routes come from.
	Source RouteSource `json:"source"`
	// protocol is the route protocol number that `ip route` shows for them.
	Protocol int32 `json:"protocol"`
	// count is how many there are, of both families.
	Count int32 `json:"count"`
}

// BGPSessionStatus is one BGP session of a node.
type BGPSessionStatus struct {
	// peer is the address of the other side.
	Peer string `json:"peer"`
	// asNumber is the AS number expected of the other side.
	// +optional
	ASNumber int64 `json:"asNumber,omitempty"`
	// source is what asked for the session: "BGPPeer/<name>" or "NodeToNodeMesh".
	Source string `json:"source"`
	// state is the state of RFC 4271 section 8.2.2: Idle, Connect, Active, OpenSent, OpenConfirm or Established.
	State string `json:"state"`
	// since is when the session came into this state. An established session's uptime is the time since then.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// prefixesReceived is the number of prefixes that the peer announced and the filters let in.
	// +optional
	PrefixesReceived int64 `json:"prefixesReceived,omitempty"`
	// prefixesAdvertised is the number of prefixes announced to the peer.
	// +optional
	PrefixesAdvertised int64 `json:"prefixesAdvertised,omitempty"`
	// lastError says in a sentence what last went wrong.
	// +optional
	LastError string `json:"lastError,omitempty"`
}

// BGPStatus is the state of a node's BGP speaker.
type BGPStatus struct {
	// asNumber is the node's own AS number.
	// +optional
	ASNumber int64 `json:"asNumber,omitempty"`
	// routerID is the node's BGP identifier (RFC 4271 section 1.1).
	// +optional
	RouterID string `json:"routerID,omitempty"`
	// sessions are sorted by peer.
	// +listType=atomic
	// +optional
	Sessions []BGPSessionStatus `json:"sessions,omitempty"`
}

// NodeNetworkStatus is what the node's agent found and did.
// +kubebuilder:validation:XValidation:rule="!has(self.addressList) || (!has(self.addresses) || self.addresses.size() == 0 ? self.addressList.size() == 0 : self.addresses.size() == 1 ? self.addressList == self.addresses[0].address : self.addressList == self.addresses[0].address + ',' + self.addresses[1].address)",message="addressList must be the addresses, joined by commas"
type NodeNetworkStatus struct {
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// addresses are the node's addresses on the underlay, at most one for each family.
	// +kubebuilder:validation:MaxItems=2
	// +listType=atomic
	// +optional
	Addresses []NodeAddress `json:"addresses,omitempty"`

	// addressList is the addresses once more, joined by commas, for the columns of kubectl.
	// +kubebuilder:validation:MaxLength=80
	// +optional
	AddressList string `json:"addressList,omitempty"`

	// mtu is the MTU of the underlay's link, in bytes.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MTU int32 `json:"mtu,omitempty"`

	// vtepMAC is the hardware address of the node's VXLAN device. It is made from the node's name.
	// +kubebuilder:validation:MaxLength=17
	// +kubebuilder:validation:Pattern=`^([0-9a-f]{2}(:[0-9a-f]{2}){5})?$`
	// +optional
	VTEPMAC string `json:"vtepMAC,omitempty"`

	// encapsulations are those that the node's kernel can do.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	Encapsulations []Encapsulation `json:"encapsulations,omitempty"`

	// pools are the node's shares of the pools, sorted by name.
	// +listType=map
	// +listMapKey=pool
	// +optional
	Pools []NodePoolStatus `json:"pools,omitempty"`

	// routes counts the kernel routes of Causeway by their source.
	// +listType=atomic
	// +optional
	Routes []RouteCount `json:"routes,omitempty"`

	// bgp is the state of the BGP sessions.
	// +optional
	BGP *BGPStatus `json:"bgp,omitempty"`

	// conditions: Ready (the agent lives and the kernel shows the plan), KernelSupport, BGPReady.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// NodeNetwork is the network side of one Node, with the Node's name. The controller makes it.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=nn,categories=causeway
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.status.addressList`
// +kubebuilder:printcolumn:name="MTU",type=integer,JSONPath=`.status.mtu`
// +kubebuilder:printcolumn:name="AS",type=integer,JSONPath=`.status.bgp.asNumber`
// +kubebuilder:printcolumn:name="Sessions",type=string,priority=1,JSONPath=`.status.bgp.sessions[*].state`
// +kubebuilder:printcolumn:name="Encapsulations",type=string,priority=1,JSONPath=`.status.encapsulations`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeNetwork struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec NodeNetworkSpec `json:"spec,omitempty"`
	// +optional
	Status NodeNetworkStatus `json:"status,omitempty"`
}

// NodeNetworkList is a list of NodeNetworks.
// +kubebuilder:object:root=true
type NodeNetworkList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeNetwork `json:"items"`
}
