package capture

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Link types of capture files (https://www.tcpdump.org/linktypes.html).
const (
	linkEthernet = 1
	linkRawBSD   = 12
	linkRaw      = 101
	linkSLL      = 113
	linkSLL2     = 276
)

const (
	etherIPv4 = 0x0800
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd
	vxlanPort = 4789
	maxDepth  = 4
)

// Read reads a capture file (pcap, as tcpdump -w writes it). A packet that is not complete yet at the end is left out.
func Read(file []byte) ([]Packet, error) {
	if len(file) < 24 {
		return nil, nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch order.Uint32(file) {
	case 0xa1b2c3d4:
	case 0xd4c3b2a1:
		order = binary.BigEndian
	default:
		return nil, fmt.Errorf("this is no capture file: it begins with % x", file[:4])
	}
	link := order.Uint32(file[20:]) & 0xffff
	var out []Packet
	for rest := file[24:]; len(rest) >= 16; {
		size := int(order.Uint32(rest[8:]))
		if size < 0 || len(rest)-16 < size {
			break
		}
		p, err := decodeLink(link, rest[16:16+size])
		if err != nil {
			return out, fmt.Errorf("packet %d: %w", len(out)+1, err)
		}
		p.Time = time.Unix(int64(order.Uint32(rest)), int64(order.Uint32(rest[4:]))*1000)
		out = append(out, p)
		rest = rest[16+size:]
	}
	return out, nil
}

func decodeLink(link uint32, b []byte) (Packet, error) {
	var p Packet
	switch link {
	case linkEthernet:
		p.ethernet(b, 0)
	case linkRaw, linkRawBSD:
		p.ip(b, 0)
	case linkSLL:
		if len(b) >= 16 {
			p.EtherType = binary.BigEndian.Uint16(b[14:])
			p.ip(b[16:], 0)
		}
	case linkSLL2:
		if len(b) >= 20 {
			p.EtherType = binary.BigEndian.Uint16(b)
			p.ip(b[20:], 0)
		}
	default:
		return p, fmt.Errorf("link type %d is not known here", link)
	}
	return p, nil
}

func (p *Packet) ethernet(b []byte, depth int) {
	if len(b) < 14 {
		return
	}
	p.DstMAC, p.SrcMAC = net.HardwareAddr(b[:6]), net.HardwareAddr(b[6:12])
	p.EtherType, b = binary.BigEndian.Uint16(b[12:]), b[14:]
	if p.EtherType == etherVLAN && len(b) >= 4 {
		p.EtherType, b = binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	if p.EtherType == etherIPv4 || p.EtherType == etherIPv6 {
		p.ip(b, depth)
	}
}

func (p *Packet) ip(b []byte, depth int) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		header := int(b[0]&0xf) * 4
		p.EtherType, p.Length = etherIPv4, int(binary.BigEndian.Uint16(b[2:]))
		p.DontFragment, p.TTL, p.Protocol = b[6]&0x40 != 0, b[8], b[9]
		p.Src, p.Dst = addr(b[12:16]), addr(b[16:20])
		first := binary.BigEndian.Uint16(b[6:])&0x1fff == 0
		if first && header >= 20 && header <= len(b) {
			p.payload(b[header:], depth)
		}
	case len(b) >= 40 && b[0]>>4 == 6:
		p.EtherType, p.Length = etherIPv6, int(binary.BigEndian.Uint16(b[4:]))+40
		p.Protocol, p.TTL = b[6], b[7]
		p.Src, p.Dst = addr(b[8:24]), addr(b[24:40])
		p.payload(b[40:], depth)
	}
}

func (p *Packet) payload(b []byte, depth int) {
	if depth >= maxDepth {
		return
	}
	switch {
	case p.Protocol == IPIP:
		p.Inner = &Packet{}
		p.Inner.ip(b, depth+1)
	case (p.Protocol == ICMP || p.Protocol == ICMPv6) && len(b) >= 2:
		p.ICMPType, p.ICMPCode = b[0], b[1]
	case (p.Protocol == TCP || p.Protocol == UDP) && len(b) >= 8:
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		// RFC 7348 section 5: the I flag says that the VNI is valid.
		if p.Protocol == UDP && p.DstPort == vxlanPort && len(b) >= 16 && b[8]&0x08 != 0 {
			p.VNI = int(binary.BigEndian.Uint32(b[12:]) >> 8)
			p.Inner = &Packet{}
			p.Inner.ethernet(b[16:], depth+1)
		}
	}
}

func addr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b) // 4 or 16 bytes.
	return a
}
