// Package bgpplan decides what a node's BGP speaker should do: which sessions it has, what it announces, what its
// filters let through. API objects come in, one comparable Plan goes out; it does no I/O and looks at no clock.
package bgpplan

import (
	"net/netip"
	"time"

	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// Plan is all that a node's speaker should do. Equal inputs give equal plans: every list is sorted.
type Plan struct {
	Global        Global
	Sessions      []Session
	Announcements []Announcement
	// Ending are those of the announcements that end at some time although nothing else changes.
	Ending []Ending
	// PeerRoutes are the host routes that BGPPeers with reachableBy need in the kernel.
	PeerRoutes []plan.PeerRoute
	// ExportPrefixes are the pools that BGP may export. A route reflector passes learned routes inside them to routers
	// of other autonomous systems.
	ExportPrefixes []netip.Prefix
	// Problems are what keeps objects from having effect. They are no part of what a speaker does.
	Problems []Problem
}

// Global is what all sessions have in common.
type Global struct {
	AS       uint32
	RouterID netip.Addr
	// Listen says whether any session may be opened from the other side.
	Listen          bool
	ListenPort      uint16
	ListenAddresses []netip.Addr
}

// NextHop says what next hop a session announces.
type NextHop string

const (
	// NextHopAuto follows RFC 4271 section 5.1.3.
	NextHopAuto NextHop = "Auto"
	// NextHopSelf announces the node for every route.
	NextHopSelf NextHop = "Self"
	// NextHopKeep announces learned routes with the next hop they came with.
	NextHopKeep NextHop = "Keep"
)

// Secret is a password. It prints as stars, so that a plan can be shown.
type Secret string

// String hides the password.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString hides the password.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalJSON hides the password.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(s.GoString()), nil }

// Session is one BGP session. The peer's address identifies it.
type Session struct {
	Peer    netip.Addr
	PeerAS  uint32
	LocalAS uint32
	Port    uint16
	// Source is "BGPPeer/<name>" or "NodeToNodeMesh".
	Source string
	// Node is the name of the peer's Node; empty for a router outside.
	Node string

	Password      Secret
	SourceAddress netip.Addr
	// TTLSecurity is the number of hops that GTSM allows; 0 turns it off.
	TTLSecurity uint8
	// Multihop is the TTL to an external peer that is not on the link; 0 leaves 1.
	Multihop uint8

	IPv4, IPv6 bool

	HoldTime, KeepaliveTime time.Duration
	// RestartTime is that of graceful restart; 0 turns it off.
	RestartTime time.Duration
	AllowOwnAS  uint8

	// ClusterID is set where the peer is this node's route reflection client.
	ClusterID netip.Addr
	// Reflector says that this node is a route reflector, whoever the peer is.
	Reflector bool
	NextHop   NextHop
	// OtherAddress is this node's address of the family that Peer is not of: the next hop of that family's routes where the node
	// names itself (RFC 4760 section 3). It is not valid where the node has none; then the session does not carry that family.
	OtherAddress netip.Addr
	// Link are the networks that a reflector shares with a router outside. It passes on to that router what has its next hop
	// there, and names that next hop (RFC 4271 section 5.1.3). If it named itself, the router could take it for as good a
	// way to another node as that node, and packets to other subnets would come back to the router.
	Link []netip.Prefix

	Import, Export []Rule
	// DialLater makes the other side, whose address is lower, open the session first.
	DialLater bool
}

// External says whether the session crosses autonomous systems.
func (s Session) External() bool { return s.PeerAS != s.LocalAS }

// Origin is where a route was learned, as far as rules can tell.
type Origin uint8

const (
	// OriginAny is every route that may be announced at all.
	OriginAny Origin = iota
	// OriginLocal is this node itself.
	OriginLocal
	// OriginRemote is any peer.
	OriginRemote
)

// PrefixRange matches the prefixes inside Prefix whose length is within Min and Max, both included.
type PrefixRange struct {
	Prefix   netip.Prefix
	Min, Max uint8
}

// Operation changes a route: it adds a community, prepends AS numbers, or sets the local preference.
type Operation struct {
	AddCommunity       string
	Prepend            []uint32
	SetLocalPreference bool
	LocalPreference    uint32
}

// Rule decides about the routes that match all its conditions; an empty condition matches every route.
type Rule struct {
	Accept      bool
	Prefixes    []PrefixRange
	Communities []string
	ASPath      []uint32
	NextHops    []netip.Prefix
	Origin      Origin
	Operations  []Operation
}

// AnnouncementSource says why a prefix is announced.
type AnnouncementSource string

const (
	// SourceBlock is a block of the node.
	SourceBlock AnnouncementSource = "Block"
	// SourceAddress is a pod's address outside the node's blocks.
	SourceAddress AnnouncementSource = "Address"
	// SourceService is an address, or a range of addresses, of Services.
	SourceService AnnouncementSource = "Service"
)

// Announcement is a prefix that the node originates.
type Announcement struct {
	Prefix           netip.Prefix
	Communities      []string
	LargeCommunities []string
	Source           AnnouncementSource
	// NextHop is the node's address of the prefix's family, if it has one.
	NextHop netip.Addr
}

// Problem is why an object, or a part of it, has no effect on this node.
type Problem struct {
	Kind, Name string
	// Reason is one word in CamelCase.
	Reason string
	// Message is a sentence that says what to do.
	Message string
}
