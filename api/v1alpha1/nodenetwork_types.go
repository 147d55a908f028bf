package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// NodeNetworkStatus is what other nodes need to know of a node. Its agent writes it.
// +kubebuilder:validation:XValidation:rule="!has(self.addressList) || (!has(self.addresses) || self.addresses.size() == 0 ? self.addressList.size() == 0 : self.addresses.size() == 1 ? self.addressList == self.addresses[0].address : self.addressList == self.addresses[0].address + ',' + self.addresses[1].address)",message="addressList must be the addresses, joined by commas"
type NodeNetworkStatus struct {
	// observedGeneration is the generation of the object that this status is about.
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

	// conditions: Ready (the agent lives and the kernel shows the plan), RoutesApplied, Conflicting, BlocksReachable,
	// KernelSupport, AddressesUnique, MTUSufficient, EndpointsRecorded.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// NodeNetwork is the network side of one Node, with the Node's name and labels. The controller makes it; all agents watch it.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=nn,categories=causeway
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.status.addressList`
// +kubebuilder:printcolumn:name="MTU",type=integer,JSONPath=`.status.mtu`
// +kubebuilder:printcolumn:name="Encapsulations",type=string,priority=1,JSONPath=`.status.encapsulations`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeNetwork struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:default={"observedGeneration":-1}
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
