package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeToNodeMesh is the full mesh of iBGP sessions among all nodes.
// +kubebuilder:validation:XValidation:rule="!has(self.holdTime) || !has(self.keepaliveTime) || duration(self.keepaliveTime) < duration(self.holdTime) || duration(self.holdTime) == duration('0s')",message="keepaliveTime must be shorter than holdTime",fieldPath=".keepaliveTime"
type NodeToNodeMesh struct {
	// enabled turns the mesh on.
	// +kubebuilder:default=false
	// +optional
	Enabled bool `json:"enabled,omitempty"`
	// password is the TCP MD5 password of all sessions of the mesh.
	// +optional
	Password *BGPPassword `json:"password,omitempty"`
	// holdTime is as in BGPPeer.
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration('0s') || (duration(self) >= duration('3s') && duration(self) <= duration('65535s'))",message="0s, or 3s to 65535s (RFC 4271 section 4.2)"
	// +optional
	HoldTime *metav1.Duration `json:"holdTime,omitempty"`
	// keepaliveTime is as in BGPPeer.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('21845s')",message="1s to 21845s"
	// +optional
	KeepaliveTime *metav1.Duration `json:"keepaliveTime,omitempty"`
	// maxRestartTime is as in BGPPeer.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('4095s')",message="0s to 4095s (RFC 4724 section 3)"
	// +optional
	MaxRestartTime *metav1.Duration `json:"maxRestartTime,omitempty"`
}

// Community is a BGP community (RFC 1997), "64512:100", or a large community (RFC 8092), "64512:100:200".
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:Pattern=`^[0-9]{1,10}:[0-9]{1,10}(:[0-9]{1,10})?$`
type Community string

// PrefixAdvertisement adds communities to announced prefixes.
type PrefixAdvertisement struct {
	// cidr covers the announced prefixes that get the communities.
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="not a CIDR without host bits"
	CIDR string `json:"cidr"`
	// communities are added to each of them.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	Communities []Community `json:"communities"`
}

// ServiceCIDR is a range of service addresses to announce.
type ServiceCIDR struct {
	// cidr is the range; service addresses outside all ranges of their list are not announced.
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="not a CIDR without host bits"
	CIDR string `json:"cidr"`
}

// BGPNodeSettings are the BGP settings of the nodes that a selector chooses. They can be written before a node exists.
// +kubebuilder:validation:XValidation:rule="has(self.asNumber) || has(self.routeReflectorClusterID)",message="set asNumber, routeReflectorClusterID or both; an entry without them does nothing"
type BGPNodeSettings struct {
	// nodeSelector chooses the nodes, by the labels of the Node. Default: all.
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// asNumber is the AS number of these nodes.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	ASNumber *int64 `json:"asNumber,omitempty"`
	// routeReflectorClusterID makes these nodes BGP route reflectors (RFC 4456) with this cluster id, an IPv4 address.
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",message="a cluster id is written like an IPv4 address, for example 224.0.0.1"
	// +optional
	RouteReflectorClusterID string `json:"routeReflectorClusterID,omitempty"`
}

// BGPConfigurationSpec is what all BGP speakers of the cluster have in common.
type BGPConfigurationSpec struct {
	// asNumber is the AS number of nodes for which no entry of nodes sets another.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:default=64512
	// +optional
	ASNumber int64 `json:"asNumber,omitempty"`

	// nodes are settings of some nodes. For each setting, the first entry that chooses a node and has the setting decides.
	// +kubebuilder:validation:MaxItems=512
	// +listType=atomic
	// +optional
	Nodes []BGPNodeSettings `json:"nodes,omitempty"`

	// listenPort is the TCP port of the nodes' speakers. A speaker listens only if a session needs it.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:default=179
	// +optional
	ListenPort int32 `json:"listenPort,omitempty"`

	// listenAddresses are the addresses to listen on. Default: the node's own.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	ListenAddresses []string `json:"listenAddresses,omitempty"`

	// nodeToNodeMesh makes every node a peer of every other.
	// +optional
	NodeToNodeMesh NodeToNodeMesh `json:"nodeToNodeMesh,omitempty"`

	// prefixAdvertisements add communities to announced prefixes.
	// +kubebuilder:validation:MaxItems=128
	// +listType=atomic
	// +optional
	PrefixAdvertisements []PrefixAdvertisement `json:"prefixAdvertisements,omitempty"`

	// serviceClusterIPs are ranges of cluster IPs to announce.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	ServiceClusterIPs []ServiceCIDR `json:"serviceClusterIPs,omitempty"`

	// serviceExternalIPs are ranges of external IPs to announce.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	ServiceExternalIPs []ServiceCIDR `json:"serviceExternalIPs,omitempty"`

	// serviceLoadBalancerIPs are ranges of load balancer IPs to announce.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	ServiceLoadBalancerIPs []ServiceCIDR `json:"serviceLoadBalancerIPs,omitempty"`
}

// BGPConfigurationStatus says whether the configuration is in use.
type BGPConfigurationStatus struct {
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BGPConfiguration is the cluster's BGP configuration. There is one, named default.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=bgpconfig,categories=causeway
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'default'",message="there is one BGPConfiguration, and its name is default"
// +kubebuilder:printcolumn:name="AS",type=integer,JSONPath=`.spec.asNumber`
// +kubebuilder:printcolumn:name="Mesh",type=boolean,JSONPath=`.spec.nodeToNodeMesh.enabled`
// +kubebuilder:printcolumn:name="Port",type=integer,JSONPath=`.spec.listenPort`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BGPConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec BGPConfigurationSpec `json:"spec,omitempty"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status BGPConfigurationStatus `json:"status,omitempty"`
}

// BGPConfigurationList is a list of BGPConfigurations.
// +kubebuilder:object:root=true
type BGPConfigurationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPConfiguration `json:"items"`
}
