package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// MaxSessionsInDetail is the number of sessions that a BGPNodeState describes one by one.
const MaxSessionsInDetail = 256

// BGPSessionStatus is one BGP session of a node.
type BGPSessionStatus struct {
	// peer is the address of the other side.
	Peer string `json:"peer"`
	// asNumber is the AS number expected of the other side.
	// +optional
	ASNumber int64 `json:"asNumber,omitempty"`
	// source is what asked for the session: "BGPPeer/<name>" or "NodeToNodeMesh".
	Source string `json:"source"`
	// state is the state of RFC 4271 section 8.2.2: Idle, Connect, Active, OpenSent, OpenConfirm or Established.
	State string `json:"state"`
	// since is when the session came into this state. An established session's uptime is the time since then.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// prefixesReceived is the number of prefixes that the peer announced and the filters let in.
	// +optional
	PrefixesReceived int64 `json:"prefixesReceived,omitempty"`
	// prefixesAdvertised is the number of prefixes announced to the peer.
	// +optional
	PrefixesAdvertised int64 `json:"prefixesAdvertised,omitempty"`
	// lastError says in a sentence what last went wrong.
	// +optional
	LastError string `json:"lastError,omitempty"`
}

// BGPNodeStateStatus is what the BGP speaker of a node does.
type BGPNodeStateStatus struct {
	// asNumber is the node's own AS number.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	ASNumber int64 `json:"asNumber,omitempty"`

	// routerID is the node's BGP identifier (RFC 4271 section 1.1).
	// +kubebuilder:validation:MaxLength=15
	// +optional
	RouterID string `json:"routerID,omitempty"`

	// expected is the number of sessions that the node's BGP objects ask for.
	// +kubebuilder:default=0
	// +optional
	Expected int32 `json:"expected"`

	// established is how many of them are up.
	// +kubebuilder:default=0
	// +optional
	Established int32 `json:"established"`

	// sessionCounts is "established/expected", for people.
	// +kubebuilder:validation:MaxLength=32
	// +optional
	SessionCounts string `json:"sessionCounts,omitempty"`

	// routesLearned is the number of prefixes that peers announced and the filters let in. It is at most a minute old.
	// +optional
	RoutesLearned int64 `json:"routesLearned,omitempty"`

	// sources counts the sessions by what asked for them, for every source, in detail or not.
	// +kubebuilder:validation:MaxItems=512
	// +listType=map
	// +listMapKey=source
	// +optional
	Sources []BGPSourceStatus `json:"sources,omitempty"`

	// sessions describes the node's sessions, at most 256: those in trouble first, then by peer.
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	// +optional
	Sessions []BGPSessionStatus `json:"sessions,omitempty"`

	// conditions: Ready (all sessions are up and all BGP objects of the node are valid, or why not).
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BGPSourceStatus counts the sessions that one BGPPeer, or the mesh, asks of a node.
type BGPSourceStatus struct {
	// source is what asked for the sessions: "BGPPeer/<name>" or "NodeToNodeMesh".
	// +kubebuilder:validation:MaxLength=300
	Source string `json:"source"`
	// expected is the number of sessions that it asks for on this node.
	// +kubebuilder:default=0
	// +optional
	Expected int32 `json:"expected"`
	// established is how many of them are up.
	// +kubebuilder:default=0
	// +optional
	Established int32 `json:"established"`
}

// BGPNodeState is what the BGP speaker of one node does. It has the Node's name. The node's agent writes it; only the
// controller and people read it.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=bgpns,categories=causeway
// +kubebuilder:printcolumn:name="AS",type=integer,JSONPath=`.status.asNumber`
// +kubebuilder:printcolumn:name="RouterID",type=string,JSONPath=`.status.routerID`
// +kubebuilder:printcolumn:name="Sessions",type=string,JSONPath=`.status.sessionCounts`
// +kubebuilder:printcolumn:name="Learned",type=integer,JSONPath=`.status.routesLearned`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BGPNodeState struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Status BGPNodeStateStatus `json:"status,omitempty"`
}

// BGPNodeStateList is a list of BGPNodeStates.
// +kubebuilder:object:root=true
type BGPNodeStateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPNodeState `json:"items"`
}
