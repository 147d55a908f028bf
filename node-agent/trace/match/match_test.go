package match

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// packet4 is an IPv4 packet without options around a payload.
func packet4(from, to string, protocol, ttl byte, payload []byte) []byte {
	b := make([]byte, header4, header4+len(payload))
	b[0], b[8], b[9] = plain4, ttl, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(header4+len(payload)))
	copy(b[12:], netip.MustParseAddr(from).AsSlice())
	copy(b[16:], netip.MustParseAddr(to).AsSlice())
	return append(b, payload...)
}

func ports(from, to uint16, rest ...byte) []byte {
	return append(append(two(from), two(to)...), rest...)
}

func echoMessage(kind byte, id uint16) []byte {
	return append([]byte{kind, 0, 0, 0}, append(two(id), 0, 1)...)
}

// inVXLAN is a packet as the payload of VXLAN: UDP, the VXLAN header, Ethernet.
func inVXLAN(port uint16, packet []byte) []byte {
	b := append(ports(33333, port, 0, 0, 0, 0), 8, 0, 0, 0, 0, 16, 0, 0) // VNI 4096
	return append(append(append(b, make([]byte, 12)...), 8, 0), packet...)
}

// TestPackets compares what the kernel's filter keeps with what Match says, and with what is meant.
func TestPackets(t *testing.T) {
	from, to, other := "10.0.0.1", "10.0.1.1", "10.9.9.9"
	echo := Probe{Source: netip.MustParseAddr(from), Destination: netip.MustParseAddr(to), ID: 61234}
	tcp := Probe{Source: echo.Source, Destination: echo.Destination, Protocol: TCP, ID: 61234, Port: 80}
	live := Probe{Source: echo.Source, Destination: echo.Destination, Protocol: TCP, Port: 80, Live: true}
	service := live // a Service of two endpoints, on ports that differ
	service.Destination = netip.MustParseAddr("10.96.0.1")
	service.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("10.0.1.1:8080"), netip.MustParseAddrPort("10.0.2.1:8081")}
	syn := ports(61234, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2)
	for _, c := range []struct {
		name    string
		probe   Probe
		packet  []byte
		leg     Leg
		kind    string
		outer   string
		refused bool // by the kernel's filter already
	}{
		{"the request", echo, packet4(from, to, 1, 64, echoMessage(8, 61234)), Request, "echo request", "", false},
		{"the reply", echo, packet4(to, from, 1, 64, echoMessage(0, 61234)), Reply, "echo reply", "", false},
		{"of another ping", echo, packet4(from, to, 1, 64, echoMessage(8, 61233)), "", "", "", true},
		{"of another pod", echo, packet4(other, other, 1, 64, echoMessage(8, 61234)), "", "", "", false},
		{"masqueraded", echo, packet4(other, to, 1, 63, echoMessage(8, 61234)), Request, "echo request", "", false},
		{"in IPIP", echo, packet4(other, other, 4, 64, packet4(from, to, 1, 63, echoMessage(8, 61234))), Request, "echo request", "IPIP", false},
		{"in VXLAN", echo, packet4(other, other, 17, 64, inVXLAN(4789, packet4(from, to, 1, 63, echoMessage(8, 61234)))), Request, "echo request", "VXLAN", false},
		{"in VXLAN of another port", echo, packet4(other, other, 17, 64, inVXLAN(8472, packet4(from, to, 1, 63, echoMessage(8, 61234)))), "", "", "", true},
		{"an error about it", echo, packet4(other, from, 1, 64, append([]byte{3, 4, 0, 0, 0, 0, 5, 170}, packet4(from, to, 1, 63, echoMessage(8, 61234))...)), Error, "fragmentation needed", "", false},
		{"SYN", tcp, packet4(from, to, 6, 64, syn), Request, "TCP SYN", "", false},
		{"SYN to a Service's pod", tcp, packet4(from, other, 6, 64, ports(61234, 8080, syn[4:]...)), Request, "TCP SYN", "", false},
		{"RST", tcp, packet4(to, from, 6, 64, ports(80, 61234, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 20)), Reply, "TCP RST", "", false},
		{"live", live, packet4(from, to, 6, 64, ports(40000, 80, syn[4:]...)), Request, "TCP SYN", "", false},
		{"live, to another port", live, packet4(from, to, 6, 64, ports(40000, 81, syn[4:]...)), "", "", "", true},
		{"live, to another pod", live, packet4(from, other, 6, 64, ports(40000, 80, syn[4:]...)), "", "", "", true},
		{"live, masqueraded", live, packet4(other, to, 6, 64, ports(40000, 80, syn[4:]...)), Request, "TCP SYN", "", false},
		{"to a Service", service, packet4(from, "10.96.0.1", 6, 64, ports(40000, 80, syn[4:]...)), Request, "TCP SYN", "", false},
		{"to an endpoint", service, packet4(from, "10.0.2.1", 6, 64, ports(40000, 8081, syn[4:]...)), Request, "TCP SYN", "", false},
		{"to the port of another endpoint", service, packet4(from, "10.0.2.1", 6, 64, ports(40000, 8080, syn[4:]...)), "", "", "", false},
		{"to a port of no endpoint", service, packet4(from, "10.0.2.1", 6, 64, ports(40000, 8082, syn[4:]...)), "", "", "", true},
		{"to no endpoint", service, packet4(from, "10.0.3.1", 6, 64, ports(40000, 8080, syn[4:]...)), "", "", "", true},
		{"to an endpoint in VXLAN", service, packet4(other, other, 17, 64, inVXLAN(4789, packet4(from, "10.0.2.1", 6, 63, ports(40000, 8081, syn[4:]...)))), Request, "TCP SYN", "VXLAN", false},
		{"from an endpoint", service, packet4("10.0.1.1", from, 6, 64, ports(8080, 40000, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 18)), Reply, "TCP SYN+ACK", "", false},
		{"from a Service", service, packet4("10.96.0.1", from, 6, 64, ports(80, 40000, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 18)), Reply, "TCP SYN+ACK", "", false},
		{"an error about an endpoint", service, packet4(other, from, 1, 64, append([]byte{3, 4, 0, 0, 0, 0, 5, 170}, packet4(from, "10.0.2.1", 6, 63, ports(40000, 8081, syn[4:]...))...)), Error, "fragmentation needed", "", false},
		{"to an endpoint, masqueraded", service, packet4(other, "10.0.2.1", 6, 64, ports(40000, 8081, syn[4:]...)), Request, "TCP SYN", "", false},
		{"too short", tcp, packet4(from, to, 6, 64, nil), "", "", "", true},
	} {
		patterns := c.probe.Patterns(4789)
		p, ok := Match(patterns, c.packet)
		if kept := filtered(t, patterns, c.packet); ok && !kept || kept && c.refused {
			t.Errorf("%s: the kernel's filter keeps it: %v, Match: %v", c.name, kept, ok)
		}
		if ok != (c.leg != "") || p.Leg != c.leg {
			t.Errorf("%s: leg %q, want %q", c.name, p.Leg, c.leg)
			continue
		}
		if !ok {
			continue
		}
		h := Decode(p, c.packet)
		outer := ""
		if h.Outer != nil {
			outer = h.Outer.Encapsulation
			if outer == "VXLAN" && h.Outer.VNI != 4096 {
				t.Errorf("%s: VNI %d", c.name, h.Outer.VNI)
			}
		}
		if whole := !p.Rewritten; c.probe.Live && c.leg == Request && (whole != (h.Source == c.probe.Source) || h.Flow != 40000) {
			t.Errorf("%s: the pod's own: %v, flow %d", c.name, whole, h.Flow)
		}
		if h.Kind != c.kind || outer != c.outer {
			t.Errorf("%s: kind %q in %q, want %q in %q", c.name, h.Kind, outer, c.kind, c.outer)
		}
		if c.leg == Error && h.MTU != 1450 {
			t.Errorf("%s: MTU %d, want 1450", c.name, h.MTU)
		}
	}
}

// TestFiltersAreSmall: of 20,480 bytes that a socket may have for its filter (optmem_max of Linux before 6.7), each load takes some
// eleven instructions of 8 bytes, and each comparison two.
func TestFiltersAreSmall(t *testing.T) {
	for _, ends := range [][2]string{{"10.0.0.1", "10.0.1.1"}, {"fd00::1", "fd00::2"}} {
		for _, protocol := range []Protocol{ICMP, TCP, UDP} {
			p := Probe{Source: netip.MustParseAddr(ends[0]), Destination: netip.MustParseAddr(ends[1]), Protocol: protocol, ID: 61234, Port: 80}
			for _, p.Live = range []bool{false, true} {
				if bytes := sizeOf(BPF(p.Patterns(4789))); bytes > 15_000 {
					t.Errorf("the filter for protocol %d from %s (live: %v) takes about %d bytes", protocol, ends[0], p.Live, bytes)
				}
			}
			if protocol == ICMP {
				continue
			}
			for p.Live = true; len(p.Endpoints) < 20; { // as many as an observation may have
				p.Endpoints = append(p.Endpoints, netip.AddrPortFrom(p.Destination, 8080+uint16(len(p.Endpoints)%3)))
				p.Destination = p.Destination.Next()
			}
			if bytes := sizeOf(BPF(p.Patterns(4789))); bytes > 15_000 {
				t.Errorf("the filter for protocol %d from %s to a Service takes about %d bytes", protocol, ends[0], bytes)
			}
		}
	}
}

func sizeOf(program []unix.SockFilter) int {
	bytes := 0
	for _, i := range program {
		if i.Code&7 == unix.BPF_LD {
			bytes += 11 * 8
		} else {
			bytes += 2 * 8
		}
	}
	return bytes
}

// filtered runs the kernel's filter.
func filtered(t *testing.T, patterns []Pattern, packet []byte) bool {
	t.Helper()
	var raw []bpf.RawInstruction
	for _, i := range BPF(patterns) {
		raw = append(raw, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	program, all := bpf.Disassemble(raw)
	if !all {
		t.Fatal("the filter has instructions that nobody knows")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(packet)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}
