package bgpplan

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/bgpcheck"
)

// Link is a link of this node, for filters by interface.
type Link struct {
	Name     string
	Prefixes []netip.Prefix
}

// Passwords are the values in the Secrets of the namespace causeway-bgp that exist, by the Secret's name and the key.
type Passwords map[string]map[string]string

// Pool is what a plan needs to know of an IPPool.
type Pool struct {
	Name string
	CIDR netip.Prefix
	// Export says whether BGP may announce addresses of the pool.
	Export bool
}

// Block is an IPBlock of this node.
type Block struct {
	CIDR netip.Prefix
	Pool string
	// Lent says that it is a range of another node's block.
	Lent bool
}

// PodAddress is an address of a pod of this node.
type PodAddress struct {
	Address netip.Addr
	Pool    string
}

// Input is everything a plan depends on.
type Input struct {
	// Node is this node's name. Its NodeNetwork is among NodeNetworks.
	Node          string
	Configuration *v1alpha1.BGPConfiguration
	Peers         []v1alpha1.BGPPeer
	Filters       []v1alpha1.BGPFilter
	NodeNetworks  []v1alpha1.NodeNetwork
	Pools         []Pool
	// Blocks are those of this node.
	Blocks []Block
	// PodAddresses are the addresses of the pods that run on this node.
	PodAddresses   []PodAddress
	Services       []corev1.Service
	EndpointSlices []discoveryv1.EndpointSlice
	Links          []Link
	Passwords      Passwords
	// Draining withdraws all that the node announces, and keeps the sessions.
	Draining bool
	// Announced and Ending are those of the last plan, and Now is the time: what takes the place of others is announced besides them for a while.
	Announced []Announcement
	Ending    []Ending
	Now       time.Time
}

// SecretsOf returns the names of the Secrets that hold passwords of this node's sessions, sorted.
func SecretsOf(in Input) []string {
	names := map[string]bool{}
	if c := in.Configuration; c != nil && c.Spec.NodeToNodeMesh.Enabled && c.Spec.NodeToNodeMesh.Password != nil {
		names[c.Spec.NodeToNodeMesh.Password.SecretKeyRef.Name] = true
	}
	var self labels.Set
	for i := range in.NodeNetworks {
		if in.NodeNetworks[i].Name == in.Node {
			self = in.NodeNetworks[i].Labels
		}
	}
	for i := range in.Peers {
		spec := &in.Peers[i].Spec
		if spec.Password == nil {
			continue
		}
		here, _ := bgpcheck.Selector("nodeSelector", spec.NodeSelector)
		there := labels.Nothing()
		if spec.PeerSelector != nil {
			there, _ = bgpcheck.Selector("peerSelector", spec.PeerSelector)
		}
		if here.Matches(self) || there.Matches(self) {
			names[spec.Password.SecretKeyRef.Name] = true
		}
	}
	delete(names, "")
	return slices.Sorted(maps.Keys(names))
}
