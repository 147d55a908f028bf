package match

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// keep is how many bytes of a packet the filter lets through: all headers that are read.
const keep = 256

// fewPorts is how many ports of a Service's endpoints are tested; where there are more, the filter tests their addresses alone.
const fewPorts = 4

// BPF is a program of the kernel's packet filter that keeps the packets which pass one of the patterns, but for their fine tests. It
// is for sockets that see packets from their IP header on (packet(7), SOCK_DGRAM).
func BPF(patterns []Pattern) []unix.SockFilter {
	var program []unix.SockFilter
	var have [][]unix.SockFilter // many patterns differ in fine tests alone
	for _, p := range patterns {
		one := p.bpf()
		if !slices.ContainsFunc(have, func(h []unix.SockFilter) bool { return slices.Equal(h, one) }) {
			have = append(have, one)
			program = append(program, one...)
		}
	}
	return append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K})
}

// bpf ends with the packet kept, or behind its last instruction.
func (p Pattern) bpf() []unix.SockFilter {
	version := uint32(0x40)
	if p.V6 {
		version = 0x60
	}
	out := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xf0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: version},
	}
	for _, t := range p.Tests {
		if t.Fine {
			continue
		}
		for at := 0; at < len(t.Want); {
			size, code, want := piece(t.Want[at:])
			out = append(out,
				unix.SockFilter{Code: unix.BPF_LD | code | unix.BPF_ABS, K: uint32(t.Offset + at)},
				unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: want})
			at += size
		}
	}
	out = append(append(out, p.Ends.bpf()...), unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: keep})
	for i := range out {
		if out[i].Code == unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K && out[i].Jt == 0 {
			out[i].Jf = uint8(len(out) - i - 1) // a pattern has some thirty instructions, and one for each end
		}
	}
	return out
}

// bpf tests the last four bytes of the address, and the port, each for itself: which belong together is a fine test.
func (e Ends) bpf() []unix.SockFilter {
	if len(e.Any) == 0 {
		return nil
	}
	var addresses, ports []uint32
	for _, end := range e.Any {
		a := end.Addr().AsSlice()
		addresses = append(addresses, binary.BigEndian.Uint32(a[len(a)-4:]))
		ports = append(ports, uint32(end.Port()))
	}
	out := oneOf(unix.BPF_W, e.Address+e.Any[0].Addr().BitLen()/8-4, addresses)
	if some := distinct(ports); len(some) <= fewPorts {
		out = append(out, oneOf(unix.BPF_H, e.Port, some)...)
	}
	return out
}

// oneOf compares a field with several values. Each but the last jumps behind the last where it fits, and to the next where not.
func oneOf(code uint16, at int, values []uint32) []unix.SockFilter {
	values = distinct(values)
	out := []unix.SockFilter{{Code: unix.BPF_LD | code | unix.BPF_ABS, K: uint32(at)}}
	for i, v := range values {
		out = append(out, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: v, Jt: uint8(len(values) - 1 - i)})
	}
	return out
}

func distinct(values []uint32) []uint32 { return slices.Compact(slices.Sorted(slices.Values(values))) }

// piece is the largest piece that one instruction compares.
func piece(b []byte) (size int, code uint16, want uint32) {
	switch {
	case len(b) >= 4:
		return 4, unix.BPF_W, binary.BigEndian.Uint32(b)
	case len(b) >= 2:
		return 2, unix.BPF_H, uint32(binary.BigEndian.Uint16(b))
	}
	return 1, unix.BPF_B, uint32(b[0])
}
