package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// StickyAddressSpec is what is remembered for one pod of a StatefulSet.
// +kubebuilder:validation:XValidation:rule="self.pools.size() == self.addresses.size()",message="there must be one pool for each address"
// +kubebuilder:validation:XValidation:rule="self.addresses.size() < 2 || !isIP(self.addresses[0]) || !isIP(self.addresses[1]) || ip(self.addresses[0]).family() != ip(self.addresses[1]).family()",message="there is at most one address of each family"
type StickyAddressSpec struct {
	// statefulSet is the name of the pod's StatefulSet, in this object's namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	StatefulSet string `json:"statefulSet"`

	// statefulSetUID is that StatefulSet's UID. One that is made again under the name has another, and its pods get other addresses.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[-0-9A-Za-z._]*$`
	StatefulSetUID string `json:"statefulSetUID"`

	// addresses are those that the pod had last, one for each family.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MaxLength=39
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) && ip.isCanonical(self)",message="not an IP address, written the shortest way"
	// +listType=atomic
	Addresses []string `json:"addresses"`

	// pools are the names of the IPPools of the addresses, in the same order.
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	// +listType=atomic
	Pools []string `json:"pools"`
}

// StickyAddress remembers the addresses of one pod of a StatefulSet, where their IPPools are sticky. It has the pod's name. The controller
// writes it when the pod has them for the first time, and deletes it with the StatefulSet. Whoever deletes it lets the pod start with other
// addresses.
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,path=stickyaddresses,shortName=sticky,categories=causeway
// +kubebuilder:printcolumn:name="StatefulSet",type=string,JSONPath=`.spec.statefulSet`
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name="Pools",type=string,priority=1,JSONPath=`.spec.pools`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type StickyAddress struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec StickyAddressSpec `json:"spec"`
}

// StickyAddressList is a list of StickyAddresses.
// +kubebuilder:object:root=true
type StickyAddressList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []StickyAddress `json:"items"`
}
