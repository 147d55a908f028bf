package match

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Header is what is told of a packet.
type Header struct {
	Source, Destination netip.Addr
	// SourcePort and DestinationPort are 0 for ICMP.
	SourcePort, DestinationPort uint16
	// Flow is the ID: the source port of the request, or the identifier of ICMP.
	Flow uint16
	// Kind says what the packet is.
	Kind   string
	TTL    int
	Length int
	// MTU is what an ICMP error says that fits; 0 for all else.
	MTU int
	// Outer is the tunnel's header; nil without a tunnel.
	Outer *Outer
}

// Outer is the header of a tunnel.
type Outer struct {
	Encapsulation       string
	Source, Destination netip.Addr
	TTL, VNI            int
}

// Decode reads a packet that has passed a pattern.
func Decode(p Pattern, packet []byte) Header {
	h := headerAt(packet, p.Inner)
	h.Flow = uint16(field(packet, p.Flow, 2))
	if p.Inner == 0 {
		return h
	}
	outer := headerAt(packet, 0)
	h.Outer = &Outer{Encapsulation: "IPIP", Source: outer.Source, Destination: outer.Destination, TTL: outer.TTL}
	if p.Inner > header4 {
		h.Outer.Encapsulation = "VXLAN"
		h.Outer.VNI = int(field(packet, p.Inner-18, 4) >> 8)
	}
	return h
}

// field is a number of up to four bytes; 0 where the packet is shorter.
func field(b []byte, at, size int) uint32 {
	if len(b) < at+size {
		return 0
	}
	var word [4]byte
	copy(word[4-size:], b[at:at+size])
	return binary.BigEndian.Uint32(word[:])
}

func address(b []byte, at, size int) netip.Addr {
	if len(b) < at+size {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(b[at : at+size]) // 4 or 16 bytes
	return a
}

func headerAt(b []byte, at int) Header {
	var h Header
	var protocol uint32
	payload := at + header4
	if field(b, at, 1)>>4 == 6 {
		payload = at + header6
		protocol, h.TTL, h.Length = field(b, at+6, 1), int(field(b, at+7, 1)), int(field(b, at+4, 2))+header6
		h.Source, h.Destination = address(b, at+8, 16), address(b, at+24, 16)
	} else {
		protocol, h.TTL, h.Length = field(b, at+9, 1), int(field(b, at+8, 1)), int(field(b, at+2, 2))
		h.Source, h.Destination = address(b, at+12, 4), address(b, at+16, 4)
	}
	switch protocol {
	case protoTCP:
		h.SourcePort, h.DestinationPort = uint16(field(b, payload, 2)), uint16(field(b, payload+2, 2))
		h.Kind = tcpKind(field(b, payload+13, 1))
	case protoUDP:
		h.SourcePort, h.DestinationPort = uint16(field(b, payload, 2)), uint16(field(b, payload+2, 2))
		h.Kind = "UDP"
	case protoICMP, protoICMPv6:
		kind, code := field(b, payload, 1), field(b, payload+1, 1)
		h.Kind = icmpKind(protocol == protoICMPv6, kind, code)
		switch {
		case protocol == protoICMP && kind == 3 && code == 4:
			h.MTU = int(field(b, payload+6, 2))
		case protocol == protoICMPv6 && kind == 2:
			h.MTU = int(field(b, payload+4, 4))
		}
	}
	return h
}

func tcpKind(flags uint32) string {
	const fin, syn, rst, ack = 1, 2, 4, 16
	switch {
	case flags&rst != 0:
		return "TCP RST"
	case flags&syn != 0 && flags&ack != 0:
		return "TCP SYN+ACK"
	case flags&syn != 0:
		return "TCP SYN"
	case flags&fin != 0:
		return "TCP FIN"
	}
	return "TCP ACK"
}

// icmpWords name what types and codes mean (RFC 792, 1812, 4443).
var icmpWords = map[[3]uint32]string{
	{4, 8, 0}: "echo request", {4, 0, 0}: "echo reply", {6, 128, 0}: "echo request", {6, 129, 0}: "echo reply",
	{4, 3, 0}: "network unreachable", {4, 3, 1}: "host unreachable", {4, 3, 3}: "port unreachable", {4, 3, 4}: "fragmentation needed",
	{4, 3, 9}: "network prohibited", {4, 3, 10}: "host prohibited", {4, 3, 13}: "communication prohibited", {4, 11, 0}: "TTL exceeded",
	{6, 1, 0}: "no route", {6, 1, 1}: "communication prohibited", {6, 1, 3}: "address unreachable", {6, 1, 4}: "port unreachable",
	{6, 1, 5}: "source address prohibited", {6, 1, 6}: "route rejected", {6, 2, 0}: "packet too big", {6, 3, 0}: "hop limit exceeded",
}

func icmpKind(v6 bool, kind, code uint32) string {
	family := uint32(4)
	if v6 {
		family = 6
	}
	if word := icmpWords[[3]uint32{family, kind, code}]; word != "" {
		return word
	}
	return fmt.Sprintf("ICMP type %d code %d", kind, code)
}
