package linux

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// rtaNextHopID is RTA_NH_ID of linux/rtnetlink.h.
const rtaNextHopID = 30

// hop is a next hop as the kernel has it.
type hop struct {
	via    netip.Addr
	link   int32
	onLink bool
}

// route is all that we compare of a route of the main table besides its destination. It is a value: equal routes are ==.
type route struct {
	protocol uint8
	kind     uint8 // RTN_UNICAST or RTN_BLACKHOLE
	scope    uint8
	odd      bool // has something that we never set
	metric   uint32
	hop      hop
	more     string // further next hops, packed
}

// defaultMetric is what the kernel makes of no metric (IP6_RT_PRIO_USER).
func defaultMetric(dst netip.Prefix) uint32 {
	if dst.Addr().Is6() {
		return 1024
	}
	return 0
}

func ours(protocol uint8) bool {
	return protocol == names.RouteProtocol || protocol == names.BGPRouteProtocol
}

func (r route) uses(link int32) bool {
	if r.hop.link == link {
		return true
	}
	for _, h := range unpackHops(r.more) {
		if h.link == link {
			return true
		}
	}
	return false
}

// decodeRoute reads a struct rtmsg with its attributes. It reports false for what is not in the main table.
func decodeRoute(body []byte) (netip.Prefix, route, bool) {
	if len(body) < unix.SizeofRtMsg {
		return netip.Prefix{}, route{}, false
	}
	var (
		family, bits, table = body[0], int(body[1]), uint32(body[4])
		r                   = route{protocol: body[5], scope: body[6], kind: body[7], odd: body[2] != 0 || body[3] != 0}
		dst                 = netip.IPv4Unspecified()
		hops                []hop
	)
	if family == unix.AF_INET6 {
		dst, r.scope = netip.IPv6Unspecified(), 0
	} else if family != unix.AF_INET {
		return netip.Prefix{}, route{}, false
	}
	for kind, value := range attributes(body[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(value)
		case unix.RTA_OIF:
			r.hop.link = int32(word(value))
		case unix.RTA_GATEWAY:
			r.hop.via, _ = netip.AddrFromSlice(value)
		case unix.RTA_PRIORITY:
			r.metric = word(value)
		case unix.RTA_TABLE:
			table = word(value)
		case unix.RTA_MULTIPATH:
			hops = decodeHops(value)
		case unix.RTA_PREFSRC, unix.RTA_METRICS, unix.RTA_VIA, rtaNextHopID, unix.RTA_ENCAP:
			r.odd = true
		}
	}
	r.hop.onLink = order.Uint32(body[8:])&unix.RTNH_F_ONLINK != 0
	if r.kind != unix.RTN_UNICAST {
		r.hop = hop{} // IPv6 shows lo
	}
	if len(hops) > 0 {
		sortHops(hops)
		r.hop, r.more = hops[0], packHops(hops[1:])
	}
	p := netip.PrefixFrom(dst, bits)
	return p, r, table == unix.RT_TABLE_MAIN && p.IsValid()
}

func decodeHops(data []byte) []hop {
	var hops []hop
	for len(data) >= 8 {
		size := int(order.Uint16(data))
		if size < 8 || size > len(data) {
			break
		}
		h := hop{link: int32(order.Uint32(data[4:])), onLink: data[2]&unix.RTNH_F_ONLINK != 0}
		for kind, value := range attributes(data[8:size]) {
			if kind == unix.RTA_GATEWAY {
				h.via, _ = netip.AddrFromSlice(value)
			}
		}
		hops = append(hops, h)
		data = data[min(align(size), len(data)):]
	}
	return hops
}

func sortHops(hops []hop) {
	slices.SortFunc(hops, func(a, b hop) int {
		if c := a.via.Compare(b.via); c != 0 {
			return c
		}
		return int(a.link) - int(b.link)
	})
}

func word(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return order.Uint32(value)
}
