package plan

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// KindVXLAN is an Ethernet frame in a UDP datagram (RFC 7348).
const KindVXLAN LinkKind = "vxlan"

// RouteSourceVXLAN marks routes through vxlan.cw.
const RouteSourceVXLAN RouteSource = "VXLAN"

// The overhead is an IP header, a UDP header, a VXLAN header and an Ethernet header.
const (
	vxlanOverheadV4 = 50
	vxlanOverheadV6 = 70
)

// VXLANSettings are what is particular to a VXLAN link.
type VXLANSettings struct {
	VNI    uint32
	Port   uint16
	Local  netip.Addr
	Parent string
	MAC    string
}

// String shows the settings as `ip -d link` does.
func (s VXLANSettings) String() string {
	return fmt.Sprintf("id %d local %s dev %s dstport %d nolearning address %s", s.VNI, s.Local, s.Parent, s.Port, s.MAC)
}

// vxlanTunnel sends frames to other nodes' VTEPs, over IPv4 where the node has an IPv4 address. Nothing is learned from
// packets: each VTEP has a permanent neighbour entry and a permanent FDB entry.
type vxlanTunnel struct{}

func (vxlanTunnel) kind() LinkKind    { return KindVXLAN }
func (vxlanTunnel) device() string    { return names.VXLANDevice }
func (vxlanTunnel) carries(bool) bool { return true }

func (t vxlanTunnel) local(in *Input) netip.Addr {
	at, _ := t.underlay(in)
	return at.Address
}

func (t vxlanTunnel) mtu(in *Input) int {
	at, overhead := t.underlay(in)
	return at.MTU - overhead
}

func (vxlanTunnel) underlay(in *Input) (at Underlay, overhead int) {
	if in.V4.Address.IsValid() {
		return in.V4, vxlanOverheadV4
	}
	return in.V6, vxlanOverheadV6
}

func (t vxlanTunnel) link(in *Input) (Link, string) {
	at, _ := t.underlay(in)
	if !at.Address.IsValid() || at.Interface == "" {
		return Link{}, fmt.Sprintf("Node %s has no address that VXLAN could use: give its Node an InternalIP that one of its interfaces has.", in.Node)
	}
	return Link{Name: t.device(), Kind: t.kind(), MTU: t.mtu(in), Settings: VXLANSettings{
		VNI: in.VXLAN.VNI, Port: in.VXLAN.Port, Local: at.Address, Parent: at.Interface, MAC: names.VTEPMAC(in.Node).String(),
	}}, ""
}

func (t vxlanTunnel) way(l *Link, b Block, remote netip.Addr, n *node) (way, bool) {
	mac := n.vtepMAC()
	hop := NextHop{Via: mac.linkLocal, Device: l.Name}
	if b.CIDR.Addr().Is4() {
		vtep, ok := n.vtep(t)
		if !ok {
			return way{}, false // blocks of one address only: nothing that a VTEP could have
		}
		hop = NextHop{Via: vtep, Device: l.Name, OnLink: true}
	}
	return way{
		source: RouteSourceVXLAN, hop: hop,
		neighbour: Neighbour{l.Name, hop.Via, mac.text}, fdb: FDBEntry{Device: l.Name, MAC: mac.text, Node: remote},
	}, true
}

// guards look for the VNI, which is in bits 96 to 119 of the UDP datagram (RFC 7348 section 5); another VNI is somebody
// else's VXLAN.
func (vxlanTunnel) guards(in *Input, _ *Link) guards {
	packet := fmt.Sprintf("udp dport %d @th,96,24 %#x drop", in.VXLAN.Port, in.VXLAN.VNI)
	return guards{
		input: []string{"ip saddr != @nodes4 " + packet, "ip6 saddr != @nodes6 " + packet},
		pod:   []string{"ip daddr @nodes4 " + packet, "ip6 daddr @nodes6 " + packet},
	}
}

// vtepMAC is the hardware address of a node's VTEP, as what it is needed for.
type vtepMAC struct {
	text      string
	linkLocal netip.Addr
}

func (n *node) vtepMAC() vtepMAC {
	if n.mac.text == "" {
		mac := names.VTEPMAC(n.name)
		n.mac = vtepMAC{mac.String(), linkLocal(mac)}
	}
	return n.mac
}

// linkLocal is the link-local address that a hardware address gives (RFC 4291 appendix A). Remote VTEPs are IPv6 next
// hops by it: the kernel refuses a global next hop that its table routes elsewhere, as it does in the midst of a change
// of encapsulation (ip6_route_check_nh_onlink).
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 0x02, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}
