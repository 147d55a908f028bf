package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// IPReservationSpec says which addresses no pod gets, whatever pool they are in.
type IPReservationSpec struct {
	// addresses are addresses (10.211.0.5), ranges (10.211.0.5-10.211.0.9, both ends included) and CIDRs (10.211.0.0/28), of
	// both families. They may lie in any pool, or in none. They can be changed at any time: a pod that has one of them keeps it.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=79
	// +kubebuilder:validation:items:Pattern=`^[0-9a-fA-F:.]+(/[0-9]{1,3}|-[0-9a-fA-F:.]+)?$`
	// +listType=atomic
	Addresses []string `json:"addresses"`

	// reason says to people what the addresses are kept for.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Reason string `json:"reason,omitempty"`
}

// IPReservationStatus is what the controller found.
type IPReservationStatus struct {
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions: Ready (every entry can be read), ReservationsValid, ReservedInUse (pods still have some of the addresses).
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// IPReservation keeps addresses from all pods of the cluster.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=ipr,categories=causeway
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="In use",type=string,JSONPath=`.status.conditions[?(@.type=="ReservedInUse")].status`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="ReservedInUse")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type IPReservation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IPReservationSpec `json:"spec"`
	// +optional
	Status IPReservationStatus `json:"status,omitempty"`
}

// IPReservationList is a list of IPReservations.
// +kubebuilder:object:root=true
type IPReservationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []IPReservation `json:"items"`
}
