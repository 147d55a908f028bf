package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// WorkloadEndpointSpec is one network interface of a pod, and the record of its addresses.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a WorkloadEndpoint records what a node did and can't be edited"
type WorkloadEndpointSpec struct {
	// pod is the name of the pod, in this object's namespace.
	// +kubebuilder:validation:MaxLength=253
	Pod string `json:"pod"`

	// podUID is the UID of the pod, where the container runtime told it.
	// +optional
	PodUID string `json:"podUID,omitempty"`

	// containerID is the container runtime's ID of the pod's sandbox (CNI_CONTAINERID).
	// +kubebuilder:validation:MaxLength=253
	ContainerID string `json:"containerID"`

	// node is the name of the Node that the pod runs on.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node"`

	// network is the name of the CNI network configuration that the interface belongs to.
	// +optional
	Network string `json:"network,omitempty"`

	// containerInterface is the name of the interface in the pod (CNI_IFNAME).
	// +kubebuilder:validation:MaxLength=15
	ContainerInterface string `json:"containerInterface"`

	// interface is the name of the interface's host end.
	// +kubebuilder:validation:MaxLength=15
	Interface string `json:"interface"`

	// mac is the hardware address of the interface in the pod.
	// +optional
	MAC string `json:"mac,omitempty"`

	// networkNamespace is the path of the pod's network namespace on the node (CNI_NETNS).
	// +optional
	NetworkNamespace string `json:"networkNamespace,omitempty"`

	// addresses are the pod's addresses, one for each family, with /32 or /128.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +listType=atomic
	Addresses []string `json:"addresses"`

	// pools are the names of the IPPools of the addresses, in the same order.
	// +kubebuilder:validation:MaxItems=2
	// +listType=atomic
	Pools []string `json:"pools"`
}

// WorkloadEndpoint is one network interface of a pod. Its node's agent writes it, once, when the pod starts.
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,shortName=wep,categories=causeway
// +kubebuilder:selectablefield:JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Pod",type=string,JSONPath=`.spec.pod`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Networks",type=string,JSONPath=`.spec.addresses`
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
