package v1alpha1

// Aggregation gives nodes of one group their blocks out of few larger prefixes, so that routers can announce these in place of the blocks.
type Aggregation struct {
	// topologyKey is the label of Nodes whose value names a node's group, such as topology.kubernetes.io/zone or a label for racks.
	// Nodes without the label are a group too.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`
	TopologyKey string `json:"topologyKey"`

	// prefixLength is the length of the larger prefixes: more than that of the pool's cidr, and less than that of its blocks.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=127
	PrefixLength int32 `json:"prefixLength"`
}
