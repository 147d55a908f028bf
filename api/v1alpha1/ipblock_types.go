package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Loan is a range of a block that another node than the block's has, or is to have.
// +kubebuilder:validation:XValidation:rule="self.cidr == oldSelf.cidr && self.node == oldSelf.node && self.fixed == oldSelf.fixed && (self.granted || !oldSelf.granted)",message="a loan keeps its cidr and node, and once granted it stays so until it ends"
type Loan struct {
	// cidr is the range.
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked() && string(cidr(self)) == self",message="not a CIDR in canonical form"
	CIDR string `json:"cidr"`

	// node is the name of the Node that has the range, or asks for it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Node string `json:"node"`

	// nodeAddresses are the addresses of that node on the underlay, at most one for each family.
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MaxLength=39
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="not an IP address"
	// +listType=atomic
	// +optional
	NodeAddresses []string `json:"nodeAddresses,omitempty"`

	// fixed says that only pods get addresses of the range that ask for these by name.
	Fixed bool `json:"fixed"`

	// granted says that the range is that node's. Before, the block's node is asked to give it up.
	Granted bool `json:"granted"`

	// id tells this loan from all others: the block's UID, the block's generation that the loan came with, and a number. Who gives the
	// range up does so for this id.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-0-9a-f]+\.[0-9]+\.[0-9]+$`
	ID string `json:"id"`
}

// IPBlockSpec is all that other nodes need to route to a block.
// +kubebuilder:validation:XValidation:rule="!has(self.lent) || !isCIDR(self.cidr) || self.lent.all(l, !isCIDR(l.cidr) || (cidr(self.cidr).containsCIDR(l.cidr) && cidr(l.cidr).prefixLength() > cidr(self.cidr).prefixLength()))",message="a range that is lent must be a part of its block, and not the whole of it"
// +kubebuilder:validation:XValidation:rule="self.cidr == oldSelf.cidr && self.pool == oldSelf.pool && self.node == oldSelf.node",message="a block keeps its cidr, pool and node for life"
// +kubebuilder:validation:XValidation:rule="!has(self.addresses) || (has(self.nodeAddresses) ? self.addresses == self.nodeAddresses.join(',') : self.addresses.size() == 0)",message="addresses must be the nodeAddresses, joined by commas"
type IPBlockSpec struct {
	// cidr is the block's prefix. The object's name is made from it, so that one block exists once.
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked() && string(cidr(self)) == self",message="not a CIDR in canonical form"
	CIDR string `json:"cidr"`

	// pool is the name of the IPPool that the block was cut from.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Pool string `json:"pool"`

	// node is the name of the Node that owns the block.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Node string `json:"node"`

	// nodeAddresses are the addresses of that node on the underlay, at most one for each family.
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MaxLength=39
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="not an IP address"
	// +listType=atomic
	// +optional
	NodeAddresses []string `json:"nodeAddresses,omitempty"`

	// lent are the ranges of the block that other nodes have or are to have. No two of them overlap.
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=id
	// +optional
	Lent []Loan `json:"lent,omitempty"`

	// addresses are the nodeAddresses once more, joined by commas, for the columns of kubectl. An admission policy writes it.
	// +kubebuilder:validation:MaxLength=80
	// +optional
	Addresses string `json:"addresses,omitempty"`
}

// IPBlock is one block of a pool, owned by one node. The controller makes it; all agents watch it for routing.
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=ipb,categories=causeway
// +kubebuilder:validation:XValidation:rule="self.metadata.name == (self.spec.cidr.startsWith(':') ? '0' + self.spec.cidr : self.spec.cidr).replace(':', '-').replace('/', '-')",message="a block is named after its cidr, with - for : and /"
// +kubebuilder:printcolumn:name="CIDR",type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name="Pool",type=string,JSONPath=`.spec.pool`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type IPBlock struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IPBlockSpec `json:"spec"`
}

// IPBlockList is a list of IPBlocks.
// +kubebuilder:object:root=true
type IPBlockList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []IPBlock `json:"items"`
}
