package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// GivenLoan is a loan (IPBlock.spec.lent) whose range a node has given up for good: as the one that lends it, or as the one that had it.
type GivenLoan struct {
	// cidr is the range.
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:Pattern=`^[0-9a-fA-F:.]+/[0-9]{1,3}$`
	CIDR string `json:"cidr"`

	// id is the loan's.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-0-9a-f]+\.[0-9]+\.[0-9]+$`
	ID string `json:"id"`
}

// ReleasedBlock is an IPBlock that its node has given back.
type ReleasedBlock struct {
	// cidr is the block's.
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:Pattern=`^[0-9a-fA-F:.]+/[0-9]{1,3}$`
	CIDR string `json:"cidr"`

	// uid is the UID of the IPBlock. One that is made later with the same CIDR has another, and is not released.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=36
	// +kubebuilder:validation:Pattern=`^[-0-9a-f]*$`
	UID string `json:"uid"`
}

// PoolClaim is what one node asks of one pool.
type PoolClaim struct {
	// pool is the name of the IPPool.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Pool string `json:"pool"`

	// wanted is the number of addresses that the node wants to have free, those for waiting pods included.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65536
	// +optional
	Wanted int32 `json:"wanted,omitempty"`

	// waiting is the number of pods that wait for an address of this pool now.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65536
	// +optional
	Waiting int32 `json:"waiting,omitempty"`

	// held are the blocks of this node, by CIDR, that its agent knows and has not given back. Pods of the node may have
	// addresses in them that no WorkloadEndpoint shows yet, so a block that vanishes while it is listed here is made
	// again for this node and never given to another.
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:Pattern=`^[0-9a-fA-F:.]+/[0-9]{1,3}$`
	// +listType=set
	// +optional
	Held []string `json:"held,omitempty"`

	// released are the blocks of this node that it has emptied and will never take an address from again.
	// +kubebuilder:validation:MaxItems=1024
	// +listType=map
	// +listMapKey=cidr
	// +optional
	Released []ReleasedBlock `json:"released,omitempty"`

	// asks are the addresses that pods of this node wait for by name and that it does not have.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=39
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="not an IP address"
	// +listType=set
	// +optional
	Asks []string `json:"asks,omitempty"`

	// given are the loans, of this node's blocks or to this node, whose ranges it does not use and will not use again under their ids.
	// +kubebuilder:validation:MaxItems=1024
	// +listType=map
	// +listMapKey=id
	// +optional
	Given []GivenLoan `json:"given,omitempty"`
}

// BlockClaimSpec is what a node asks the controller for.
type BlockClaimSpec struct {
	// pools are the node's claims, sorted by the pool's name.
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=pool
	// +optional
	Pools []PoolClaim `json:"pools,omitempty"`
}

// PoolReport is how far a node has come with one pool.
type PoolReport struct {
	// pool is the name of the IPPool.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Pool string `json:"pool"`

	// poolUID is the UID of the IPPool that this report is about. A pool that is made again under an old name has another.
	// +kubebuilder:validation:MaxLength=36
	// +kubebuilder:validation:Pattern=`^[-0-9a-f]*$`
	// +optional
	PoolUID string `json:"poolUID,omitempty"`

	// observedGeneration is the generation of the IPPool that this node can receive packets of.
	// +kubebuilder:validation:Minimum=0
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// encapsulation is what this node sends with now.
	// +optional
	Encapsulation Encapsulation `json:"encapsulation,omitempty"`

	// free is the number of addresses that the node could give to pods at once. It may lag behind by ten seconds or more.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Free int32 `json:"free,omitempty"`
}

// BlockClaimStatus is how far a node has come with the pools.
type BlockClaimStatus struct {
	// pools are the node's reports, sorted by the pool's name.
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=pool
	// +optional
	Pools []PoolReport `json:"pools,omitempty"`
}

// BlockClaim is what one node asks of the controller, and how far it has come with the pools. It has the Node's name. The
// node's agent writes it, and only the controller watches it.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=bc,categories=causeway
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BlockClaim struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec BlockClaimSpec `json:"spec,omitempty"`
	// +optional
	Status BlockClaimStatus `json:"status,omitempty"`
}

// BlockClaimList is a list of BlockClaims.
// +kubebuilder:object:root=true
type BlockClaimList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BlockClaim `json:"items"`
}
