package linux

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

func TestFreshNode(t *testing.T) {
	a := enter(t)
	apply(t, a, input())
	expect(t, routes(t),
		"10.0.0.1 dev cw00000000001 scope link",
		"blackhole 10.0.0.0/26",
		"10.0.1.0/26 via 192.168.0.2 dev eth0",
		"10.0.2.0/26 via 10.0.2.0 dev vxlan.cw onlink",
		"fd00::1 dev cw00000000001",
		"blackhole fd00::/122",
		"fd00::40/122 via fd01::2 dev eth0",
		"fd00::80/122 via fe80::",
	)
	expect(t, run(t, "ip -d link show vxlan.cw"), "mtu 1450", "UP", "vxlan id 4096 local 192.168.0.1 dev eth0", "dstport 4789 nolearning", names.VTEPMAC("a").String())
	expect(t, run(t, "ip address show vxlan.cw"), "inet 10.0.0.0/32 scope global", "inet6 fd00::/128 scope global")
	expect(t, run(t, "ip neigh show dev vxlan.cw"), "10.0.2.0 lladdr "+names.VTEPMAC("c").String()+" PERMANENT")
	expect(t, run(t, "bridge fdb show dev vxlan.cw"), names.VTEPMAC("c").String()+" dst 192.168.1.3 self permanent")
	expect(t, run(t, "nft list table inet causeway"), "ip saddr @nat_outgoing4 ip daddr != @pools4 masquerade", "fib saddr . iif oif missing drop",
		"ip saddr != @nodes4 udp dport 4789 @th,96,24 0x1000 drop", "elements = { 192.168.0.1, 192.168.0.2, 192.168.1.3 }")
	for key, want := range map[string]string{
		"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1", "net.ipv4.conf.cw00000000001.rp_filter": "1",
		"net.ipv4.conf.cw00000000001.proxy_arp": "1", "net.ipv6.conf.cw00000000001.accept_ra": "0", "net.ipv4.conf.vxlan/cw.rp_filter": "2",
	} {
		if have := strings.TrimSpace(run(t, "cat /proc/sys/"+strings.NewReplacer(".", "/", "/", ".").Replace(key))); have != want {
			t.Errorf("%s = %s, want %s", key, have, want)
		}
	}
	// The host's own packets come from the tunnel's address, so that answers take the tunnel too.
	expect(t, run(t, "ip route get 10.0.2.7"), "dev vxlan.cw src 10.0.0.0")
	expect(t, run(t, "ip -6 route get fd00::87"), "dev vxlan.cw proto 202 src fd00::")
	expect(t, run(t, "ip route get 10.0.1.7"), "via 192.168.0.2 dev eth0 src 192.168.0.1")
}

func TestNothingToDoTheSecondTime(t *testing.T) {
	a := enter(t)
	apply(t, a, input())
	if r := apply(t, a, input()); r.Changes != 0 {
		t.Errorf("the second pass made %d changes", r.Changes)
	}
	restarted, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer restarted.Close() //nolint:errcheck // nothing depends on it
	if r := apply(t, restarted, input()); r.Changes != 0 {
		t.Errorf("a restarted agent made %d changes", r.Changes)
	}
}

func TestOthersThingsStay(t *testing.T) {
	a := enter(t)
	run(t, "ip route add 10.0.1.0/26 via 192.168.0.77 proto static")
	run(t, "ip -6 route add fd00::40/122 via fd01::77 proto static")
	run(t, "ip route add 10.9.0.0/24 via 192.168.0.77 proto bgp")
	run(t, "nft add table inet other")
	before := run(t, "ip route show proto static") + run(t, "ip -6 route show proto static") + run(t, "ip route show proto bgp")
	r, _ := pass(t, a, input())
	if len(r.Failures) != 2 || !strings.Contains(r.Failures[0].Error(), "add route 10.0.1.0/26 via 192.168.0.2 dev eth0 proto 202: file exists") {
		t.Errorf("failures: %v", r.Failures)
	}
	in := input()
	in.Blocks, in.Endpoints, in.Pools = nil, nil, nil
	apply(t, a, in)
	if after := run(t, "ip route show proto static") + run(t, "ip -6 route show proto static") + run(t, "ip route show proto bgp"); after != before {
		t.Errorf("others' routes were %s, are %s", before, after)
	}
	run(t, "nft list table inet other")
	if have := routes(t); have != "" {
		t.Errorf("left: %s", have)
	}
	if out := run(t, "ip link"); strings.Contains(out, "vxlan.cw") {
		t.Errorf("left: %s", out)
	}
}

func TestForeignLinkOfOurName(t *testing.T) {
	a := enter(t)
	run(t, "ip link add vxlan.cw type veth peer name x")
	r, _ := pass(t, a, input())
	if len(r.Failures) == 0 || !strings.Contains(r.Failures[0].Error(), "rename or delete it") {
		t.Errorf("failures: %v", r.Failures)
	}
}

func TestRepairsWhatOthersChange(t *testing.T) {
	a := enter(t)
	wake, _ := watch(t, a)
	state := func() string {
		// The resync is minutes away: all that is repaired here was heard of.
		return routes(t) + run(t, "ip neigh show dev vxlan.cw nud permanent") + run(t, "bridge fdb show dev vxlan.cw") + run(t, "ip -br address show dev vxlan.cw scope global") + run(t, "nft list table inet causeway")
	}
	apply(t, a, input())
	apply(t, a, input())
	want := state()
	for _, damage := range []string{
		"ip route del 10.0.1.0/26",
		"ip route replace 10.0.2.0/26 via 192.168.0.99 proto 202",
		"ip route replace 10.0.2.0/26 via 192.168.0.99 proto static",
		"ip route append 10.0.1.0/26 via 192.168.0.99 proto 202",
		"ip route add 10.7.0.0/24 via 192.168.0.99 proto 203",
		"ip -6 route del fd00::80/122",
		"ip -6 route replace fd00::40/122 via fd01::99 proto 202",
		"ip -6 route append fd00::40/122 via fd01::99 proto 202",
		"ip route del blackhole 10.0.0.0/26",
		"ip link del vxlan.cw",
		"ip link set vxlan.cw down",
		"ip address flush dev vxlan.cw",
		"ip neigh del 10.0.2.0 dev vxlan.cw",
		"bridge fdb del " + names.VTEPMAC("c").String() + " dev vxlan.cw dst 192.168.1.3 self",
		"nft delete table inet causeway",
		"nft flush ruleset",
		"nft add element inet causeway nodes4 { 1.2.3.4 }",
	} {
		foreign := strings.HasSuffix(damage, "static")
		run(t, damage)
		limit := time.After(10 * time.Second)
		for repaired := false; !repaired; {
			select {
			case <-wake:
				r, plan := pass(t, a, input())
				if foreign {
					if len(r.Failures) != 1 {
						t.Fatalf("after %s: %v\n%s", damage, r.Failures, plan)
					}
					run(t, "ip route del 10.0.2.0/26 proto static")
					foreign = false
					continue
				}
				repaired = state() == want
			case <-limit:
				t.Fatalf("not repaired after %s:\n%s\nwant:\n%s", damage, state(), want)
			}
			if !repaired && !foreign {
				_, _ = pass(t, a, input())
				repaired = state() == want
			}
		}
	}
}

func TestRoutesOfAnADDInBetween(t *testing.T) {
	a := enter(t)
	apply(t, a, input())
	observe(t, a)
	// An ADD wires a pod after the kernel was read, and before the snapshot is taken.
	run(t, "ip route add 10.0.0.2 dev cw00000000002 scope link proto 202")
	in := input()
	in.Endpoints = append(in.Endpoints, plan.Endpoint{Interface: "cw00000000002", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Ready: true})
	if r := a.Apply(context.Background(), plan.Make(in)); len(r.Failures) > 0 {
		t.Fatal(r.Failures)
	}
	expect(t, routes(t), "10.0.0.2 dev cw00000000002 scope link")

	in.Endpoints[1].Ready = false
	apply(t, a, in)
	expect(t, routes(t), "10.0.0.2 dev cw00000000002 scope link")
	apply(t, a, input())
	if strings.Contains(routes(t), "10.0.0.2 ") {
		t.Error("the route of a pod that is gone stayed")
	}
}

func TestChangeOfEncapsulation(t *testing.T) {
	a := enter(t)
	modes := []v1alpha1.Encapsulation{v1alpha1.EncapsulationNone, v1alpha1.EncapsulationVXLAN, v1alpha1.EncapsulationVXLANCrossSubnet}
	for _, from := range modes {
		for _, to := range modes {
			in := input()
			sends(&in, from)
			apply(t, a, in)
			sends(&in, to)
			for i := range in.Pools {
				in.Pools[i].Sending, in.Pools[i].Settled = from, false
			}
			apply(t, a, in)
			for i := range in.Pools {
				in.Pools[i].Sending = to
			}
			apply(t, a, in)
			for i := range in.Pools {
				in.Pools[i].Settled = true
			}
			apply(t, a, in)
			if r := apply(t, a, in); r.Changes != 0 {
				t.Errorf("%s to %s: %d changes when all was done", from, to, r.Changes)
			}
			if has := strings.Contains(run(t, "ip -br link"), "vxlan.cw"); has == (to == v1alpha1.EncapsulationNone) {
				t.Errorf("%s to %s: vxlan.cw is there: %v", from, to, has)
			}
		}
	}
}

func TestLearnedRoutes(t *testing.T) {
	a := enter(t)
	in := input()
	addr := netip.MustParseAddr
	in.Learned = []plan.LearnedRoute{
		{Prefix: netip.MustParsePrefix("203.0.113.0/24"), NextHops: []netip.Addr{addr("192.168.0.8"), addr("192.168.0.9")}},
		{Prefix: netip.MustParsePrefix("2001:db8::/32"), NextHops: []netip.Addr{addr("fd01::8"), addr("fd01::9")}},
	}
	apply(t, a, in)
	expect(t, routes(t), "203.0.113.0/24 nexthop via 192.168.0.8 dev eth0 weight 1 nexthop via 192.168.0.9 dev eth0 weight 1",
		"2001:db8::/32 metric 1024 pref medium nexthop via fd01::8 dev eth0 weight 1 nexthop via fd01::9 dev eth0 weight 1")
	if r := apply(t, a, in); r.Changes != 0 {
		t.Errorf("%d changes to routes that were there", r.Changes)
	}
	for i := range in.Learned {
		in.Learned[i].NextHops = in.Learned[i].NextHops[:1]
	}
	apply(t, a, in)
	expect(t, routes(t), "203.0.113.0/24 via 192.168.0.8 dev eth0", "2001:db8::/32 via fd01::8 dev eth0")
	if n := strings.Count(routes(t), "2001:db8::/32"); n != 1 {
		t.Errorf("%d routes to 2001:db8::/32", n)
	}
	in.Learned = nil
	apply(t, a, in)
	if strings.Contains(routes(t), "203.0.113.0") || strings.Contains(routes(t), "2001:db8") {
		t.Error(routes(t))
	}
}

func TestThousandBlocks(t *testing.T) {
	a := enter(t)
	in := input()
	for i := range 1000 {
		in.Blocks = append(in.Blocks, &plan.Block{
			CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(8 + i/4), byte(i % 4 * 64)}), 26), Pool: "four", Node: fmt.Sprint("n", i),
			NodeAddresses: []netip.Addr{netip.AddrFrom4([4]byte{172, 16, byte(i / 250), byte(1 + i%250)})}, Created: time.Unix(2000, 0),
		})
	}
	in.Pools[0].CIDR = netip.MustParsePrefix("10.0.0.0/15")
	apply(t, a, input())
	for _, e := range []v1alpha1.Encapsulation{v1alpha1.EncapsulationVXLANCrossSubnet, v1alpha1.EncapsulationNone, v1alpha1.EncapsulationVXLAN} {
		in.Pools[0].Encapsulation = e
		start := time.Now()
		r := apply(t, a, in)
		t.Logf("%s: %d changes in %s", e, r.Changes, time.Since(start))
	}
}

func TestWatchTellsNewPodsFromOtherChanges(t *testing.T) {
	a := enter(t)
	wake, pods := watch(t, a)
	within := func(c <-chan struct{}, limit time.Duration) bool {
		select {
		case <-c:
			return true
		case <-time.After(limit):
			return false
		}
	}
	run(t, "ip -6 address flush scope link") // duplicate address detection ends in the middle
	for within(wake, 200*time.Millisecond) { //nolint:revive // the namespace's own links come to rest
	}
	run(t, "ip link add cw0aaaaaaaaa1 type veth peer name cw0aaaaaaaaa2")
	run(t, "ip link set cw0aaaaaaaaa1 up")
	run(t, "ip link set cw0aaaaaaaaa2 up")
	run(t, "ip route add 10.0.0.9 dev cw0aaaaaaaaa1 proto 202")
	if !within(pods, 5*time.Second) {
		t.Error("nothing tells of a new pod")
	}
	if within(wake, 200*time.Millisecond) {
		t.Error("a new pod wakes the whole loop")
	}
	for _, change := range []string{"ip route del 10.0.0.9", "ip route add blackhole 10.0.3.0/26 proto 202", "ip link del cw0aaaaaaaaa1"} {
		run(t, change)
		if !within(wake, 5*time.Second) {
			t.Errorf("nothing tells of %q", change)
		}
	}
}

func TestHundredThousandLearnedRoutes(t *testing.T) {
	a := enter(t)
	watch(t, a)
	in := input()
	for i := range 100_000 {
		in.Learned = append(in.Learned, plan.LearnedRoute{
			Prefix:   netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 16), byte(i >> 8), byte(i)}), 32),
			NextHops: []netip.Addr{netip.MustParseAddr("192.168.0.8")},
		})
	}
	start := time.Now()
	r := apply(t, a, in)
	t.Logf("100,000 routes: %d changes in %s", r.Changes, time.Since(start))
	start = time.Now()
	in.Learned = in.Learned[1:]
	r = apply(t, a, in)
	if r.Changes != 1 {
		t.Errorf("one route less: %d changes", r.Changes)
	}
	t.Logf("one route less: %s", time.Since(start))
	start = time.Now()
	in.Learned = nil
	apply(t, a, in)
	t.Logf("none left: %s", time.Since(start))
}

// This kernel may lack ipip; what we do with a tunl0 that exists shows with any link of that name.
func TestTakesTunl0AndGivesItBack(t *testing.T) {
	a := enter(t)
	run(t, "ip link add tunl0 type veth peer name x")
	run(t, "ip link set x up")
	in := input()
	in.Capabilities.Links[plan.KindIPIP] = true
	in.Pools[0].Encapsulation = v1alpha1.EncapsulationIPIP
	apply(t, a, in)
	expect(t, routes(t), "10.0.1.0/26 via 192.168.0.2 dev tunl0 onlink", "10.0.2.0/26 via 192.168.1.3 dev tunl0 onlink")
	expect(t, run(t, "ip address show tunl0"), "mtu 1480", "inet 10.0.0.0/32 scope global")
	expect(t, run(t, "ip link show tunl0"), "alias causeway")
	expect(t, run(t, "ip route get 10.0.2.7"), "dev tunl0 src 10.0.0.0")
	if r := apply(t, a, in); r.Changes != 0 {
		t.Errorf("the second pass made %d changes", r.Changes)
	}
	for _, shared := range []bool{true, false} {
		apply(t, a, in)
		if shared {
			run(t, "ip address add 172.31.0.1/32 dev tunl0")
		}
		in.Pools[0].Sending, in.Pools[0].Encapsulation = "", v1alpha1.EncapsulationNone
		apply(t, a, in)
		out := run(t, "ip address show tunl0") + run(t, "ip link show tunl0")
		if strings.Contains(out, "10.0.0.0/32") || strings.Contains(out, "alias") || strings.Contains(out, ",UP") != shared || strings.Contains(out, "172.31.0.1") != shared {
			t.Errorf("shared %v: %s", shared, out)
		}
		if shared {
			run(t, "ip address del 172.31.0.1/32 dev tunl0")
		}
		in.Pools[0].Encapsulation = v1alpha1.EncapsulationIPIP
	}
}

func TestUnderlayMoves(t *testing.T) {
	a := enter(t)
	apply(t, a, input())
	run(t, "ip address add 192.168.0.5/24 dev eth0")
	in := input()
	in.V4.Address, in.V4.MTU, in.VXLAN = netip.MustParseAddr("192.168.0.5"), 1400, plan.VXLAN{VNI: 7, Port: 8472}
	apply(t, a, in)
	expect(t, run(t, "ip -d link show vxlan.cw"), "mtu 1350", "vxlan id 7 local 192.168.0.5 dev eth0", "dstport 8472")
	expect(t, routes(t), "10.0.2.0/26 via 10.0.2.0 dev vxlan.cw onlink", "fd00::80/122 via fe80::")
	expect(t, run(t, "bridge fdb show dev vxlan.cw"), "dst 192.168.1.3 self permanent")
	if r := apply(t, a, in); r.Changes != 0 {
		t.Errorf("the second pass made %d changes", r.Changes)
	}
}
