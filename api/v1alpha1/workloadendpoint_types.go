package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// WorkloadEndpointSpec is one network interface of a pod, and the record of its addresses.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a WorkloadEndpoint records what a node did and can't be edited"
// +kubebuilder:validation:XValidation:rule="self.pools.size() == self.addresses.size()",message="there must be one pool for each address"
// +kubebuilder:validation:XValidation:rule="self.addresses.size() < 2 || !isCIDR(self.addresses[0]) || !isCIDR(self.addresses[1]) || cidr(self.addresses[0]).ip().family() != cidr(self.addresses[1]).ip().family()",message="there is at most one address of each family"
// +kubebuilder:validation:XValidation:rule="!has(self.networks) || self.networks == self.addresses.join(',')",message="networks must be the addresses, joined by commas"
type WorkloadEndpointSpec struct {
	// pod is the name of the pod, in this object's namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Pod string `json:"pod"`

	// podUID is the UID of the pod, where the container runtime told it.
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[-0-9A-Za-z._]*$`
	// +optional
	PodUID string `json:"podUID,omitempty"`

	// containerID is the container runtime's ID of the pod's sandbox (CNI_CONTAINERID).
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[0-9A-Za-z][-0-9A-Za-z._]*$`
	ContainerID string `json:"containerID"`

	// node is the name of the Node that the pod runs on.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Node string `json:"node"`

	// network is the name of the CNI network configuration that the interface belongs to.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([0-9A-Za-z][-0-9A-Za-z._]*)?$`
	// +optional
	Network string `json:"network,omitempty"`

	// containerInterface is the name of the interface in the pod (CNI_IFNAME).
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[^/:[:space:]]+$`
	ContainerInterface string `json:"containerInterface"`

	// interface is the name of the interface's host end.
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^cw[0-9a-f]{11}$`
	Interface string `json:"interface"`

	// mac is the hardware address of the interface in the pod.
	// +kubebuilder:validation:MaxLength=17
	// +kubebuilder:validation:Pattern=`^([0-9a-f]{2}(:[0-9a-f]{2}){5})?$`
	// +optional
	MAC string `json:"mac,omitempty"`

	// networkNamespace is the path of the pod's network namespace on the node (CNI_NETNS).
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`^(/.+)?$`
	// +optional
	NetworkNamespace string `json:"networkNamespace,omitempty"`

	// addresses are the pod's addresses, one for each family, with /32 or /128.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && string(cidr(self)) == self && cidr(self).prefixLength() == (cidr(self).ip().family() == 4 ? 32 : 128)",message="not one address with /32 or /128, written the shortest way"
	// +listType=atomic
	Addresses []string `json:"addresses"`

	// pools are the names of the IPPools of the addresses, in the same order.
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	// +listType=atomic
	Pools []string `json:"pools"`

	// networks are the addresses once more, joined by commas, for the columns of kubectl.
	// +kubebuilder:validation:MaxLength=90
	// +optional
	Networks string `json:"networks,omitempty"`
}

// WorkloadEndpoint is one network interface of a pod. Its node's agent writes it, once, when the pod starts.
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,shortName=wep,categories=causeway
// +kubebuilder:selectablefield:JSONPath=`.spec.node`
// +kubebuilder:selectablefield:JSONPath=`.spec.pod`
// +kubebuilder:printcolumn:name="Pod",type=string,JSONPath=`.spec.pod`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Networks",type=string,JSONPath=`.spec.networks`
// +kubebuilder:printcolumn:name="Interface",type=string,JSONPath=`.spec.interface`
// +kubebuilder:printcolumn:name="Pools",type=string,priority=1,JSONPath=`.spec.pools`
// +kubebuilder:printcolumn:name="MAC",type=string,priority=1,JSONPath=`.spec.mac`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type WorkloadEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec WorkloadEndpointSpec `json:"spec"`
}

// WorkloadEndpointList is a list of WorkloadEndpoints.
// +kubebuilder:object:root=true
type WorkloadEndpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []WorkloadEndpoint `json:"items"`
}
