// Package capture reads what tcpdump wrote. Bytes of a capture file come in, packets with their inner packets go out.
package capture

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Protocol numbers (IANA, "Assigned Internet Protocol Numbers").
const (
	ICMP   = 1
	IPIP   = 4
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// Packet is one IP packet, and what it carries.
type Packet struct {
	Time time.Time
	// SrcMAC and DstMAC are empty on links without them.
	SrcMAC, DstMAC net.HardwareAddr
	// EtherType is 0x0800 or 0x86dd for IP; others have no fields below set.
	EtherType uint16
	Src, Dst  netip.Addr
	TTL       uint8
	Protocol  uint8
	// DontFragment is the DF bit, Length the length of the IP packet in bytes.
	DontFragment bool
	Length       int
	// SrcPort and DstPort belong to TCP and UDP.
	SrcPort, DstPort uint16
	// ICMPType and ICMPCode belong to ICMP of both families.
	ICMPType, ICMPCode uint8
	// VNI is set with Inner for VXLAN.
	VNI int
	// Inner is the packet within IPIP or VXLAN.
	Inner *Packet
}

// String prints the packet in one line.
func (p Packet) String() string {
	var b strings.Builder
	if len(p.SrcMAC) > 0 {
		fmt.Fprintf(&b, "%s > %s ", p.SrcMAC, p.DstMAC)
	}
	if !p.Src.IsValid() {
		fmt.Fprintf(&b, "ethertype %#04x", p.EtherType)
		return b.String()
	}
	fmt.Fprintf(&b, "%s > %s ttl %d proto %d length %d", p.Src, p.Dst, p.TTL, p.Protocol, p.Length)
	switch p.Protocol {
	case TCP, UDP:
		fmt.Fprintf(&b, " ports %d > %d", p.SrcPort, p.DstPort)
	case ICMP, ICMPv6:
		fmt.Fprintf(&b, " type %d code %d", p.ICMPType, p.ICMPCode)
	}
	if p.Inner != nil {
		if p.Protocol == UDP {
			fmt.Fprintf(&b, " vni %d", p.VNI)
		}
		fmt.Fprintf(&b, " [%s]", p.Inner)
	}
	return b.String()
}
