package plan

import (
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// KindIPIP is an IPv4 packet in an IPv4 packet (RFC 2003).
const KindIPIP LinkKind = "ipip"

// RouteSourceIPIP marks routes through tunl0.
const RouteSourceIPIP RouteSource = "IPIP"

// ipipOverhead is one IPv4 header.
const ipipOverhead = 20

// ipipTunnel sends packets through the kernel's tunl0 to the next hop's own address: no neighbour and no FDB entry.
type ipipTunnel struct{}

func (ipipTunnel) kind() LinkKind             { return KindIPIP }
func (ipipTunnel) device() string             { return names.IPIPDevice }
func (ipipTunnel) carries(v4 bool) bool       { return v4 }
func (ipipTunnel) mtu(in *Input) int          { return in.V4.MTU - ipipOverhead }
func (ipipTunnel) local(in *Input) netip.Addr { return in.V4.Address }

func (t ipipTunnel) link(in *Input) (Link, string) {
	if !in.V4.Address.Is4() {
		return Link{}, fmt.Sprintf("Node %s has no IPv4 address that IPIP could use: give its Node an InternalIP that one of its interfaces has.", in.Node)
	}
	return Link{Name: t.device(), Kind: t.kind(), MTU: t.mtu(in)}, ""
}

func (ipipTunnel) way(l *Link, _ Block, remote netip.Addr, _ *node) (way, bool) {
	return way{source: RouteSourceIPIP, hop: NextHop{Via: remote, Device: l.Name, OnLink: true}}, true
}

// guards also pins the outer source address. tunl0 has none of its own, so the kernel takes the one that the route to the
// other node prefers; on an interface with several addresses that may be one by which no other node knows this one.
func (ipipTunnel) guards(in *Input, _ *Link) guards {
	return guards{
		input:  []string{"meta l4proto 4 ip saddr != @nodes4 drop"},
		pod:    []string{"meta l4proto 4 ip daddr @nodes4 drop"},
		output: []string{fmt.Sprintf("meta l4proto 4 ip daddr @nodes4 ip saddr != %s ip saddr set %s", in.V4.Address, in.V4.Address)},
	}
}
