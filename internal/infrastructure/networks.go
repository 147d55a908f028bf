// Package infrastructure knows the networks that the cluster itself stands on: the nodes' addresses and subnets, the API
// server's addresses, the Service ranges, and networks of links that are not ours. It takes such networks, and says which of
// them a pool, a block or a route would cover or lie in. Controller and agents use it; it does no I/O.
package infrastructure

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
)

// Network is an address or a range that must stay reachable the way it is now. A large cluster has many, so none keeps its description.
type Network struct {
	Prefix netip.Prefix
	kind   kind
	owner  string // the name of the node or link that it belongs to
}

// kind says what a network is. The order is that of the descriptions.
type kind int

const (
	serviceRange kind = iota
	nodeAddress
	apiServer
	linkNetwork
	nodeSubnet
)

// What names a network for people: "the address 192.168.0.1 of node a".
func (n Network) What() string {
	switch n.kind {
	case nodeAddress:
		return fmt.Sprintf("the address %s of node %s", n.Prefix.Addr(), n.owner)
	case nodeSubnet:
		return fmt.Sprintf("the subnet %s of node %s", n.Prefix, n.owner)
	case apiServer:
		return fmt.Sprintf("the address %s of the API server", n.Prefix.Addr())
	case linkNetwork:
		return fmt.Sprintf("the network %s of the link %s", n.Prefix, n.owner)
	default:
		return fmt.Sprintf("the Service range %s", n.Prefix)
	}
}

// Compare is the order of networks: by first address, the larger prefix first, then by what they are and whose.
func Compare(a, b Network) int {
	return cmp.Or(compare(a.Prefix, b.Prefix), cmp.Compare(a.kind, b.kind), cmp.Compare(a.owner, b.owner))
}

// NodeAddress is an address of a node on the underlay.
func NodeAddress(node string, a netip.Addr) Network { return Network{host(a), nodeAddress, node} }

// NodeSubnet is a network that a node is connected to on the underlay.
func NodeSubnet(node string, p netip.Prefix) Network { return Network{p.Masked(), nodeSubnet, node} }

// APIServer is an address that the API server listens on.
func APIServer(a netip.Addr) Network { return Network{host(a), apiServer, ""} }

// ServiceRange is a range that Services get their addresses from.
func ServiceRange(p netip.Prefix) Network { return Network{p.Masked(), serviceRange, ""} }

// LinkNetwork is the network of a link that is not ours.
func LinkNetwork(link string, p netip.Prefix) Network { return Network{p.Masked(), linkNetwork, link} }

func host(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen())
}

// Networks is a set of networks. The zero value is empty.
type Networks struct {
	// sorted by first address, the larger prefix first.
	sorted []Network
	// at is the place of the first network of each prefix.
	at map[netip.Prefix]int
	// lengths are the prefix lengths that occur, for IPv4 and IPv6.
	lengths [2][]int
}

// Of makes a set. It leaves out what no pool can touch: prefixes that aren't valid, loopback, link-local and multicast addresses,
// and default routes.
func Of(networks ...Network) Networks {
	n := Networks{at: map[netip.Prefix]int{}, sorted: make([]Network, 0, len(networks))}
	for _, one := range networks {
		if relevant(one.Prefix) {
			n.sorted = append(n.sorted, one)
		}
	}
	slices.SortFunc(n.sorted, Compare)
	n.sorted = slices.Compact(n.sorted)
	for i, one := range n.sorted {
		if _, known := n.at[one.Prefix]; known {
			continue
		}
		n.at[one.Prefix] = i
		family := familyOf(one.Prefix)
		if !slices.Contains(n.lengths[family], one.Prefix.Bits()) {
			n.lengths[family] = append(n.lengths[family], one.Prefix.Bits())
		}
	}
	slices.Sort(n.lengths[0])
	slices.Sort(n.lengths[1])
	return n
}

func relevant(p netip.Prefix) bool {
	a := p.Addr()
	return p.IsValid() && p.Bits() > 0 && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified()
}

// Hits returns the networks that a prefix covers or lies in, the larger ones first. Its cost does not grow with the number of
// networks that it does not hit.
func (n Networks) Hits(p netip.Prefix) []Network {
	if !p.IsValid() || len(n.sorted) == 0 {
		return nil
	}
	p = p.Masked()
	var out []Network
	for _, bits := range n.lengths[familyOf(p)] {
		if bits >= p.Bits() {
			break
		}
		around := netip.PrefixFrom(p.Addr(), bits).Masked()
		i, ok := n.at[around]
		for ; ok && i < len(n.sorted) && n.sorted[i].Prefix == around; i++ {
			out = append(out, n.sorted[i])
		}
	}
	from, _ := slices.BinarySearchFunc(n.sorted, p, func(one Network, p netip.Prefix) int { return compare(one.Prefix, p) })
	last := netipx.PrefixLastIP(p)
	for _, one := range n.sorted[from:] {
		if last.Less(one.Prefix.Addr()) {
			break
		}
		out = append(out, one)
	}
	return out
}

// All returns the networks, sorted by prefix.
func (n Networks) All() []Network { return slices.Clone(n.sorted) }

// Describe names some networks in one phrase: "the Service range 10.96.0.0/16 and 2 more".
func Describe(hits []Network) string {
	const most = 3
	var names []string
	for _, h := range hits[:min(len(hits), most)] {
		names = append(names, h.What())
	}
	rest := len(hits) - len(names)
	switch {
	case rest > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), rest)
	case len(names) > 1:
		return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
	}
	return strings.Join(names, "")
}

func familyOf(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

func compare(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
