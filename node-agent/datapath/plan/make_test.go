package plan

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

const (
	none       = v1alpha1.EncapsulationNone
	ipip       = v1alpha1.EncapsulationIPIP
	ipipCross  = v1alpha1.EncapsulationIPIPCrossSubnet
	vxlan      = v1alpha1.EncapsulationVXLAN
	vxlanCross = v1alpha1.EncapsulationVXLANCrossSubnet
)

var (
	pfx  = netip.MustParsePrefix
	addr = netip.MustParseAddr
)

func block(cidr, pool, node string, created int64, nodeAddresses ...string) *Block {
	b := &Block{CIDR: pfx(cidr), Pool: pool, Node: node, Created: time.Unix(created, 0)}
	for _, a := range nodeAddresses {
		b.NodeAddresses = append(b.NodeAddresses, addr(a))
	}
	return b
}

// cluster is node a with a neighbour b in its subnet and c in another, and a pool of each family.
func cluster(e4, e6 v1alpha1.Encapsulation) Input {
	in := Input{
		Node:         "a",
		V4:           Underlay{Address: addr("192.168.0.1"), Subnet: pfx("192.168.0.0/24"), Interface: "eth0", MTU: 1500},
		Capabilities: Everything(),
		Pools:        []Pool{{Name: "four", CIDR: pfx("10.0.0.0/16"), Encapsulation: e4, Settled: true}},
		Blocks: []*Block{
			block("10.0.0.0/26", "four", "a", 1, "192.168.0.1", "fd01::1"),
			block("10.0.1.0/26", "four", "b", 1, "192.168.0.2", "fd01::2"),
			block("10.0.2.0/26", "four", "c", 1, "192.168.1.3", "fd02::3"),
		},
		Endpoints: []Endpoint{{Interface: "cw1", Addresses: []netip.Addr{addr("10.0.0.1")}, Pools: []string{"four"}, Ready: true}},
	}
	if e6 != "" {
		in.V6 = Underlay{Address: addr("fd01::1"), Subnet: pfx("fd01::/64"), Interface: "eth0", MTU: 1500}
		in.Pools = append(in.Pools, Pool{Name: "six", CIDR: pfx("fd00::/48"), Encapsulation: e6, Settled: true})
		in.Blocks = append(in.Blocks,
			block("fd00::/122", "six", "a", 1, "192.168.0.1", "fd01::1"),
			block("fd00::40/122", "six", "b", 1, "192.168.0.2", "fd01::2"),
			block("fd00::80/122", "six", "c", 1, "192.168.1.3", "fd02::3"))
	}
	return in
}

var (
	macB, macC = names.VTEPMAC("b"), names.VTEPMAC("c")
	llB, llC   = linkLocal(macB).String(), linkLocal(macC).String()
)

const vxlanLink = "link vxlan.cw mtu 1450 up vxlan id 4096 local 192.168.0.1 dev eth0 dstport 4789 nolearning address "

func TestModes(t *testing.T) {
	own := []string{"blackhole 10.0.0.0/26 proto 202", "10.0.0.1 dev cw1 proto 202 scope link"}
	own6 := append(slices.Clone(own), "blackhole fd00::/122 proto 202")
	for _, c := range []struct {
		name   string
		in     func(*Input)
		e4, e6 v1alpha1.Encapsulation
		want   []string
	}{
		{name: "None", e4: none, want: append(own, "10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202")},
		{name: "IPIP", e4: ipip, want: append(own,
			"link tunl0 mtu 1480 up ipip", "address 10.0.0.0/32 dev tunl0",
			"10.0.1.0/26 via 192.168.0.2 dev tunl0 onlink proto 202", "10.0.2.0/26 via 192.168.1.3 dev tunl0 onlink proto 202")},
		{name: "IPIPCrossSubnet", e4: ipipCross, want: append(own,
			"link tunl0 mtu 1480 up ipip", "address 10.0.0.0/32 dev tunl0",
			"10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202", "10.0.2.0/26 via 192.168.1.3 dev tunl0 onlink proto 202")},
		{name: "VXLAN", e4: vxlan, want: append(own,
			vxlanLink+names.VTEPMAC("a").String(), "address 10.0.0.0/32 dev vxlan.cw",
			"neigh 10.0.1.0 dev vxlan.cw lladdr "+macB.String()+" PERMANENT", "neigh 10.0.2.0 dev vxlan.cw lladdr "+macC.String()+" PERMANENT",
			"fdb "+macB.String()+" dev vxlan.cw dst 192.168.0.2 self permanent", "fdb "+macC.String()+" dev vxlan.cw dst 192.168.1.3 self permanent",
			"10.0.1.0/26 via 10.0.1.0 dev vxlan.cw onlink proto 202", "10.0.2.0/26 via 10.0.2.0 dev vxlan.cw onlink proto 202")},
		{name: "VXLANCrossSubnet", e4: vxlanCross, want: append(own,
			vxlanLink+names.VTEPMAC("a").String(), "address 10.0.0.0/32 dev vxlan.cw",
			"neigh 10.0.2.0 dev vxlan.cw lladdr "+macC.String()+" PERMANENT", "fdb "+macC.String()+" dev vxlan.cw dst 192.168.1.3 self permanent",
			"10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202", "10.0.2.0/26 via 10.0.2.0 dev vxlan.cw onlink proto 202")},
		{name: "dual stack, None and VXLANCrossSubnet", e4: none, e6: vxlanCross, want: append(own6,
			vxlanLink+names.VTEPMAC("a").String(), "address fd00::/128 dev vxlan.cw",
			"neigh "+llC+" dev vxlan.cw lladdr "+macC.String()+" PERMANENT", "fdb "+macC.String()+" dev vxlan.cw dst 192.168.1.3 self permanent",
			"10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202",
			"fd00::40/122 via fd01::2 dev eth0 proto 202", "fd00::80/122 via "+llC+" dev vxlan.cw proto 202")},
		{name: "IPv6 pool over an IPv4 underlay", e4: none, e6: vxlanCross, in: func(in *Input) { in.V6 = Underlay{} }, want: append(own6,
			vxlanLink+names.VTEPMAC("a").String(), "address fd00::/128 dev vxlan.cw",
			"neigh "+llB+" dev vxlan.cw lladdr "+macB.String()+" PERMANENT", "neigh "+llC+" dev vxlan.cw lladdr "+macC.String()+" PERMANENT",
			"fdb "+macB.String()+" dev vxlan.cw dst 192.168.0.2 self permanent", "fdb "+macC.String()+" dev vxlan.cw dst 192.168.1.3 self permanent",
			"10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202",
			"fd00::40/122 via "+llB+" dev vxlan.cw proto 202", "fd00::80/122 via "+llC+" dev vxlan.cw proto 202")},
		{name: "a second block goes by the first one's VTEP", e4: vxlanCross, in: func(in *Input) {
			in.Blocks = append(in.Blocks, block("10.0.0.192/26", "four", "c", 2, "192.168.1.3"))
		}, want: append(own,
			vxlanLink+names.VTEPMAC("a").String(), "address 10.0.0.0/32 dev vxlan.cw",
			"neigh 10.0.2.0 dev vxlan.cw lladdr "+macC.String()+" PERMANENT", "fdb "+macC.String()+" dev vxlan.cw dst 192.168.1.3 self permanent",
			"10.0.0.192/26 via 10.0.2.0 dev vxlan.cw onlink proto 202",
			"10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202", "10.0.2.0/26 via 10.0.2.0 dev vxlan.cw onlink proto 202")},
		{name: "blocks of one address", e4: none, in: func(in *Input) {
			in.Blocks = []*Block{block("10.0.0.1/32", "four", "a", 1), block("10.0.1.1/32", "four", "b", 1, "192.168.0.2")}
		}, want: []string{"10.0.0.1 dev cw1 proto 202 scope link", "10.0.1.1 via 192.168.0.2 dev eth0 proto 202"}},
		{name: "blocks of one address without a pod", e4: none, e6: none, in: func(in *Input) {
			in.Blocks = []*Block{block("10.0.0.9/32", "four", "a", 1), block("fd00::9/128", "six", "a", 1)}
			in.Endpoints = nil
		}, want: []string{"blackhole 10.0.0.9 proto 202", "blackhole fd00::9 proto 202"}},
		{name: "a block of one address whose pod is being wired", e4: none, in: func(in *Input) {
			in.Blocks, in.Endpoints[0].Ready = []*Block{block("10.0.0.1/32", "four", "a", 1)}, false
		}, want: []string{"# routes of cw1 are left as they are", "# the route to 10.0.0.1 is left as it is"}},
		{name: "a pod that is being wired", e4: none, in: func(in *Input) { in.Endpoints[0].Ready = false; in.Blocks = nil },
			want: []string{"# routes of cw1 are left as they are"}},
		{name: "no module vxlan", e4: vxlanCross, in: func(in *Input) { delete(in.Capabilities.Links, KindVXLAN) }, want: append(own,
			"10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202",
			"# problem: Pool four needs VXLANCrossSubnet, but the kernel of node a has no module vxlan: load or install it.")},
		{name: "no module ipip", e4: ipip, in: func(in *Input) { delete(in.Capabilities.Links, KindIPIP) }, want: append(own,
			"# problem: Pool four needs IPIP, but the kernel of node a has no module ipip: load or install it.")},
		{name: "change from VXLAN to IPIP, still sending VXLAN", e4: ipip, in: func(in *Input) {
			in.Pools[0].Sending, in.Pools[0].Settled = vxlan, false
		}, want: append(own,
			"link tunl0 mtu 1480 up ipip", vxlanLink+names.VTEPMAC("a").String(), "address 10.0.0.0/32 dev tunl0", "address 10.0.0.0/32 dev vxlan.cw",
			"neigh 10.0.1.0 dev vxlan.cw lladdr "+macB.String()+" PERMANENT", "neigh 10.0.2.0 dev vxlan.cw lladdr "+macC.String()+" PERMANENT",
			"fdb "+macB.String()+" dev vxlan.cw dst 192.168.0.2 self permanent", "fdb "+macC.String()+" dev vxlan.cw dst 192.168.1.3 self permanent",
			"10.0.1.0/26 via 10.0.1.0 dev vxlan.cw onlink proto 202", "10.0.2.0/26 via 10.0.2.0 dev vxlan.cw onlink proto 202")},
		{name: "change from VXLAN to IPIP, sending IPIP, others may still send VXLAN", e4: ipip, in: func(in *Input) {
			in.Pools[0].Sending, in.Pools[0].Settled, in.Tunnels = ipip, false, []string{"vxlan.cw"}
		}, want: append(own,
			"link tunl0 mtu 1480 up ipip", vxlanLink+names.VTEPMAC("a").String(), "address 10.0.0.0/32 dev tunl0", "address 10.0.0.0/32 dev vxlan.cw",
			"10.0.1.0/26 via 192.168.0.2 dev tunl0 onlink proto 202", "10.0.2.0/26 via 192.168.1.3 dev tunl0 onlink proto 202")},
		{name: "change from VXLAN to None, settled", e4: none, in: func(in *Input) { in.Tunnels = []string{"vxlan.cw"} },
			want: append(own, "10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202")},
		{name: "IPv6 None without an IPv6 underlay", e4: none, e6: none, in: func(in *Input) { in.V6 = Underlay{} }, want: append(own6,
			"10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202",
			"# problem: Pool six sends IPv6 packets as they are, but node a has no IPv6 address: give it one, or use VXLAN.")},
		{name: "a block inside an own one, and one of an unknown pool", e4: none, in: func(in *Input) {
			in.Blocks = []*Block{in.Blocks[0], block("10.0.0.32/27", "four", "b", 0, "192.168.0.2"), block("10.7.0.0/26", "gone", "b", 1, "192.168.0.2")}
		}, want: append(own,
			"# problem: Block 10.0.0.32/27 of node b gets no route: it lies in this node's block 10.0.0.0/26.",
			"# problem: Block 10.7.0.0/26 gets no route: its pool gone does not exist.")},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := cluster(c.e4, c.e6)
			if c.in != nil {
				c.in(&in)
			}
			have := shown(Make(in))
			want := slices.Clone(c.want)
			slices.Sort(want)
			if !reflect.DeepEqual(have, want) {
				t.Errorf("have\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// shown is what a plan shows of links, addresses, neighbours, routes and problems.
func shown(p Plan) []string {
	p.Sysctls, p.Firewall, p.PodMTU, p.EndpointMTU = nil, Firewall{}, nil, nil
	lines := strings.Split(strings.TrimSuffix(p.String(), "\n"), "\n")
	slices.Sort(lines)
	return lines
}

func TestLearned(t *testing.T) {
	hops := func(list ...string) (a []netip.Addr) {
		for _, s := range list {
			a = append(a, addr(s))
		}
		return a
	}
	for _, c := range []struct {
		name    string
		e       v1alpha1.Encapsulation
		prefix  string
		via     []netip.Addr
		route   string
		refused string
	}{
		{"a network outside", none, "203.0.113.0/24", hops("192.168.0.9"), "203.0.113.0/24 via 192.168.0.9 dev eth0 proto 203", ""},
		{"shared load", none, "203.0.113.0/24", hops("192.168.0.9", "192.168.0.8", "192.168.0.9"), "203.0.113.0/24 proto 203 nexthop via 192.168.0.8 dev eth0 nexthop via 192.168.0.9 dev eth0", ""},
		{"a next hop behind the router", none, "203.0.113.0/24", hops("192.168.1.3"), "203.0.113.0/24 via 192.168.0.254 dev eth0 proto 203", ""},
		{"another node's block, same subnet", none, "10.0.1.0/26", hops("192.168.0.2"), "10.0.1.0/26 via 192.168.0.2 dev eth0 proto 203", ""},
		{"another node's block, other subnet", none, "10.0.2.0/26", hops("192.168.0.254"), "10.0.2.0/26 via 192.168.0.254 dev eth0 proto 203", ""},
		{"a tunnelled pool keeps its tunnel", vxlan, "10.0.2.0/26", hops("192.168.0.254"), "10.0.2.0/26 via 10.0.2.0 dev vxlan.cw onlink proto 202", ""},
		{"CrossSubnet keeps its direct way", vxlanCross, "10.0.1.0/26", hops("192.168.0.254"), "10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202", ""},
		{"an own block", none, "10.0.0.0/26", hops("192.168.0.9"), "blackhole 10.0.0.0/26 proto 202", "it lies in this node's block 10.0.0.0/26"},
		{"an own pod", none, "10.0.0.1/32", hops("192.168.0.9"), "10.0.0.1 dev cw1 proto 202 scope link", "it lies in this node's block 10.0.0.0/26"},
		{"the underlay", none, "192.168.0.128/25", hops("192.168.0.9"), "", "it lies in the underlay's network 192.168.0.0/24"},
		{"the default route", none, "0.0.0.0/0", hops("192.168.0.9"), "", "default routes are not accepted from BGP"},
		{"part of a tunnelled pool", vxlan, "10.0.2.7/32", hops("192.168.0.9"), "", "it lies in pool four, whose blocks are reached by VXLAN"},
		{"a next hop nobody knows", none, "203.0.113.0/24", hops("fd09::1"), "", "its next hop fd09::1 is not of its family"},
		{"this node as next hop", none, "203.0.113.0/24", hops("192.168.0.1"), "", "its next hop 192.168.0.1 is this node"},
		{"multicast", none, "224.0.0.0/24", hops("192.168.0.9"), "", "its addresses are not global unicast"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := cluster(c.e, "")
			in.Fabric = []FabricRoute{{Prefix: pfx("0.0.0.0/0"), Via: addr("192.168.0.254"), Device: "eth0"}}
			in.Learned = []LearnedRoute{{pfx(c.prefix), c.via}}
			p := Make(in)
			route := ""
			for _, r := range p.Routes {
				if r.Dst == pfx(c.prefix) {
					route = r.String()
				}
			}
			refused := ""
			if len(p.Refused) > 0 {
				refused = p.Refused[0].Message
			}
			if route != c.route || (c.refused == "") != (refused == "") || !strings.Contains(refused, c.refused) {
				t.Errorf("route %q, want %q; refused %q, want %q", route, c.route, refused, c.refused)
			}
		})
	}
	in := cluster(none, "")
	in.AcceptDefault, in.Learned = true, []LearnedRoute{{pfx("0.0.0.0/0"), hops("192.168.0.254")}}
	if p := Make(in); !strings.Contains(p.String(), "0.0.0.0/0 via 192.168.0.254 dev eth0 proto 203") {
		t.Errorf("the accepted default route is missing:\n%s", p)
	}
}

func TestGatewayIsReachedWithoutADefaultRoute(t *testing.T) {
	in := cluster(none, "")
	const route = "169.254.1.1 dev lo proto 202 scope link"
	if p := Make(in); strings.Contains(p.String(), route) {
		t.Errorf("the route is not needed:\n%s", p)
	}
	in.NoWayToGateway = true
	if p := Make(in); !strings.Contains(p.String(), route) {
		t.Errorf("%s is missing:\n%s", route, p)
	}
}

func TestMTU(t *testing.T) {
	for _, c := range []struct {
		spec, sending v1alpha1.Encapsulation
		want          int
	}{
		{none, "", 1500}, {ipip, "", 1480}, {vxlan, "", 1450}, {vxlanCross, "", 1450},
		{none, vxlan, 1450}, {vxlan, none, 1450}, {vxlan, ipip, 1450}, {ipipCross, none, 1480},
	} {
		in := cluster(c.spec, none)
		in.Pools[0].Sending = c.sending
		p := Make(in)
		if have := p.PodMTUOf("four"); have != c.want || p.EndpointMTU[0] != (InterfaceMTU{"cw1", c.want}) {
			t.Errorf("%s while sending %q: %d %v, want %d", c.spec, c.sending, have, p.EndpointMTU, c.want)
		}
		if have := p.PodMTUOf("four", "six"); have != c.want {
			t.Errorf("both pools: %d, want %d", have, c.want)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		all, nic int
		want     []string
		not      []string
	}{
		{0, 0, []string{"net.ipv4.conf.vxlan.cw.rp_filter = 2", "net.ipv4.conf.cw1.rp_filter = 1"}, []string{"eth0.rp_filter", "all.rp_filter"}},
		{1, 0, []string{"net.ipv4.conf.eth0.rp_filter = 2"}, []string{"all.rp_filter"}},
		// What others' links have by conf/all they keep.
		{2, 1, []string{"net.ipv4.conf.eth0.rp_filter = 2", "net.ipv4.conf.default.rp_filter = 2\nnet.ipv4.conf.eth1.rp_filter = 2\nnet.ipv4.conf.all.rp_filter = 0"}, []string{"eth2"}},
		{2, 2, []string{"net.ipv4.conf.all.rp_filter = 0"}, []string{"eth0.rp_filter"}},
	} {
		in := cluster(vxlanCross, none)
		in.RPFilterAll, in.V4.RPFilter, in.V6.AcceptRA = c.all, c.nic, 1
		if c.all == 2 {
			in.RPFilter = map[string]int{"default": 0, "eth0": c.nic, "eth1": 1, "eth2": 2}
		}
		have := Make(in).String()
		for _, w := range append(c.want, "net.ipv6.conf.eth0.accept_ra = 2\nnet.ipv6.conf.all.forwarding = 1", "net.ipv4.ip_forward = 1") {
			if !strings.Contains(have, w) {
				t.Errorf("all %d, nic %d: no %s in\n%s", c.all, c.nic, w, have)
			}
		}
		for _, n := range c.not {
			if strings.Contains(have, n) {
				t.Errorf("all %d, nic %d: %s in\n%s", c.all, c.nic, n, have)
			}
		}
	}
}

// TestPoolsThatMayHoldTheAPIServerAreMasqueraded: what a pod sends into such a pool's range must come back, unless there are pods.
func TestPoolsThatMayHoldTheAPIServerAreMasqueraded(t *testing.T) {
	in := cluster(vxlanCross, vxlanCross)
	in.Pools = append(in.Pools, Pool{Name: "doubtful", CIDR: pfx("192.168.0.0/16"), Encapsulation: ipip, Doubtful: true})
	in.Pools[0].Doubtful = true // and it has blocks
	if have := Make(in).Firewall.String(); !strings.Contains(have, "set pools4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/16 } }") {
		t.Error(have)
	}
}

func TestFirewall(t *testing.T) {
	in := cluster(vxlanCross, vxlanCross)
	in.Pools[0].NATOutgoing = true
	in.Pools = append(in.Pools, Pool{Name: "part", CIDR: pfx("10.0.128.0/17"), Encapsulation: ipip, NATOutgoing: true})
	in.NodeAddresses = []netip.Addr{addr("192.168.7.7"), addr("::ffff:192.168.0.2")}
	have := Make(in).Firewall.String()
	for _, want := range []string{
		"set nat_outgoing4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/16 } }",
		"set pools6 { type ipv6_addr; flags interval; elements = { fd00::/48 } }",
		"set nodes4 { type ipv4_addr; elements = { 192.168.0.1, 192.168.0.2, 192.168.1.3, 192.168.7.7 } }",
		"meta l4proto 4 ip saddr != @nodes4 drop",
		"ip saddr != @nodes4 udp dport 4789 @th,96,24 0x1000 drop",
		"\t\tiifname != \"cw*\" return\n",
		"\t\tfib saddr . iif oif missing drop\n",
		"chain nat_outgoing",
	} {
		if !strings.Contains(have, want) {
			t.Errorf("no %s in\n%s", want, have)
		}
	}
	if strings.Contains(have, "return\n\t\tip saddr @nat_outgoing4") || strings.Contains(have, "daddr {") {
		t.Errorf("without exceptions there is a rule for them:\n%s", have)
	}
	in = cluster(ipip, "")
	in.LikePods = []string{"cwan0"}
	have = Make(in).Firewall.String()
	for _, want := range []string{
		"\t\tiifname != \"cw*\" return\n\t\tiifname \"cwan0\" return\n\t\tip6 saddr ::/128 return",
		"hook output priority raw; policy accept;\n\t\tmeta l4proto 4 ip daddr @nodes4 ip saddr != 192.168.0.1 ip saddr set 192.168.0.1\n",
	} {
		if !strings.Contains(have, want) {
			t.Errorf("no %s in\n%s", want, have)
		}
	}
	if strings.Contains(have, "chain nat_outgoing") {
		t.Errorf("without natOutgoing the kernel tracks connections for nothing:\n%s", have)
	}
	in.Capabilities.NFTables = false
	if p := Make(in); p.Firewall.String() != "" || p.Problems[0].Module != "nf_tables" {
		t.Errorf("%s", p)
	}
}

// TestNATExceptions: each pool has its own, and they come before masquerading. What lies in another does not appear twice, and those of a
// pool without natOutgoing mean nothing.
func TestNATExceptions(t *testing.T) {
	in := cluster(vxlanCross, vxlanCross)
	in.Pools[0].NATOutgoing, in.Pools[0].NATExcept = true, []netip.Prefix{pfx("192.168.0.0/16"), pfx("10.9.0.1/32"), pfx("192.168.7.0/24")}
	in.Pools[1].NATOutgoing, in.Pools[1].NATExcept = true, []netip.Prefix{pfx("fd09::/32")}
	in.Pools = append(in.Pools, Pool{Name: "plain", CIDR: pfx("10.7.0.0/16"), Encapsulation: ipip, NATExcept: []netip.Prefix{pfx("10.8.0.0/16")}})
	want := "\t\tip saddr { 10.0.0.0/16 } ip daddr { 10.9.0.1/32, 192.168.0.0/16 } return\n" +
		"\t\tip6 saddr { fd00::/48 } ip6 daddr { fd09::/32 } return\n" +
		"\t\tip saddr @nat_outgoing4 ip daddr != @pools4 masquerade\n"
	have := Make(in).Firewall.String()
	if !strings.Contains(have, want) || strings.Contains(have, "10.8.0.0") {
		t.Errorf("want\n%s\nin\n%s", want, have)
	}
	planner := New(in)
	in.Pools = slices.Clone(in.Pools)
	in.Pools[1].NATExcept = []netip.Prefix{pfx("fd0a::/32")}
	if planner.Fits(in) {
		t.Error("other exceptions count as no change")
	}
}

// TestALentAddressIsReachedWhereItIs: the lender, who had it, and all others have a route of its own to it.
func TestALentAddressIsReachedWhereItIs(t *testing.T) {
	for lenderName, c := range map[string]struct{ cidr, want string }{
		"a": {"10.0.0.5/32", "192.168.0.2"},
		"c": {"10.0.2.5/32", "192.168.0.2"},
	} {
		in := cluster(none, "")
		lent := block(c.cidr, "four", "b", 0, "192.168.0.2", "fd01::2")
		lent.Lender = lenderName
		in.Blocks = append(in.Blocks, lent)
		p := Make(in)
		i := slices.IndexFunc(p.Routes, func(r Route) bool { return r.Dst == lent.CIDR })
		if i < 0 || p.Routes[i].NextHop.Via.String() != c.want {
			t.Errorf("lent by %s:\n%s", lenderName, p)
		}
	}
	in := cluster(vxlan, "")
	lent := block("10.0.1.5/31", "four", "a", 0, "192.168.0.1")
	lent.Lender = "b"
	in.Blocks = append(in.Blocks, lent)
	for _, a := range Make(in).Addresses {
		if a.Prefix.Addr() == lent.CIDR.Addr() {
			t.Errorf("the tunnel has the address %s of a range that was lent", a.Prefix)
		}
	}
}

// TestABorrowedAddressWithoutAPodLeadsNowhere: by the route to the lender's block its packets would come back until their TTL ends. The
// pod's route and the one that drops take turns, and what a pod that comes or goes has is left alone.
func TestABorrowedAddressWithoutAPodLeadsNowhere(t *testing.T) {
	in := cluster(none, "")
	lent := block("10.0.1.5/32", "four", "a", 0, "192.168.0.1")
	lent.Lender = "b"
	in.Blocks, in.Endpoints = append(in.Blocks, lent), nil
	p := New(in)
	if r, _ := p.Planned(lent.CIDR); r.String() != "blackhole 10.0.1.5 proto 202" {
		t.Fatalf("planned is %s", p.Plan())
	}
	for _, step := range []struct {
		what      string
		endpoints []Endpoint
		want      string // the change
	}{
		{"a pod is being wired", []Endpoint{{Interface: "cw1", Addresses: []netip.Addr{lent.CIDR.Addr()}}}, ""},
		{"it is there", []Endpoint{{Interface: "cw1", Addresses: []netip.Addr{lent.CIDR.Addr()}, Ready: true}}, "10.0.1.5 dev cw1 proto 202 scope link"},
		{"it goes", []Endpoint{{Interface: "cw1", Addresses: []netip.Addr{lent.CIDR.Addr()}}}, ""},
		{"it is gone", nil, "blackhole 10.0.1.5 proto 202"},
	} {
		p.SetEndpoints(step.endpoints)
		got := ""
		for _, c := range p.Flush().Routes {
			if got += c.Route.String(); c.Gone {
				got = "gone"
			}
		}
		if got != step.want {
			t.Errorf("%s: the change is %q, want %q", step.what, got, step.want)
		}
	}
}

// TestANodeWithBorrowedRangesOnlyIsReached: another node finds its VTEP although it has no block of its own, and so no address for tunnels.
func TestANodeWithBorrowedRangesOnlyIsReached(t *testing.T) {
	in := cluster(vxlan, "")
	lent := block("10.0.1.4/31", "four", "poor", 0, "192.168.0.9", "fd01::9")
	lent.Lender = "b"
	in.Blocks = append(in.Blocks, lent)
	p := Make(in)
	i := slices.IndexFunc(p.Routes, func(r Route) bool { return r.Dst == lent.CIDR })
	if i < 0 || p.Routes[i].NextHop.Via != lent.CIDR.Addr() {
		t.Fatalf("no route:\n%s", p)
	}
	resolved := func(n Neighbour) bool { return n.Address == lent.CIDR.Addr() }
	reached := func(e FDBEntry) bool { return e.Node.String() == "192.168.0.9" }
	if !slices.ContainsFunc(p.Neighbours, resolved) || !slices.ContainsFunc(p.FDB, reached) {
		t.Errorf("the next hop is not resolved:\n%s", p)
	}
}
