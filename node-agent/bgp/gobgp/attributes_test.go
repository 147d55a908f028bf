package gobgp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/test/routers"
)

// remote lets a session announce what was learned from other peers, with operations.
func remote(ops ...bgpplan.Operation) []bgpplan.Rule {
	return []bgpplan.Rule{{Accept: true, Origin: bgpplan.OriginRemote, Operations: ops}}
}

func preference(v uint32) bgpplan.Operation {
	return bgpplan.Operation{SetLocalPreference: true, LocalPreference: v}
}

func prefer(v uint32) []bgpplan.Rule {
	return []bgpplan.Rule{{Accept: true, Operations: []bgpplan.Operation{preference(v)}}}
}

// loops is a BIRD that puts the node's AS number into the path of one prefix.
func loops(prefix string, times int) string {
	prepend := strings.Repeat("bgp_path.prepend(64512); ", times)
	return strings.Replace(birdPeer("connect delay time 1; error wait time 1,1;"), "export all;",
		"export filter { if net = "+prefix+" then { "+prepend+"} accept; };", 1)
}

// TestOwnASInPath announces paths with the node's own AS number in them (RFC 4271 section 9.1.2).
func TestOwnASInPath(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	b := routers.StartBird(t, h, "10.0.0.1", loops("192.0.2.0/24", 1))
	s := to(65001, "10.0.0.2", "10.0.0.1")
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{s}))
	n.waitRoute(10*time.Second, "198.51.100.0/24", "10.0.0.1")
	if got := n.route("192.0.2.0/24"); got != "" {
		t.Errorf("a route with a loop is via %s", got)
	}

	s.AllowOwnAS = 1
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{s}))
	n.waitRoute(15*time.Second, "192.0.2.0/24", "10.0.0.1")

	// What was good and comes again with a loop is gone.
	b.Reconfigure("10.0.0.1", loops("192.0.2.0/24", 2))
	n.waitRoute(5*time.Second, "192.0.2.0/24", "")
	n.waitRoute(time.Second, "198.51.100.0/24", "10.0.0.1")
	b.Reconfigure("10.0.0.1", loops("198.51.100.0/24", 2))
	n.waitRoute(5*time.Second, "198.51.100.0/24", "")
	n.waitRoute(5*time.Second, "192.0.2.0/24", "10.0.0.1")
	routers.Eventually(t, 5*time.Second, func() error {
		if got := n.sessionTo("10.0.0.1"); got.LastError != "" || got.Received != 1 {
			return fmt.Errorf("status is %+v", got)
		}
		return nil
	})
}

// segment is a node and BIRDs on one link: .1 is AS 65001 and announces 192.0.2.0/24, .3 is AS 65003, .4 is AS 64512.
func segment(t *testing.T, options string) (n *node, outside, inside *routers.Bird) {
	t.Helper()
	sw := routers.NewSwitch(t)
	n = newNode(t, "node")
	sw.Plug(n.host, "10.0.0.2/24")
	start := func(last, as int, static string) *routers.Bird {
		h := routers.NewHost(t, fmt.Sprintf("r%d", last))
		address := fmt.Sprintf("10.0.0.%d", last)
		sw.Plug(h, address+"/24")
		return routers.StartBird(t, h, address, fmt.Sprintf(`%s
protocol bgp node { local %s as %d; neighbor 10.0.0.2 as 64512; direct; connect delay time 1; %s
  ipv4 { import all; export where source = RTS_STATIC; }; }`, static, address, as, options))
	}
	start(1, 65001, "protocol static { ipv4; route 192.0.2.0/24 blackhole; }")
	return n, start(3, 65003, ""), start(4, 64512, "")
}

func TestNextHopModes(t *testing.T) {
	t.Parallel()
	n, outside, inside := segment(t, "")
	source, external, internal := to(65001, "10.0.0.2", "10.0.0.1"), to(65003, "10.0.0.2", "10.0.0.3"), to(64512, "10.0.0.2", "10.0.0.4")
	external.Export, internal.Export = remote(), remote()
	for _, c := range []struct {
		mode            bgpplan.NextHop
		outside, inside string
	}{
		{bgpplan.NextHopAuto, "10.0.0.2", "10.0.0.1"}, {bgpplan.NextHopSelf, "10.0.0.2", "10.0.0.2"}, {bgpplan.NextHopKeep, "10.0.0.1", "10.0.0.1"},
		{bgpplan.NextHopAuto, "10.0.0.2", "10.0.0.1"},
	} {
		external.NextHop, internal.NextHop = c.mode, c.mode
		n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{source, external, internal}, "10.211.0.0/26"))
		for b, hop := range map[*routers.Bird]string{outside: c.outside, inside: c.inside} {
			routers.Eventually(t, 10*time.Second, has(b, "192.0.2.0/24", "BGP.next_hop: "+hop+"\n"))
			routers.Eventually(t, 2*time.Second, has(b, "10.211.0.0/26", "BGP.next_hop: 10.0.0.2\n"))
		}
		routers.Eventually(t, time.Second, has(outside, "192.0.2.0/24", "BGP.as_path: 64512 65001\n"))
		routers.Eventually(t, time.Second, has(inside, "192.0.2.0/24", "BGP.as_path: 65001\n"))
	}
}

// TestLocalPreference sets it by filters. Other autonomous systems must not see it (RFC 4271 section 5.1.5): the BIRD
// outside would take it.
func TestLocalPreference(t *testing.T) {
	t.Parallel()
	n, outside, inside := segment(t, "allow bgp_local_pref on;")
	source, external, internal := to(65001, "10.0.0.2", "10.0.0.1"), to(65003, "10.0.0.2", "10.0.0.3"), to(64512, "10.0.0.2", "10.0.0.4")
	source.Import = prefer(250)
	external.Export, internal.Export = remote(), remote()
	apply := func() {
		t.Helper()
		n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{source, external, internal}, "10.211.0.0/26"))
	}
	apply()
	routers.Eventually(t, 10*time.Second, has(inside, "192.0.2.0/24", "BGP.local_pref: 250\n"))
	routers.Eventually(t, 10*time.Second, has(inside, "10.211.0.0/26", "BGP.local_pref: 100\n"))
	routers.Eventually(t, 10*time.Second, has(outside, "192.0.2.0/24", "BGP.local_pref: 100\n"))

	own := bgpplan.Rule{Accept: true, Origin: bgpplan.OriginLocal, Operations: []bgpplan.Operation{preference(300)}}
	internal.Export = append(remote(preference(400)), own)
	external.Export = append(remote(preference(400), bgpplan.Operation{AddCommunity: "64512:4"}), own)
	apply()
	routers.Eventually(t, 5*time.Second, has(inside, "192.0.2.0/24", "BGP.local_pref: 400\n"))
	routers.Eventually(t, 5*time.Second, has(inside, "10.211.0.0/26", "BGP.local_pref: 300\n"))
	routers.Eventually(t, 5*time.Second, has(outside, "192.0.2.0/24", "(64512,4)", "BGP.local_pref: 100\n"))
	routers.Eventually(t, 5*time.Second, has(outside, "10.211.0.0/26", "BGP.local_pref: 100\n"))
}

// TestPreferredPeer has two routers announce the same prefix: the import filter decides which one is used.
func TestPreferredPeer(t *testing.T) {
	t.Parallel()
	n, one, two := newNode(t, "node"), routers.NewHost(t, "tor1"), routers.NewHost(t, "tor2")
	routers.Connect(t, n.host, "10.0.1.2/24", one, "10.0.1.1/24")
	routers.Connect(t, n.host, "10.0.2.2/24", two, "10.0.2.1/24")
	routers.StartFRR(t, one, frrConfig(65001, "10.0.1.1", "10.0.1.2", 64512, ""))
	routers.StartFRR(t, two, frrConfig(65001, "10.0.2.1", "10.0.2.2", 64512, ""))
	first, second := to(65001, "10.0.1.2", "10.0.1.1"), to(65001, "10.0.2.2", "10.0.2.1")
	apply := func() {
		t.Helper()
		n.apply(plan(64512, "10.0.1.2", []bgpplan.Session{first, second}))
	}
	apply()
	n.waitRoute(15*time.Second, "192.0.2.0/24", "10.0.1.1 10.0.2.1")
	second.Import = prefer(200)
	apply()
	n.waitRoute(5*time.Second, "192.0.2.0/24", "10.0.2.1")
	second.Import = prefer(50)
	apply()
	n.waitRoute(5*time.Second, "192.0.2.0/24", "10.0.1.1")
	second.Import = nil
	apply()
	n.waitRoute(5*time.Second, "192.0.2.0/24", "10.0.1.1 10.0.2.1")
}
