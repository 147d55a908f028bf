package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NextHopMode says which next hop is announced over a session.
// +kubebuilder:validation:Enum=Auto;Self;Keep
type NextHopMode string

const (
	// NextHopAuto follows RFC 4271 section 5.1.3: the node itself over eBGP, unchanged over iBGP.
	NextHopAuto NextHopMode = "Auto"
	// NextHopSelf always announces the node itself.
	NextHopSelf NextHopMode = "Self"
	// NextHopKeep never changes the next hop.
	NextHopKeep NextHopMode = "Keep"
)

// SourceAddressMode says which address a session starts from.
// +kubebuilder:validation:Enum=UseNodeIP;None
type SourceAddressMode string

const (
	// SourceAddressNodeIP binds the session to the node's address of the peer's family.
	SourceAddressNodeIP SourceAddressMode = "UseNodeIP"
	// SourceAddressNone leaves the choice to the kernel.
	SourceAddressNone SourceAddressMode = "None"
)

// BGPPassword refers to a Secret.
type BGPPassword struct {
	// secretKeyRef chooses a key of a Secret in the namespace causeway-bgp.
	SecretKeyRef corev1.SecretKeySelector `json:"secretKeyRef"`
}

// BGPPeerSpec is a session with a router, or sessions among nodes.
// +kubebuilder:validation:XValidation:rule="has(self.peerIP) != has(self.peerSelector)",message="set exactly one of peerIP (a router) and peerSelector (nodes of the cluster)"
// +kubebuilder:validation:XValidation:rule="!has(self.peerIP) || has(self.asNumber)",message="asNumber is needed with peerIP: the AS number of that router",fieldPath=".asNumber"
// +kubebuilder:validation:XValidation:rule="!has(self.peerSelector) || !has(self.asNumber)",message="asNumber can't go with peerSelector: nodes have the AS number that the BGPConfiguration gives them",fieldPath=".asNumber"
// +kubebuilder:validation:XValidation:rule="!(has(self.ttlSecurity) && has(self.ebgpMultihop))",message="ttlSecurity and ebgpMultihop exclude each other (RFC 5082)"
// +kubebuilder:validation:XValidation:rule="!has(self.keepOriginalNextHop) || !self.keepOriginalNextHop || !has(self.nextHopMode) || self.nextHopMode == 'Keep'",message="keepOriginalNextHop contradicts nextHopMode; leave one of them out",fieldPath=".nextHopMode"
// +kubebuilder:validation:XValidation:rule="!has(self.holdTime) || !has(self.keepaliveTime) || duration(self.keepaliveTime) < duration(self.holdTime) || duration(self.holdTime) == duration('0s')",message="keepaliveTime must be shorter than holdTime",fieldPath=".keepaliveTime"
type BGPPeerSpec struct {
	// peerIP is the address of a router.
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="not an IP address"
	// +optional
	PeerIP string `json:"peerIP,omitempty"`

	// peerSelector makes peers of all nodes that it matches, by the labels of the Node.
	// +optional
	PeerSelector *metav1.LabelSelector `json:"peerSelector,omitempty"`

	// nodeSelector chooses the nodes that have the session, by the labels of the Node. Default: all.
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`

	// asNumber is the AS number of the router at peerIP.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	ASNumber *int64 `json:"asNumber,omitempty"`

	// localASNumber is the AS number to show this peer in place of the node's own.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	LocalASNumber *int64 `json:"localASNumber,omitempty"`

	// port is the TCP port of the peer.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:default=179
	// +optional
	Port int32 `json:"port,omitempty"`

	// password is the TCP MD5 password (RFC 2385), at most 80 bytes.
	// +optional
	Password *BGPPassword `json:"password,omitempty"`

	// sourceAddress says which address the session starts from.
	// +kubebuilder:default=UseNodeIP
	// +optional
	SourceAddress SourceAddressMode `json:"sourceAddress,omitempty"`

	// ttlSecurity accepts only packets that crossed at most this many hops (GTSM, RFC 5082). 1 is a neighbour on the link.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=254
	// +optional
	TTLSecurity *int32 `json:"ttlSecurity,omitempty"`

	// ebgpMultihop is the TTL of packets to an external peer that is not on the link.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=255
	// +optional
	EBGPMultihop *int32 `json:"ebgpMultihop,omitempty"`

	// nextHopMode says which next hop is announced to this peer.
	// +optional
	NextHopMode NextHopMode `json:"nextHopMode,omitempty"`

	// keepOriginalNextHop is nextHopMode Keep by the name that Calico gave it.
	// +optional
	KeepOriginalNextHop bool `json:"keepOriginalNextHop,omitempty"`

	// maxRestartTime turns on graceful restart (RFC 4724): how long each side keeps the other's routes while it restarts.
	// Default 120s; 0s turns it off. At most 4095s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('4095s')",message="0s to 4095s (RFC 4724 section 3)"
	// +optional
	MaxRestartTime *metav1.Duration `json:"maxRestartTime,omitempty"`

	// numAllowedLocalASNumbers is how often the node's own AS number may be in a received AS path.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	// +optional
	NumAllowedLocalASNumbers *int32 `json:"numAllowedLocalASNumbers,omitempty"`

	// holdTime is the time without a message after which the session ends (RFC 4271 section 4.2). Default 90s; 0s or 3s to 65535s.
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration('0s') || (duration(self) >= duration('3s') && duration(self) <= duration('65535s'))",message="0s, or 3s to 65535s (RFC 4271 section 4.2)"
	// +optional
	HoldTime *metav1.Duration `json:"holdTime,omitempty"`

	// keepaliveTime is the time between keepalives. Default: a third of holdTime.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('21845s')",message="1s to 21845s"
	// +optional
	KeepaliveTime *metav1.Duration `json:"keepaliveTime,omitempty"`

	// reachableBy is the gateway through which to reach a peer that is not on the link.
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="not an IP address"
	// +optional
	ReachableBy string `json:"reachableBy,omitempty"`

	// filters are the names of BGPFilters, applied in this order.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Filters []string `json:"filters,omitempty"`
}

// BGPPeerStatus counts the sessions of a BGPPeer.
type BGPPeerStatus struct {
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// expected is the number of sessions that the selectors ask for, counted on every node that has one.
	// +kubebuilder:default=0
	// +optional
	Expected int32 `json:"expected"`
	// established is how many of them are up.
	// +kubebuilder:default=0
	// +optional
	Established int32 `json:"established"`
	// sessions is "established/expected", for people.
	// +optional
	Sessions string `json:"sessions,omitempty"`
	// conditions: Ready (all sessions are up, or why not).
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BGPPeer is a session with a router outside, or sessions among nodes.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=bgpp,categories=causeway
// +kubebuilder:printcolumn:name="Peer",type=string,JSONPath=`.spec.peerIP`
// +kubebuilder:printcolumn:name="AS",type=integer,JSONPath=`.spec.asNumber`
// +kubebuilder:printcolumn:name="Sessions",type=string,JSONPath=`.status.sessions`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BGPPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BGPPeerSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status BGPPeerStatus `json:"status,omitempty"`
}

// BGPPeerList is a list of BGPPeers.
// +kubebuilder:object:root=true
type BGPPeerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPPeer `json:"items"`
}
