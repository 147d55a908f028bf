// Package names holds every name, number and address that Causeway leaves in a node's kernel, so that it finds and
// changes its own things only. It takes nothing in, does no I/O, and decides nothing.
package names

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
)

const (
	// RouteProtocol is the protocol number of routes that come from pools, blocks and pods (rtnetlink(7), rtm_protocol).
	RouteProtocol = 202
	// BGPRouteProtocol is the protocol number of routes learned by BGP. It differs from 186 (bgp), which FRR takes as its own.
	BGPRouteProtocol = 203

	// HostInterfacePrefix begins the names of the host ends of pods' links.
	HostInterfacePrefix = "cw"
	// MakingGroup is the link group of host ends that are being made. One that an agent's end has left there is not whole.
	MakingGroup = 0x6375
	// DeletedGroup is the link group of host ends whose DEL has been answered and whose WorkloadEndpoint may still be there.
	DeletedGroup = 0x6376
	// ReapGroup is the link group of host ends that are being deleted together.
	ReapGroup = 0x6377

	// VXLANDevice is the VXLAN link.
	VXLANDevice = "vxlan.cw"
	// DefaultVXLANVNI is the VXLAN network identifier (RFC 7348 section 5).
	DefaultVXLANVNI = 4096
	// DefaultVXLANPort is the UDP port of VXLAN (RFC 7348 section 8).
	DefaultVXLANPort = 4789
	// IPIPDevice is the kernel's own fallback IPIP link.
	IPIPDevice = "tunl0"

	// NFTTable is the nftables table of family inet that holds all our rules.
	NFTTable = "causeway"
)

var (
	// HostMAC is the hardware address of every host end.
	HostMAC = net.HardwareAddr{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}
	// GatewayV4 is the pods' IPv4 gateway. Nobody owns it; proxy ARP answers for it.
	GatewayV4 = netip.MustParseAddr("169.254.1.1")
	// GatewayV6 is the pods' IPv6 gateway: the link-local address that HostMAC gives every host end (RFC 4291 appendix A).
	GatewayV6 = netip.MustParseAddr("fe80::ecee:eeff:feee:eeee")
)

// EndpointHash returns the 11 hexadecimal digits that name one interface of one sandbox, on the host and in the API.
func EndpointHash(containerID, containerInterface string) string {
	sum := sha256.Sum256([]byte(containerID + "\x00" + containerInterface))
	return hex.EncodeToString(sum[:])[:11]
}

// IsHostInterface says whether a name is that of the host end of a pod's link: the prefix and 11 hexadecimal digits.
func IsHostInterface(name string) bool {
	digits, ok := strings.CutPrefix(name, HostInterfacePrefix)
	return ok && len(digits) == 11 && strings.Trim(digits, "0123456789abcdef") == ""
}

// HostInterface returns the name of the host end of a pod's link.
func HostInterface(containerID, containerInterface string) string {
	return HostInterfacePrefix + EndpointHash(containerID, containerInterface)
}

// PodMAC returns the hardware address of a pod's interface: locally administered, unicast, made from what the interface is
// named after, so that it can be told again from the link's alias.
func PodMAC(containerID, containerInterface string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("pod\x00" + containerID + "\x00" + containerInterface))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^0x01 | 0x02
	return mac
}

// VTEPMAC returns the hardware address of a node's VXLAN device: locally administered, unicast, made from the node's name.
func VTEPMAC(node string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("vtep\x00" + node))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^0x01 | 0x02
	return mac
}
