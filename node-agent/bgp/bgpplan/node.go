package bgpplan

import (
	"crypto/sha256"
	"net/netip"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/bgpcheck"
)

const (
	defaultAS   = 64512
	defaultPort = 179
)

// node is what a plan needs to know of a node.
type node struct {
	name      string
	labels    map[string]string
	as        uint32
	clusterID netip.Addr
	v4, v6    netip.Addr
	subnets   []netip.Prefix
}

// settings are those of the BGPConfiguration that differ from node to node.
type settings struct {
	as      uint32
	entries []settingsEntry
}

type settingsEntry struct {
	selector  labels.Selector
	as        uint32     // 0 for none
	clusterID netip.Addr // not valid for none
}

func newSettings(spec *v1alpha1.BGPConfigurationSpec) settings {
	s := settings{as: defaultAS}
	if bgpcheck.ValidAS(spec.ASNumber) {
		s.as = uint32(spec.ASNumber)
	}
	for i := range spec.Nodes {
		n := &spec.Nodes[i]
		selector, problem := bgpcheck.Selector("nodeSelector", n.NodeSelector)
		if problem != nil {
			continue // which is among the problems of the BGPConfiguration
		}
		entry := settingsEntry{selector: selector}
		if n.ASNumber != nil && bgpcheck.ValidAS(*n.ASNumber) {
			entry.as = uint32(*n.ASNumber)
		}
		if id, err := netip.ParseAddr(n.RouteReflectorClusterID); err == nil && id.Is4() && !id.IsUnspecified() {
			entry.clusterID = id
		}
		s.entries = append(s.entries, entry)
	}
	return s
}

// of returns the settings of a node with these labels: for each, the first entry that chooses the node and has it decides.
func (s settings) of(set labels.Set) (as uint32, clusterID netip.Addr) {
	for _, e := range s.entries {
		if !e.selector.Matches(set) {
			continue
		}
		if as == 0 {
			as = e.as
		}
		if !clusterID.IsValid() {
			clusterID = e.clusterID
		}
	}
	if as == 0 {
		as = s.as
	}
	return as, clusterID
}

func readNode(nn *v1alpha1.NodeNetwork, s settings) node {
	n := node{name: nn.Name, labels: nn.Labels}
	n.as, n.clusterID = s.of(nn.Labels)
	for _, a := range nn.Status.Addresses {
		addr, err := netip.ParseAddr(a.Address)
		if err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() {
			continue
		}
		switch addr = addr.Unmap(); {
		case addr.Is4() && !n.v4.IsValid():
			n.v4 = addr
		case addr.Is6() && !n.v6.IsValid():
			n.v6 = addr
		default:
			continue
		}
		if subnet, err := netip.ParsePrefix(a.Subnet); err == nil {
			n.subnets = append(n.subnets, subnet.Masked())
		}
	}
	return n
}

// address returns the node's address of the same family as peer.
func (n node) address(peer netip.Addr) netip.Addr {
	if peer.Is4() {
		return n.v4
	}
	return n.v6
}

// onLink says whether the address is reached without a router.
func (n node) onLink(a netip.Addr) bool {
	for _, s := range n.subnets {
		if s.Contains(a) {
			return true
		}
	}
	return false
}

// routerID is the node's IPv4 address. A node without one has an identifier made from its name, in 240.0.0.0/4, where
// no node has its address.
func (n node) routerID() netip.Addr {
	if n.v4.IsValid() {
		return n.v4
	}
	sum := sha256.Sum256([]byte("router-id\x00" + n.name))
	return netip.AddrFrom4([4]byte{sum[0] | 0xf0, sum[1], sum[2], sum[3]&0xfe | 1})
}

// common returns the addresses of a session between two nodes: IPv4 where both have it.
func common(a, b node) (own, peer netip.Addr, ok bool) {
	switch {
	case a.v4.IsValid() && b.v4.IsValid():
		return a.v4, b.v4, true
	case a.v6.IsValid() && b.v6.IsValid():
		return a.v6, b.v6, true
	}
	return netip.Addr{}, netip.Addr{}, false
}
