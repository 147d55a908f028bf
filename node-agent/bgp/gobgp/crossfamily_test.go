package gobgp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/test/routers"
)

// TestNextHopOfTheOtherFamily passes learned routes of both families on over a session of either. The node must name its
// address of the route's family (RFC 4760 section 3).
func TestNextHopOfTheOtherFamily(t *testing.T) {
	t.Parallel()
	const source = `protocol static { ipv6; route 2001:db8:99::/48 blackhole; }
protocol static { ipv4; route 192.0.2.0/24 blackhole; }
protocol bgp node { local 10.0.0.1 as 65001; neighbor 10.0.0.2 as 64512; connect delay time 1;
  ipv4 { import all; export all; }; ipv6 { import all; export all; next hop address 2001:db8::1; }; }`
	for name, c := range map[string]struct {
		own, peer, other string
		as               uint32
		mode             bgpplan.NextHop
	}{
		"external over IPv4":       {"10.0.0.2", "10.0.0.3", "2001:db8::2", 65002, bgpplan.NextHopAuto},
		"external over IPv6":       {"2001:db8::2", "2001:db8::3", "10.0.0.2", 65002, bgpplan.NextHopAuto},
		"internal, self over IPv4": {"10.0.0.2", "10.0.0.3", "2001:db8::2", 64512, bgpplan.NextHopSelf},
		"internal, self over IPv6": {"2001:db8::2", "2001:db8::3", "10.0.0.2", 64512, bgpplan.NextHopSelf},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, one, two := newNode(t, "node"), routers.NewHost(t, "tor1"), routers.NewHost(t, "tor2")
			sw := routers.NewSwitch(t)
			for h, last := range map[*routers.Host]int{one: 1, n.host: 2, two: 3} {
				sw.Plug(h, fmt.Sprintf("10.0.0.%d/24 2001:db8::%d/64", last, last))
			}
			routers.StartBird(t, one, "10.0.0.1", source)
			b := routers.StartBird(t, two, "10.0.0.3", fmt.Sprintf(`protocol bgp node { local %s as %d; neighbor %s as 64512; direct;
  connect delay time 1; ipv4 { import all; export none; }; ipv6 { import all; export none; }; }`, c.peer, c.as, c.own))
			first, second := to(65001, "10.0.0.2", "10.0.0.1"), to(c.as, c.own, c.peer)
			first.IPv6, first.OtherAddress = true, addr("2001:db8::2")
			second.IPv4, second.IPv6, second.OtherAddress = true, true, addr(c.other)
			second.NextHop, second.Export = c.mode, remote()
			p := plan(64512, c.own, []bgpplan.Session{first, second}, "10.211.0.0/26", "fd00:211::/122")
			hops := map[bool]string{strings.Contains(c.own, ":"): c.own, strings.Contains(c.other, ":"): c.other}
			for i := range p.Announcements {
				p.Announcements[i].NextHop = addr(hops[p.Announcements[i].Prefix.Addr().Is6()])
			}
			n.apply(p)
			for _, prefix := range []string{"192.0.2.0/24", "2001:db8:99::/48", "10.211.0.0/26", "fd00:211::/122"} {
				routers.Eventually(t, 10*time.Second, has(b, prefix, "BGP.next_hop: "+hops[strings.Contains(prefix, ":")]))
			}
			// Another mode touches both families, and neither the session.
			n.waitEstablished(time.Second, c.peer)
			since := n.sessionTo(c.peer).Since
			second.NextHop = bgpplan.NextHopKeep
			p.Sessions = []bgpplan.Session{p.Sessions[0], second}
			p.Sessions[1].LocalAS = 64512
			n.apply(p)
			routers.Eventually(t, 5*time.Second, has(b, "192.0.2.0/24", "BGP.next_hop: 10.0.0.1"))
			routers.Eventually(t, 5*time.Second, has(b, "2001:db8:99::/48", "BGP.next_hop: 2001:db8::1"))
			if got := n.sessionTo(c.peer).Since; got != since {
				t.Error("a change of the next hop mode has reset the session")
			}
		})
	}
}
