package match

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Protocol is a protocol number that a probe can have for both families.
type Protocol int

// What can be sent.
const (
	ICMP Protocol = iota
	TCP
	UDP
)

// Probe is a packet that is sent once or twice, and what answers it.
type Probe struct {
	Source, Destination netip.Addr
	Protocol            Protocol
	// ID is the source port of TCP and UDP, and the identifier of ICMP. Port is the destination port.
	ID, Port uint16
	// Live is about all packets between the two, whatever their ID is.
	Live bool
	// Endpoints are those of a Service that Destination and Port are of: a live packet may be between the source and one of them.
	Endpoints []netip.AddrPort
}

// Leg says on which way a packet is.
type Leg string

// The ways.
const (
	Request Leg = "Request"
	Reply   Leg = "Reply"
	Error   Leg = "Error" // ICMP about a request
)

// Test says which bytes stand at an offset of the IP packet.
type Test struct {
	Offset int
	Want   []byte
	// Fine is a test that the kernel's packet filter leaves to Match: those that are not fine let hardly any other packet pass, and
	// Linux before 6.7 takes filters of 20 KiB at most (optmem_max).
	Fine bool
}

// fine makes tests fine.
func fine(tests []Test) []Test {
	for i := range tests {
		tests[i].Fine = true
	}
	return tests
}

// Pattern is a conjunction of tests that one kind of packet passes.
type Pattern struct {
	Leg Leg
	// V6 is the family of the outermost header.
	V6 bool
	// Inner is where the probe's own header begins: 0, or behind the headers of a tunnel.
	Inner int
	// Flow is where the packet's ID stands.
	Flow int
	// Rewritten packets lack one of the two addresses, so that they may be those of another pod. Where the ID is not tested, one that is
	// known by other packets must be.
	Rewritten bool
	Tests     []Test
	// Ends tests the packet's other end where it is one of several; its zero value tests nothing.
	Ends Ends
}

// Ends is an address and a port that are together one of several.
type Ends struct {
	Address, Port int // offsets in the IP packet
	Any           []netip.AddrPort
}

// Numbers of protocols and fields (IANA; RFC 791, 792, 4443, 7348, 8200).
const (
	protoICMP, protoIPIP, protoTCP, protoUDP, protoICMPv6 = 1, 4, 6, 17, 58

	header4, header6 = 20, 40
	udpHeader        = 8
	vxlanHeaders     = udpHeader + 8 + 14 // UDP, VXLAN, Ethernet
	plain4           = 0x45               // version 4, a header of 20 bytes: neither probes nor tunnels have options
)

func (p Probe) v6() bool { return p.Destination.Is6() }

func (p Probe) number() byte {
	switch p.Protocol {
	case TCP:
		return protoTCP
	case UDP:
		return protoUDP
	case ICMP:
	}
	if p.v6() {
		return protoICMPv6
	}
	return protoICMP
}

// layer is what may be around the probe's packet.
type layer struct {
	v6    bool
	inner int
	tests []Test
}

// layers are no tunnel, IPIP, and VXLAN over both families.
func (p Probe) layers(vxlanPort uint16) []layer {
	etherType := []byte{0x08, 0x00}
	if p.v6() {
		etherType = []byte{0x86, 0xdd}
	}
	out := []layer{{v6: p.v6()}}
	if !p.v6() {
		out = append(out, layer{inner: header4, tests: []Test{is(0, plain4), is(9, protoIPIP)}})
	}
	return append(out,
		layer{inner: header4 + vxlanHeaders, tests: []Test{
			is(0, plain4), is(9, protoUDP), is(header4+2, two(vxlanPort)...), is(header4+vxlanHeaders-2, etherType...)}},
		layer{v6: true, inner: header6 + vxlanHeaders, tests: []Test{
			is(6, protoUDP), is(header6+2, two(vxlanPort)...), is(header6+vxlanHeaders-2, etherType...)}})
}

// Patterns are all packets of the probe: as the pod sends it and after its source or destination was rewritten, each in any tunnel.
func (p Probe) Patterns(vxlanPort uint16) []Pattern {
	var out []Pattern
	for _, l := range p.layers(vxlanPort) {
		var ends Ends
		add := func(leg Leg, flow int, rewritten bool, tests ...[]Test) {
			pattern := Pattern{Leg: leg, V6: l.v6, Inner: l.inner, Flow: flow, Rewritten: rewritten, Tests: slices.Concat(append([][]Test{l.tests}, tests...)...), Ends: ends}
			out = append(out, pattern)
		}
		at := p.header(l.inner)
		there, back := p.flow(at.payload, Request), p.flow(at.payload, Reply)
		whole, half := p.ends(at.from(p.Source), at.to(p.Destination))
		ends = p.anyOf(at.destination, at.payload+2)
		add(Request, there, false, at.is(p.number()), whole, p.request(at.payload, p.Live))
		add(Request, there, true, at.is(p.number()), half, p.request(at.payload, true))
		whole, half = p.ends(at.to(p.Source), at.from(p.Destination))
		ends = p.anyOf(at.source, at.payload)
		add(Reply, back, false, at.is(p.number()), whole, p.reply(at.payload, p.Live))
		add(Reply, back, true, at.is(p.number()), half, p.reply(at.payload, true))
		quoted := p.header(at.payload + 8)
		there = p.flow(quoted.payload, Request)
		whole, half = p.ends(quoted.from(p.Source), quoted.to(p.Destination))
		ends = p.anyOf(quoted.destination, quoted.payload+2)
		for _, kind := range p.errors() {
			is := append(at.is(p.icmp()), fine([]Test{is(at.payload, kind)})...)
			add(Error, there, false, is, quoted.is(p.number()), whole, p.request(quoted.payload, p.Live))
			add(Error, there, true, is, quoted.is(p.number()), half, p.request(quoted.payload, true))
		}
	}
	return out
}

// ends are the addresses of a packet as it was sent, and of one of which the source's address may be rewritten. Where no ID is known,
// both addresses count, and the kernel's packet filter tests the destination's. That of a Service is tested by anyOf.
func (p Probe) ends(source, destination []Test) (whole, half []Test) {
	if !p.Live {
		return source, destination
	}
	if len(p.Endpoints) > 0 {
		return source, nil
	}
	for i := range destination {
		destination[i].Fine = false
	}
	return slices.Concat(source, destination), destination
}

// anyOf tests that an address and a port are those of the Service or of one of its endpoints.
func (p Probe) anyOf(address, port int) Ends {
	if len(p.Endpoints) == 0 {
		return Ends{}
	}
	return Ends{Address: address, Port: port, Any: append([]netip.AddrPort{netip.AddrPortFrom(p.Destination, p.Port)}, p.Endpoints...)}
}

// flow is where the ID stands behind an IP header.
func (p Probe) flow(payload int, leg Leg) int {
	switch {
	case p.Protocol == ICMP:
		return payload + 4
	case leg == Reply:
		return payload + 2
	}
	return payload
}

// position is where the fields of an IP header are.
type position struct {
	first, protocol, source, destination, payload int
	v6                                            bool
}

func (p Probe) header(at int) position {
	if p.v6() {
		return position{at, at + 6, at + 8, at + 24, at + header6, true}
	}
	return position{at, at + 9, at + 12, at + 16, at + header4, false}
}

func (h position) is(protocol byte) []Test {
	if h.v6 {
		return []Test{is(h.protocol, protocol)}
	}
	return []Test{is(h.first, plain4), is(h.protocol, protocol)}
}

func (h position) from(a netip.Addr) []Test { return fine([]Test{is(h.source, a.AsSlice()...)}) }
func (h position) to(a netip.Addr) []Test   { return fine([]Test{is(h.destination, a.AsSlice()...)}) }

func is(offset int, want ...byte) Test { return Test{Offset: offset, Want: want} }

// request tests the payload. withPort asks for the destination's port too, which a Service's packet keeps only until its address is
// rewritten.
func (p Probe) request(at int, withPort bool) []Test {
	return p.payload(at, Request, at+2, p.echo(true), withPort)
}

func (p Probe) reply(at int, withPort bool) []Test {
	return p.payload(at, Reply, at, p.echo(false), withPort)
}

func (p Probe) payload(at int, leg Leg, port int, echo byte, withPort bool) []Test {
	var out []Test
	if p.Protocol == ICMP {
		out = append(out, Test{Offset: at, Want: []byte{echo}, Fine: !p.Live})
	} else if withPort && len(p.Endpoints) == 0 {
		out = append(out, Test{Offset: port, Want: two(p.Port), Fine: !p.Live})
	}
	if !p.Live {
		out = append(out, is(p.flow(at, leg), two(p.ID)...))
	}
	return out
}

func (p Probe) icmp() byte {
	if p.v6() {
		return protoICMPv6
	}
	return protoICMP
}

func (p Probe) echo(request bool) byte {
	switch {
	case p.v6() && request:
		return 128
	case p.v6():
		return 129
	case request:
		return 8
	}
	return 0
}

// errors are the ICMP types that tell why a packet went no further: unreachable, too big, time exceeded, parameter problem.
func (p Probe) errors() []byte {
	if p.v6() {
		return []byte{1, 2, 3, 4}
	}
	return []byte{3, 11, 12}
}

func two(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// Match returns the pattern that an IP packet passes.
func Match(patterns []Pattern, packet []byte) (Pattern, bool) {
	for _, p := range patterns {
		if p.match(packet) {
			return p, true
		}
	}
	return Pattern{}, false
}

func (p Pattern) match(packet []byte) bool {
	if len(packet) == 0 || (packet[0]>>4 == 6) != p.V6 {
		return false
	}
	for _, t := range p.Tests {
		if len(packet) < t.Offset+len(t.Want) || string(packet[t.Offset:t.Offset+len(t.Want)]) != string(t.Want) {
			return false
		}
	}
	return p.Ends.match(packet)
}

func (e Ends) match(packet []byte) bool {
	if len(e.Any) == 0 {
		return true
	}
	end := netip.AddrPortFrom(address(packet, e.Address, e.Any[0].Addr().BitLen()/8), uint16(field(packet, e.Port, 2)))
	return slices.Contains(e.Any, end)
}
