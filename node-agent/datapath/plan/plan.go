package plan

import (
	"fmt"
	"net/netip"
	"slices"
)

// Plan is what the kernel should show. Equal inputs give equal plans: every list is sorted, but for Sysctls, which are
// in the order in which they have to be set.
type Plan struct {
	Links      []Link
	Addresses  []Address
	Neighbours []Neighbour
	FDB        []FDBEntry
	Routes     []Route
	// Keep are the host ends whose routes are left as they are found, KeepTo destinations of which the same holds.
	Keep     []string
	KeepTo   []netip.Prefix
	Sysctls  []Sysctl
	Firewall Firewall

	// PodMTU is what new pods get, by pool.
	PodMTU []PoolMTU
	// EndpointMTU is the most that each running pod's interface may have.
	EndpointMTU []InterfaceMTU

	// Problems are what keeps pools from working in full on this node.
	Problems []Problem
	// Refused are the learned routes that must not get into the kernel.
	Refused []Refused
}

// LinkKind is the kernel's name of a kind of link.
type LinkKind string

// Link is a tunnel link, which is up.
type Link struct {
	Name string
	Kind LinkKind
	MTU  int
	// Settings are what only this kind of link has, or nil.
	Settings fmt.Stringer
}

// Address is an address of a tunnel link.
type Address struct {
	Device string
	Prefix netip.Prefix
}

// Neighbour is a permanent neighbour entry.
type Neighbour struct {
	Device  string
	Address netip.Addr
	MAC     string
}

// FDBEntry says behind which node a VTEP is.
type FDBEntry struct {
	Device string
	MAC    string
	Node   netip.Addr
}

// NextHop is one way that a route takes. Via is invalid where the destination is on the link.
type NextHop struct {
	Via    netip.Addr
	Device string
	OnLink bool
}

// Route is a route of the main table. It has no next hops if it is a blackhole.
type Route struct {
	Dst      netip.Prefix
	Source   RouteSource
	Protocol int
	NextHop  NextHop
	// More are the further next hops of a route that shares load.
	More []NextHop
}

// Blackhole says whether the route drops what it matches.
func (r Route) Blackhole() bool { return r.NextHop.Device == "" }

// Yields says whether the route may only be there as long as no pod has the address: then the pod's route has the same destination, and
// an ADD makes it at any moment.
func (r Route) Yields() bool { return r.Blackhole() && r.Dst.IsSingleIP() }

// Equal compares routes.
func (r Route) Equal(o Route) bool {
	return r.Dst == o.Dst && r.Source == o.Source && r.Protocol == o.Protocol && r.NextHop == o.NextHop && slices.Equal(r.More, o.More)
}

// Sysctl is a setting below /proc/sys, for example net/ipv4/ip_forward.
type Sysctl struct {
	Key, Value string
	// Optional says that a kernel or a pod without that setting is in order.
	Optional bool
}

// Firewall is the nftables table.
type Firewall struct {
	Sets   []Set
	Chains []Chain
}

// Set is a named set.
type Set struct {
	Name     string
	Type     string
	Interval bool
	Elements []string
}

// Chain is a base chain that accepts what its rules do not drop.
type Chain struct {
	Name     string
	Type     string
	Hook     string
	Priority string
	Rules    []string
}

// PoolMTU is an MTU for new pods.
type PoolMTU struct {
	Pool string
	MTU  int
}

// InterfaceMTU is an MTU for a running pod.
type InterfaceMTU struct {
	Interface string
	MTU       int
}

// Refused is a learned route that must not get into the kernel.
type Refused struct {
	Prefix  netip.Prefix
	Message string
}

// PodMTUOf returns the MTU for a pod with addresses of these pools: the smallest, or 0 if none is known.
func (p Plan) PodMTUOf(pools ...string) int {
	mtu := 0
	for _, m := range p.PodMTU {
		if slices.Contains(pools, m.Pool) && (mtu == 0 || m.MTU < mtu) {
			mtu = m.MTU
		}
	}
	return mtu
}
