package veth

import (
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// Numbers of linux/ip.h, linux/rtnetlink.h, linux/veth.h and linux/neighbour.h that the libraries lack.
const (
	devconfForwarding, devconfProxyARP, devconfRPFilter = 1, 3, 8

	skipStats   = 1 << 3 // RTEXT_FILTER_SKIP_STATS
	vethPeer    = 1      // VETH_INFO_PEER
	addrGenEUI  = 0      // IN6_ADDR_GEN_MODE_EUI64
	tableName   = 1      // NDTA_NAME
	tableParms  = 6      // NDTA_PARMS
	parmIfindex = 1      // NDTPA_IFINDEX
	parmDelay   = 13     // NDTPA_PROXY_DELAY
)

// raw is a fixed header or an encoded attribute.
type raw []byte

func (r raw) Len() int          { return len(r) }
func (r raw) Serialize() []byte { return r }

func linkHeader(index int, flags, change uint32) raw {
	b := make([]byte, unix.SizeofIfInfomsg)
	order.PutUint32(b[4:], uint32(int32(index)))
	order.PutUint32(b[8:], flags)
	order.PutUint32(b[12:], change)
	return b
}

func nested(kind int, children ...*nl.RtAttr) *nl.RtAttr {
	a := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	for _, c := range children {
		a.AddChild(c)
	}
	return a
}

// ip link add NAME group MAKING mtu MTU address HOSTMAC type veth peer name IFNAME address MAC mtu MTU netns FD
func (b *batch) newPair(s Spec, ns int) {
	mtu := nl.Uint32Attr(uint32(s.MTU))
	peer := nl.NewRtAttr(vethPeer|unix.NLA_F_NESTED, nil)
	peer.AddChild(nl.NewIfInfomsg(unix.AF_UNSPEC))
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(s.ContainerInterface))
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(ns)))
	if s.MTU > 0 {
		peer.AddRtAttr(unix.IFLA_MTU, mtu)
	}
	if s.MAC != nil {
		peer.AddRtAttr(unix.IFLA_ADDRESS, s.MAC)
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO|unix.NLA_F_NESTED, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, []byte("veth"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA|unix.NLA_F_NESTED, nil)
	data.AddChild(peer)
	request := []nl.NetlinkRequestData{
		linkHeader(0, 0, 0), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(s.HostInterface)),
		nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(names.MakingGroup)), nl.NewRtAttr(unix.IFLA_ADDRESS, names.HostMAC),
	}
	if s.MTU > 0 {
		request = append(request, nl.NewRtAttr(unix.IFLA_MTU, mtu))
	}
	b.add(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, append(request, info)...)
}

// ip link show NAME
func (b *batch) getLink(name string) {
	b.add(unix.RTM_GETLINK, 0, linkHeader(0, 0, 0), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)),
		nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
}

// ip link del dev INDEX
func (b *batch) deleteLink(index int) { b.add(unix.RTM_DELLINK, 0, linkHeader(index, 0, 0)) }

// ip link set dev INDEX up
func (b *batch) linkUp(index int) {
	b.add(unix.RTM_SETLINK, 0, linkHeader(index, unix.IFF_UP, unix.IFF_UP))
}

// ip link set dev NAME group GROUP; the name in the request saves asking for the index
func (b *batch) setGroup(name string, group uint32) {
	b.add(unix.RTM_SETLINK, 0, linkHeader(0, 0, 0), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)),
		nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
}

// configureHost sets the alias, and what else has its place in /proc/sys/net: the host end answers ARP for every address
// (the pod's gateway has no owner), drops packets from addresses that are not routed back to it, forwards, and makes its
// link-local address from its MAC.
func (b *batch) configureHost(s Spec) {
	value := func(id int, v uint32) *nl.RtAttr { return nl.NewRtAttr(id, nl.Uint32Attr(v)) }
	families := []*nl.RtAttr{nested(unix.AF_INET, nested(unix.IFLA_INET_CONF,
		value(devconfForwarding, 1), value(devconfProxyARP, 1), value(devconfRPFilter, 1)))}
	if s.hasIPv6() {
		families = append(families, nested(unix.AF_INET6, nl.NewRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{addrGenEUI})))
	}
	b.add(unix.RTM_SETLINK, 0, linkHeader(0, 0, 0), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(s.HostInterface)),
		nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(s.Alias.String())), nested(unix.IFLA_AF_SPEC, families...))
}

// ip ntable change name arp_cache dev INDEX proxy_delay 0: the gateway answers at once
func (b *batch) noProxyDelay(index int) {
	header := raw{unix.AF_INET, 0, 0, 0}
	b.add(unix.RTM_SETNEIGHTBL, 0, header, nl.NewRtAttr(tableName, nl.ZeroTerminated("arp_cache")),
		nested(tableParms, nl.NewRtAttr(parmIfindex, nl.Uint32Attr(uint32(index))), nl.NewRtAttr(parmDelay, nl.Uint64Attr(0))))
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func routeHeader(a netip.Addr, bits int, protocol, scope byte) raw {
	return raw{family(a), byte(bits), 0, 0, unix.RT_TABLE_MAIN, protocol, scope, unix.RTN_UNICAST, 0, 0, 0, 0}
}

// ip route replace ADDRESS dev INDEX proto OURS scope link
func (b *batch) hostRoute(a netip.Addr, index int) {
	scope := byte(unix.RT_SCOPE_LINK)
	if a.Is6() {
		scope = unix.RT_SCOPE_UNIVERSE // IPv6 routes have no scope
	}
	b.add(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, routeHeader(a, a.BitLen(), names.RouteProtocol, scope),
		nl.NewRtAttr(unix.RTA_DST, a.AsSlice()), nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
}

// ip addr replace ADDRESS dev INDEX nodad: the address book knows that nobody else has it
func (b *batch) address(a netip.Addr, index int) {
	flags := byte(0)
	if a.Is6() {
		flags = unix.IFA_F_NODAD
	}
	header := raw{family(a), byte(a.BitLen()), flags, unix.RT_SCOPE_UNIVERSE, 0, 0, 0, 0}
	order.PutUint32(header[4:], uint32(index))
	b.add(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, header,
		nl.NewRtAttr(unix.IFA_LOCAL, a.AsSlice()), nl.NewRtAttr(unix.IFA_ADDRESS, a.AsSlice()))
}

// ip route add 169.254.1.1 dev INDEX scope link; ip route add default via 169.254.1.1. It returns each route's gateway.
func (b *batch) defaultRoute(a netip.Addr, index int) (gateways []netip.Addr) {
	gateway := names.GatewayV6
	out := nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index)))
	if a.Is4() {
		gateway = names.GatewayV4
		b.add(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, routeHeader(a, gateway.BitLen(), unix.RTPROT_BOOT, unix.RT_SCOPE_LINK),
			nl.NewRtAttr(unix.RTA_DST, gateway.AsSlice()), out)
		gateways = append(gateways, gateway)
	}
	b.add(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, routeHeader(a, 0, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE),
		nl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice()), out)
	return append(gateways, gateway)
}
