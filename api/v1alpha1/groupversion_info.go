// Package v1alpha1 holds the Causeway API: address pools, the blocks that nodes own, the pods' network
// interfaces, and BGP. Its types say what each field means; validation is in the generated CRDs (CEL).
//
// +kubebuilder:object:generate=true
// +groupName=causeway.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of every Causeway object.
var GroupVersion = schema.GroupVersion{Group: "causeway.dev", Version: "v1alpha1"}

// SchemeBuilder collects the types of this package.
var SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

// AddToScheme adds the types of this package to a scheme.
var AddToScheme = SchemeBuilder.AddToScheme

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&IPPool{}, &IPPoolList{},
		&IPBlock{}, &IPBlockList{},
		&NodeNetwork{}, &NodeNetworkList{},
		&WorkloadEndpoint{}, &WorkloadEndpointList{},
		&BGPPeer{}, &BGPPeerList{},
		&BGPConfiguration{}, &BGPConfigurationList{},
		&BGPFilter{}, &BGPFilterList{},
		&IPReservation{}, &IPReservationList{},
		&StickyAddress{}, &StickyAddressList{},
		&BlockClaim{}, &BlockClaimList{},
		&BGPNodeState{}, &BGPNodeStateList{},
		&PathTrace{}, &PathTraceList{},
		&PathObservation{}, &PathObservationList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
