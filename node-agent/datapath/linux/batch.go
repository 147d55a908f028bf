package linux

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"
)

// batch is a row of netlink requests in one buffer.
type batch struct {
	buf    []byte
	starts []int
}

func (b *batch) begin(kind uint16, flags int) {
	b.starts = append(b.starts, len(b.buf))
	b.buf = append(b.buf, make([]byte, unix.NLMSG_HDRLEN)...)
	h := b.buf[b.start():]
	order.PutUint16(h[4:], kind)
	order.PutUint16(h[6:], uint16(unix.NLM_F_REQUEST|flags))
}

func (b *batch) start() int { return b.starts[len(b.starts)-1] }

func (b *batch) end() { order.PutUint32(b.buf[b.start():], uint32(len(b.buf)-b.start())) }

// attr appends one attribute with its padding.
func (b *batch) attr(kind uint16, value []byte) {
	b.buf = order.AppendUint16(b.buf, uint16(4+len(value)))
	b.buf = order.AppendUint16(b.buf, kind)
	b.buf = append(b.buf, value...)
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

func (b *batch) attr32(kind uint16, value uint32) { b.attr(kind, order.AppendUint32(nil, value)) }

// route appends a request about a route of the main table.
func (b *batch) route(kind uint16, flags int, dst netip.Prefix, r route) {
	b.begin(kind, flags|unix.NLM_F_ACK)
	scope, rtFlags := r.scope, uint32(0)
	if kind == unix.RTM_DELROUTE && dst.Addr().Is4() {
		scope = unix.RT_SCOPE_NOWHERE
	}
	if r.hop.onLink {
		rtFlags = unix.RTNH_F_ONLINK
	}
	b.buf = append(b.buf, familyOf(dst.Addr()), byte(dst.Bits()), 0, 0, unix.RT_TABLE_MAIN, r.protocol, scope, r.kind)
	b.buf = order.AppendUint32(b.buf, rtFlags)
	b.attr(unix.RTA_DST, dst.Addr().AsSlice())
	if r.metric != 0 {
		b.attr32(unix.RTA_PRIORITY, r.metric)
	}
	if r.more == "" {
		if r.hop.via.IsValid() {
			b.attr(unix.RTA_GATEWAY, r.hop.via.AsSlice())
		}
		if r.hop.link != 0 {
			b.attr32(unix.RTA_OIF, uint32(r.hop.link))
		}
	} else {
		b.attr(unix.RTA_MULTIPATH, multipath(r))
	}
	b.end()
}

// multipath encodes next hops as rtnetlink(7)'s struct rtnexthop.
func multipath(r route) []byte {
	var m batch
	for _, h := range append([]hop{r.hop}, unpackHops(r.more)...) {
		start, flags := len(m.buf), byte(0)
		if h.onLink {
			flags = unix.RTNH_F_ONLINK
		}
		m.buf = append(m.buf, 0, 0, flags, 0)
		m.buf = order.AppendUint32(m.buf, uint32(h.link))
		if h.via.IsValid() {
			m.attr(unix.RTA_GATEWAY, h.via.AsSlice())
		}
		order.PutUint16(m.buf[start:], uint16(len(m.buf)-start))
	}
	return m.buf
}

// neighbour appends a request about a neighbour, or about an FDB entry if family is AF_BRIDGE (struct ndmsg).
func (b *batch) neighbour(kind uint16, flags int, family byte, link int32, ndFlags byte, dst netip.Addr, mac []byte) {
	b.begin(kind, flags|unix.NLM_F_ACK)
	b.buf = append(b.buf, family, 0, 0, 0)
	b.buf = order.AppendUint32(b.buf, uint32(link))
	b.buf = order.AppendUint16(b.buf, unix.NUD_PERMANENT)
	b.buf = append(b.buf, ndFlags, 0)
	b.attr(unix.NDA_DST, dst.AsSlice())
	if mac != nil {
		b.attr(unix.NDA_LLADDR, mac)
	}
	b.end()
}

// address appends a request about an address of a tunnel link, marked as ours.
func (b *batch) address(kind uint16, flags int, link int32, p netip.Prefix) {
	b.begin(kind, flags|unix.NLM_F_ACK)
	ifaFlags := byte(unix.IFA_F_PERMANENT)
	if p.Addr().Is6() {
		ifaFlags |= unix.IFA_F_NODAD
	}
	b.buf = append(b.buf, familyOf(p.Addr()), byte(p.Bits()), ifaFlags, unix.RT_SCOPE_UNIVERSE)
	b.buf = order.AppendUint32(b.buf, uint32(link))
	b.attr(unix.IFA_LOCAL, p.Addr().AsSlice())
	b.attr(unix.IFA_ADDRESS, p.Addr().AsSlice())
	if kind == unix.RTM_NEWADDR {
		b.attr(ifaProto, []byte{ourAddressProtocol})
	}
	b.end()
}

// attributes walks over netlink attributes, and stops at the first malformed one.
func attributes(data []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(data) >= 4 {
			size := int(order.Uint16(data))
			if size < 4 || size > len(data) || !yield(order.Uint16(data[2:])&0x3fff, data[4:size]) {
				return
			}
			data = data[min(align(size), len(data)):]
		}
	}
}

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// packHops and unpackHops turn next hops into a comparable value and back.
func packHops(hops []hop) string {
	var b []byte
	for _, h := range hops {
		a := h.via.As16()
		b = append(b, a[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(h.link))
		flags := byte(0)
		if h.onLink {
			flags |= 1
		}
		if h.via.Is4() {
			flags |= 2
		}
		b = append(b, flags)
	}
	return string(b)
}

func unpackHops(s string) []hop {
	var hops []hop
	for ; len(s) >= 21; s = s[21:] {
		h := hop{via: netip.AddrFrom16([16]byte([]byte(s[:16]))), link: int32(binary.BigEndian.Uint32([]byte(s[16:20]))), onLink: s[20]&1 != 0}
		if s[20]&2 != 0 {
			h.via = h.via.Unmap()
		}
		hops = append(hops, h)
	}
	return hops
}
