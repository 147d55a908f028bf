package gobgp_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/test/routers"
)

func TestInternalPeerOverIPv6(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	b := routers.StartBird(t, h, "10.0.0.1", `protocol static { ipv6; route 2001:db8:99::/48 blackhole; }
protocol static { ipv4; route 192.0.2.0/24 blackhole; }
protocol bgp node { local 2001:db8::1 as 64512; neighbor 2001:db8::2 as 64512; graceful restart on;
  ipv6 { import all; export all; next hop self; }; ipv4 { import all; export all; next hop address 10.0.0.1; }; }`)
	s := to(64512, "2001:db8::2", "2001:db8::1")
	s.IPv4 = true
	p := plan(64512, "2001:db8::2", []bgpplan.Session{s}, "fd00:211::/122")
	p.Announcements = append(p.Announcements, bgpplan.Announcement{Prefix: netip.MustParsePrefix("10.211.0.0/26"), NextHop: addr("10.0.0.2")})
	n.apply(p)
	n.waitRoute(10*time.Second, "2001:db8:99::/48", "2001:db8::1")
	n.waitRoute(5*time.Second, "192.0.2.0/24", "10.0.0.1")
	routers.Eventually(t, 5*time.Second, has(b, "fd00:211::/122", "BGP.next_hop: 2001:db8::2", "BGP.local_pref: 100"))
	routers.Eventually(t, 5*time.Second, has(b, "10.211.0.0/26", "BGP.next_hop: 10.0.0.2"))
}

func TestBothFamiliesOverIPv4(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	b := routers.StartBird(t, h, "10.0.0.1", `protocol static { ipv6; route 2001:db8:99::/48 blackhole; }
protocol bgp node { local 10.0.0.1 as 65001; neighbor 10.0.0.2 as 64512; graceful restart on;
  ipv4 { import all; export all; }; ipv6 { import all; export all; next hop address 2001:db8::1; }; }`)
	s := to(65001, "10.0.0.2", "10.0.0.1")
	s.IPv6 = true
	p := plan(64512, "10.0.0.2", []bgpplan.Session{s}, "10.211.0.0/26")
	p.Announcements = append(p.Announcements, bgpplan.Announcement{Prefix: netip.MustParsePrefix("fd00:211::/122"), NextHop: addr("2001:db8::2")})
	n.apply(p)
	n.waitRoute(10*time.Second, "2001:db8:99::/48", "2001:db8::1")
	routers.Eventually(t, 5*time.Second, has(b, "fd00:211::/122", "BGP.next_hop: 2001:db8::2"))
	routers.Eventually(t, 5*time.Second, has(b, "10.211.0.0/26", "BGP.next_hop: 10.0.0.2"))
}

func frrConfig(as int, id, neighbor string, remote int, more string) string {
	return fmt.Sprintf(`router bgp %d
 bgp router-id %s
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 neighbor %s remote-as %d
 neighbor %s timers connect 1
 %s
 address-family ipv4 unicast
  network 192.0.2.0/24
 exit-address-family`, as, id, neighbor, remote, neighbor, more)
}

func TestTwoRoutersFRR(t *testing.T) {
	t.Parallel()
	n, one, two := newNode(t, "node"), routers.NewHost(t, "tor1"), routers.NewHost(t, "tor2")
	routers.Connect(t, n.host, "10.0.1.2/24", one, "10.0.1.1/24")
	routers.Connect(t, n.host, "10.0.2.2/24", two, "10.0.2.1/24")
	f := routers.StartFRR(t, one, frrConfig(65001, "10.0.1.1", "10.0.1.2", 64512, "neighbor 10.0.1.2 password secret"))
	routers.StartFRR(t, two, frrConfig(65001, "10.0.2.1", "10.0.2.2", 64512, ""))
	first, second := to(65001, "10.0.1.2", "10.0.1.1"), to(65001, "10.0.2.2", "10.0.2.1")
	first.Password = "secret"
	p := plan(64512, "10.0.1.2", []bgpplan.Session{first, second}, "10.211.0.0/26", "203.0.113.7/32")
	p.Global.ListenAddresses = append(p.Global.ListenAddresses, addr("10.0.2.2"))
	n.apply(p)
	n.waitRoute(15*time.Second, "192.0.2.0/24", "10.0.1.1 10.0.2.1")
	routers.Eventually(t, 5*time.Second, func() error {
		if out := f.Show("show bgp ipv4 unicast 203.0.113.7/32"); !strings.Contains(out, "64512") {
			return fmt.Errorf("FRR has not: %s", out)
		}
		return nil
	})
	// What one router says is not passed on to the other.
	if out := f.Show("show bgp ipv4 unicast neighbors 10.0.1.2 routes"); strings.Contains(out, "192.0.2.0") {
		t.Errorf("transit through the node:\n%s", out)
	}
	p.Sessions = p.Sessions[:1]
	n.apply(p)
	n.waitRoute(2*time.Second, "192.0.2.0/24", "10.0.1.1")
}

func TestMultihop(t *testing.T) {
	t.Parallel()
	n, middle, far := newNode(t, "node"), routers.NewHost(t, "middle"), routers.NewHost(t, "far")
	routers.Connect(t, n.host, "10.0.0.2/24", middle, "10.0.0.1/24")
	routers.Connect(t, middle, "10.0.5.1/24", far, "10.0.5.9/24")
	n.host.IP("route", "add", "default", "via", "10.0.0.1")
	far.IP("route", "add", "default", "via", "10.0.5.1")
	routers.StartBird(t, far, "10.0.5.9", static+`protocol bgp node { local 10.0.5.9 as 65001; neighbor 10.0.0.2 as 64512; multihop 3; ipv4 { import all; export all; }; }`)
	s := to(65001, "10.0.0.2", "10.0.5.9")
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{s}))
	routers.Eventually(t, 8*time.Second, func() error {
		if got := n.sessionTo("10.0.5.9"); got.LastError == "" {
			return fmt.Errorf("a TTL of 1 is enough for two hops: %+v", got)
		}
		return nil
	})
	s.Multihop = 3
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{s}))
	n.waitRoute(15*time.Second, "192.0.2.0/24", "10.0.5.9")
}

func TestFilters(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	b := routers.StartBird(t, h, "10.0.0.1", strings.Replace(birdPeer(""), "192.0.2.0/24 blackhole;", "192.0.2.0/24 blackhole; route 172.16.0.0/16 blackhole; route 0.0.0.0/0 blackhole;", 1))
	ranges := func(p string, lo, hi uint8) []bgpplan.PrefixRange {
		return []bgpplan.PrefixRange{{Prefix: netip.MustParsePrefix(p), Min: lo, Max: hi}}
	}
	s := to(65001, "10.0.0.2", "10.0.0.1")
	s.Import = []bgpplan.Rule{
		{Prefixes: ranges("0.0.0.0/0", 0, 0)},
		{Communities: []string{"65001:7"}},
		{Accept: true, Prefixes: ranges("192.0.2.0/24", 24, 32), ASPath: []uint32{65001}},
		{Prefixes: ranges("0.0.0.0/0", 0, 32)},
	}
	s.Export = []bgpplan.Rule{
		{Prefixes: ranges("10.219.0.0/16", 16, 32)},
		{Accept: true, Prefixes: ranges("10.211.0.0/16", 16, 32), Operations: []bgpplan.Operation{
			{AddCommunity: "64512:5"}, {AddCommunity: "64512:5:6"}, {Prepend: []uint32{64999, 64998}},
		}},
	}
	p := plan(64512, "10.0.0.2", []bgpplan.Session{s}, "10.211.0.0/26", "10.219.0.0/26", "10.220.0.0/26")
	n.apply(p)
	n.waitRoute(10*time.Second, "192.0.2.0/24", "10.0.0.1")
	n.waitEstablished(2*time.Second, "10.0.0.1")
	routers.Eventually(t, 5*time.Second, has(b, "10.211.0.0/26", "BGP.as_path: 64512 64999 64998 64512", "(64512,5)", "(64512, 5, 6)"))
	routers.Eventually(t, 5*time.Second, has(b, "10.220.0.0/26", "BGP.as_path: 64512\n"))
	if got := b.Route("10.219.0.0/26"); got != "" {
		t.Errorf("the filter let through: %s", got)
	}
	if routes := n.Routes().Routes; len(routes) != 1 {
		t.Errorf("the filter let in: %v", routes)
	}
	since := n.sessionTo("10.0.0.1").Since
	q := p
	q.Sessions = []bgpplan.Session{s}
	q.Sessions[0].LocalAS, q.Sessions[0].Import, q.Sessions[0].Export = 64512, nil, nil
	n.apply(q)
	n.waitRoute(2*time.Second, "172.16.0.0/16", "10.0.0.1")
	routers.Eventually(t, 2*time.Second, has(b, "10.219.0.0/26"))
	n.apply(p)
	n.waitRoute(2*time.Second, "172.16.0.0/16", "")
	routers.Eventually(t, 2*time.Second, hasNot(b, "10.219.0.0/26"))
	if now := n.sessionTo("10.0.0.1").Since; now != since {
		t.Error("a change of filters has reset the session")
	}
}

// TestPeerRestart kills BIRD: its routes stay until it is back and has withdrawn one.
func TestPeerRestart(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	b := routers.StartBird(t, h, "10.0.0.1", birdPeer("connect delay time 1;"))
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{to(65001, "10.0.0.2", "10.0.0.1")}))
	n.waitRoute(10*time.Second, "192.0.2.0/24", "10.0.0.1")
	n.waitRoute(time.Second, "198.51.100.0/24", "10.0.0.1")
	b.Kill()
	routers.Eventually(t, 5*time.Second, func() error {
		if n.sessionTo("10.0.0.1").Established() {
			return fmt.Errorf("still established")
		}
		return nil
	})
	if n.route("192.0.2.0/24") == "" {
		t.Fatal("the route went with the peer")
	}
	b.Rewrite("10.0.0.1", strings.Replace(birdPeer("connect delay time 1;"), "route 198.51.100.0/24", "route 198.51.101.0/24", 1))
	b.Restart()
	n.waitRoute(15*time.Second, "198.51.100.0/24", "")
	if n.route("192.0.2.0/24") == "" {
		t.Fatal("the route went although the peer announced it again")
	}
}

// TestReflectors has two reflectors and four clients, without a mesh, and one reflector that fails.
func TestReflectors(t *testing.T) {
	t.Parallel()
	sw := routers.NewSwitch(t)
	var nodes []*node
	address := func(i int) string { return fmt.Sprintf("10.0.0.%d", i+1) }
	block := func(i int) string { return fmt.Sprintf("10.211.%d.0/26", i) }
	for i := range 6 {
		n := newNode(t, fmt.Sprintf("n%d", i))
		sw.Plug(n.host, address(i)+"/24")
		nodes = append(nodes, n)
	}
	for i, n := range nodes {
		var sessions []bgpplan.Session
		for j := range nodes {
			if i == j || i > 1 && j > 1 {
				continue
			}
			s := to(64512, address(i), address(j))
			s.DialLater = j < i
			s.Reflector = i < 2
			if i < 2 && j > 1 {
				s.ClusterID = addr("224.0.0.1")
			}
			sessions = append(sessions, s)
		}
		n.apply(plan(64512, address(i), sessions, block(i)))
	}
	for i, n := range nodes {
		for j := range nodes {
			if i != j {
				n.waitRoute(15*time.Second, block(j), address(j))
			}
		}
	}
	_ = nodes[0].process.Process.Kill()
	withdrawn := nodes[5]
	p := plan(64512, address(5), []bgpplan.Session{to(64512, address(5), address(0)), to(64512, address(5), address(1))})
	for i := range p.Sessions {
		p.Sessions[i].DialLater = true
	}
	withdrawn.apply(p)
	nodes[2].waitRoute(time.Second, block(1), address(1))
	if nodes[2].route(block(3)) != address(3) {
		t.Error("a route was lost with one of two reflectors")
	}
}
