// Package plan decides what a node's kernel should look like for its own pods and for all others' blocks: links,
// addresses, routes, neighbours, FDB entries, sysctls, nftables. Values come in, one comparable and printable Plan goes
// out, or what a change of one block changes of it; it does no I/O and looks at no clock.
//
// reach.go decides how each block is reached: direct, by a tunnel, by a learned route, or not at all. Each tunnel then has a
// file that says all about it.
package plan

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/infrastructure"
)

// Input is all that a plan is made from. The order of its lists does not matter.
type Input struct {
	// Node is the own Node's name.
	Node string
	// V4 and V6 are the node's places on the underlay; the zero value where it has none.
	V4, V6 Underlay
	// Fabric are the routes of others in the main table: by them, next hops that are not on a link are resolved.
	Fabric []FabricRoute
	// NoWayToGateway says that no route of somebody else, such as a default route, leads to the pods' IPv4 gateway.
	NoWayToGateway bool
	// RPFilterAll is net.ipv4.conf.all.rp_filter as found.
	RPFilterAll int
	// RPFilter is net.ipv4.conf.*.rp_filter of others' links and of new ones ("default"), where RPFilterAll is 2.
	RPFilter map[string]int
	// LikePods are the names of others' links that begin like those of pods' links.
	LikePods     []string
	Capabilities Capabilities
	VXLAN        VXLAN

	Pools     []Pool
	Blocks    []*Block
	Endpoints []Endpoint
	// NodeAddresses are addresses of the cluster's nodes besides those in Blocks.
	NodeAddresses []netip.Addr
	// Infrastructure are the networks that no route, blackhole or address of ours may touch; nil for none.
	Infrastructure *infrastructure.Networks
	// Tunnels are the names of the tunnel links of ours that exist.
	Tunnels []string

	// Learned are the best routes that BGP learned.
	Learned []LearnedRoute
	// AcceptDefault lets BGP set the default route.
	AcceptDefault bool
	// PeerRoutes are the host routes that BGP peers off the link need.
	PeerRoutes []PeerRoute
}

// Underlay is the node's place on the network that carries everything, for one family.
type Underlay struct {
	Address   netip.Addr
	Subnet    netip.Prefix
	Interface string
	MTU       int
	// RPFilter is the interface's own net.ipv4.conf.*.rp_filter as found; IPv4 only.
	RPFilter int
	// AcceptRA is the interface's net.ipv6.conf.*.accept_ra as found; IPv6 only.
	AcceptRA int
}

// FabricRoute is a unicast route of somebody else. Via is invalid for a connected network.
type FabricRoute struct {
	Prefix netip.Prefix
	Via    netip.Addr
	Device string
}

// Capabilities are what the kernel can do.
type Capabilities struct {
	// Links says which kinds of tunnel links the kernel can make.
	Links    map[LinkKind]bool
	NFTables bool
}

// Equal compares capabilities.
func (c Capabilities) Equal(o Capabilities) bool {
	return c.NFTables == o.NFTables && maps.Equal(c.Links, o.Links)
}

// VXLAN are the parameters that all nodes share. Zeros mean the defaults.
type VXLAN struct {
	VNI  uint32
	Port uint16
}

// Pool is what routing needs of an IPPool.
type Pool struct {
	Name string
	CIDR netip.Prefix
	// Encapsulation is the spec's.
	Encapsulation v1alpha1.Encapsulation
	// Sending is the status': what nodes send with now. Empty means the spec's.
	Sending v1alpha1.Encapsulation
	// Settled says that the pool is Ready for its generation: no node sends with an older encapsulation any more.
	Settled     bool
	NATOutgoing bool
	// NATExcept are the destinations that NATOutgoing leaves alone.
	NATExcept []netip.Prefix
	// Doubtful says that the controller has not looked at the pool yet, or found that it conflicts with the infrastructure.
	Doubtful bool
}

// Equal compares pools.
func (p Pool) Equal(o Pool) bool {
	return p.Name == o.Name && p.CIDR == o.CIDR && p.Encapsulation == o.Encapsulation && p.Sending == o.Sending && p.Settled == o.Settled &&
		p.NATOutgoing == o.NATOutgoing && p.Doubtful == o.Doubtful && slices.Equal(p.NATExcept, o.NATExcept)
}

// Block is what routing needs of an IPBlock. A terminating one is routed like any other until it is gone. A plan keeps the blocks that it is
// made from, since a large cluster has many: nobody may change one.
type Block struct {
	CIDR          netip.Prefix
	Pool          string
	Node          string
	NodeAddresses []netip.Addr
	Created       time.Time
	// Lender is the node whose block this is a lent range of; "" for a block.
	Lender string
}

// Endpoint is one pod interface of this node.
type Endpoint struct {
	// Interface is the host end.
	Interface string
	Addresses []netip.Addr
	// Pools are those of the addresses, in the same order.
	Pools []string
	// Ready says that the interface is wired. The routes of one that is not are left as they are found.
	Ready bool
}

// LearnedRoute is a route learned by BGP; several next hops share its load.
type LearnedRoute struct {
	Prefix   netip.Prefix
	NextHops []netip.Addr
}

// PeerRoute is the host route by which a BGP peer off the link is reached.
type PeerRoute struct {
	Peer, Via netip.Addr
}
