package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// FilterAction ends the evaluation of a BGPFilter's rules.
// +kubebuilder:validation:Enum=Accept;Reject
type FilterAction string

const (
	// FilterAccept lets the route through.
	FilterAccept FilterAction = "Accept"
	// FilterReject drops the route.
	FilterReject FilterAction = "Reject"
)

// CIDRMatch says how a route's prefix is compared with the rule's.
// +kubebuilder:validation:Enum=Equal;NotEqual;In;NotIn
type CIDRMatch string

const (
	// CIDREqual matches the prefix itself.
	CIDREqual CIDRMatch = "Equal"
	// CIDRNotEqual matches all other prefixes.
	CIDRNotEqual CIDRMatch = "NotEqual"
	// CIDRIn matches the prefix and those inside it.
	CIDRIn CIDRMatch = "In"
	// CIDRNotIn matches prefixes that are neither.
	CIDRNotIn CIDRMatch = "NotIn"
)

// PrefixLength bounds a route's prefix length; both ends count.
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min <= self.max",message="min is greater than max: no prefix length would match"
type PrefixLength struct {
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	// +optional
	Min *int32 `json:"min,omitempty"`
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	// +optional
	Max *int32 `json:"max,omitempty"`
}

// FilterSource says where a route comes from.
// +kubebuilder:validation:Enum=RemotePeers;LocalBlocks;Services
type FilterSource string

const (
	// FilterSourceRemotePeers matches routes learned from BGP peers.
	FilterSourceRemotePeers FilterSource = "RemotePeers"
	// FilterSourceLocalBlocks matches the node's own blocks and addresses.
	FilterSourceLocalBlocks FilterSource = "LocalBlocks"
	// FilterSourceServices matches service addresses.
	FilterSourceServices FilterSource = "Services"
)

// BGPFilterOperation changes a route that a rule accepts.
// +kubebuilder:validation:XValidation:rule="[has(self.addCommunity), has(self.prependASPath), has(self.setLocalPreference)].filter(x, x).size() == 1",message="an operation has exactly one of addCommunity, prependASPath and setLocalPreference"
type BGPFilterOperation struct {
	// addCommunity adds a community or a large community.
	// +optional
	AddCommunity *Community `json:"addCommunity,omitempty"`
	// prependASPath puts these AS numbers in front of the AS path, the first one leftmost.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=4294967295
	// +listType=atomic
	// +optional
	PrependASPath []int64 `json:"prependASPath,omitempty"`
	// setLocalPreference sets LOCAL_PREF (RFC 4271 section 5.1.5).
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	SetLocalPreference *int64 `json:"setLocalPreference,omitempty"`
}

// BGPFilterRule decides about the routes that match all of its conditions. A rule without conditions matches every route.
// +kubebuilder:validation:XValidation:rule="has(self.cidr) == has(self.matchOperator)",message="cidr and matchOperator go together"
// +kubebuilder:validation:XValidation:rule="!has(self.operations) || self.action == 'Accept'",message="operations on a rejected route have no effect; set action to Accept or remove them",fieldPath=".operations"
type BGPFilterRule struct {
	// action is what happens to a route that matches.
	Action FilterAction `json:"action"`
	// cidr is compared with the route's prefix as matchOperator says.
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="not a CIDR without host bits"
	// +optional
	CIDR string `json:"cidr,omitempty"`
	// matchOperator says how cidr is compared.
	// +optional
	MatchOperator CIDRMatch `json:"matchOperator,omitempty"`
	// prefixLength bounds the route's prefix length.
	// +optional
	PrefixLength *PrefixLength `json:"prefixLength,omitempty"`
	// communities match a route that has any of them.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Communities []Community `json:"communities,omitempty"`
	// asPathPrefix matches a route whose AS path begins with these numbers.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=4294967295
	// +listType=atomic
	// +optional
	ASPathPrefix []int64 `json:"asPathPrefix,omitempty"`
	// interface matches routes by the link of their next hop; a trailing * matches any rest.
	// +kubebuilder:validation:MaxLength=15
	// +optional
	Interface string `json:"interface,omitempty"`
	// source matches routes by where they come from.
	// +optional
	Source FilterSource `json:"source,omitempty"`
	// operations change an accepted route, in this order.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Operations []BGPFilterOperation `json:"operations,omitempty"`
}

// BGPFilterSpec holds ordered rules. The first rule that matches decides; a route that none matches is accepted.
// +kubebuilder:validation:XValidation:rule="!has(self.importV4) || self.importV4.all(r, !has(r.cidr) || !isCIDR(r.cidr) || cidr(r.cidr).ip().family() == 4)",message="a rule of importV4 has an IPv6 cidr",fieldPath=".importV4"
// +kubebuilder:validation:XValidation:rule="!has(self.exportV4) || self.exportV4.all(r, !has(r.cidr) || !isCIDR(r.cidr) || cidr(r.cidr).ip().family() == 4)",message="a rule of exportV4 has an IPv6 cidr",fieldPath=".exportV4"
// +kubebuilder:validation:XValidation:rule="!has(self.importV6) || self.importV6.all(r, !has(r.cidr) || !isCIDR(r.cidr) || cidr(r.cidr).ip().family() == 6)",message="a rule of importV6 has an IPv4 cidr",fieldPath=".importV6"
// +kubebuilder:validation:XValidation:rule="!has(self.exportV6) || self.exportV6.all(r, !has(r.cidr) || !isCIDR(r.cidr) || cidr(r.cidr).ip().family() == 6)",message="a rule of exportV6 has an IPv4 cidr",fieldPath=".exportV6"
type BGPFilterSpec struct {
	// importV4 decides about received IPv4 routes.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	ImportV4 []BGPFilterRule `json:"importV4,omitempty"`
	// exportV4 decides about announced IPv4 routes.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	ExportV4 []BGPFilterRule `json:"exportV4,omitempty"`
	// importV6 decides about received IPv6 routes.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	ImportV6 []BGPFilterRule `json:"importV6,omitempty"`
	// exportV6 decides about announced IPv6 routes.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	ExportV6 []BGPFilterRule `json:"exportV6,omitempty"`
}

// BGPFilterStatus says whether the filter makes sense.
type BGPFilterStatus struct {
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BGPFilter is a list of rules that BGPPeers refer to by name.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=bgpf,categories=causeway
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BGPFilter struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BGPFilterSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status BGPFilterStatus `json:"status,omitempty"`
}

// BGPFilterList is a list of BGPFilters.
// +kubebuilder:object:root=true
type BGPFilterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPFilter `json:"items"`
}
