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

// TestExternalPeerOverIPv6 has a session of IPv6 alone, with all that differs from IPv4 in socket options and filters.
func TestExternalPeerOverIPv6(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	b := routers.StartBird(t, h, "10.0.0.1", `protocol static { ipv6; route 2001:db8:99::/48 blackhole; route 2001:db8:98::/48 blackhole; }
protocol bgp node { local 2001:db8::1 as 65001; neighbor 2001:db8::2 as 64512; password "secret"; ttl security on;
  connect delay time 1; graceful restart on; ipv6 { import all; export all; }; }`)
	within := func(p string) []bgpplan.PrefixRange {
		prefix := netip.MustParsePrefix(p)
		return []bgpplan.PrefixRange{{Prefix: prefix, Min: uint8(prefix.Bits()), Max: 128}}
	}
	s := to(65001, "2001:db8::2", "2001:db8::1")
	s.Password, s.TTLSecurity = "secret", 1
	s.Import = []bgpplan.Rule{{Prefixes: within("2001:db8:98::/48")}}
	s.Export = []bgpplan.Rule{
		{Prefixes: within("fd00:212::/32")},
		{Accept: true, Prefixes: within("fd00:211::/32"), Operations: []bgpplan.Operation{{AddCommunity: "64512:6"}}},
	}
	p := plan(64512, "2001:db8::2", []bgpplan.Session{s}, "fd00:211::/122", "fd00:212::/122", "fd00:213::/122")
	n.apply(p)
	n.waitRoute(10*time.Second, "2001:db8:99::/48", "2001:db8::1")
	routers.Eventually(t, 5*time.Second, has(b, "fd00:211::/122", "BGP.next_hop: 2001:db8::2", "BGP.as_path: 64512\n", "(64512,6)"))
	routers.Eventually(t, 5*time.Second, has(b, "fd00:213::/122", "BGP.next_hop: 2001:db8::2"))
	if got := b.Route("fd00:212::/122"); got != "" {
		t.Errorf("the filter let through: %s", got)
	}
	if got := n.route("2001:db8:98::/48"); got != "" {
		t.Errorf("the filter let in 2001:db8:98::/48 via %s", got)
	}
	p.Announcements = p.Announcements[:2:2]
	n.apply(p)
	routers.Eventually(t, 5*time.Second, hasNot(b, "fd00:213::/122"))
	b.Ctl("disable", "node")
	n.waitRoute(5*time.Second, "2001:db8:99::/48", "")
}

// TestLocalASNumber shows another AS number of two octets than the node's own, which has four, to a peer that knows only
// two (RFC 6793).
func TestLocalASNumber(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	config := `protocol static { ipv4; route 192.0.2.0/24 blackhole; route 198.51.100.0/24 blackhole; route 203.0.113.0/24 blackhole; }
protocol bgp node { local 10.0.0.1 as AS; neighbor 10.0.0.2 as 64999; enable as4 off; connect delay time 1; ipv4 { import all; export filter {
  if net = 198.51.100.0/24 then bgp_path.prepend(64999);
  accept; }; }; }`
	b := routers.StartBird(t, h, "10.0.0.1", strings.Replace(config, "AS", "65001", 1))
	s := to(65001, "10.0.0.2", "10.0.0.1")
	s.LocalAS = 64999
	n.apply(plan(4200000000, "10.0.0.2", []bgpplan.Session{s}, "10.211.0.0/26"))
	n.waitRoute(10*time.Second, "192.0.2.0/24", "10.0.0.1")
	n.waitRoute(time.Second, "203.0.113.0/24", "10.0.0.1")
	routers.Eventually(t, 5*time.Second, has(b, "10.211.0.0/26", "BGP.as_path: 64999\n", "BGP.next_hop: 10.0.0.2"))
	if got := n.route("198.51.100.0/24"); got != "" {
		t.Errorf("a route with a loop is via %s", got)
	}

	// The same number on both sides makes an internal session.
	s.PeerAS = 64999
	n.apply(plan(4200000000, "10.0.0.2", []bgpplan.Session{s}, "10.211.0.0/26"))
	b.Reconfigure("10.0.0.1", strings.Replace(config, "AS", "64999", 1))
	routers.Eventually(t, 20*time.Second, func() error {
		if got := n.sessionTo("10.0.0.1"); !got.Established() || got.AS != 64999 {
			return fmt.Errorf("status is %+v", got)
		}
		return nil
	})
	n.waitRoute(5*time.Second, "192.0.2.0/24", "10.0.0.1")
	routers.Eventually(t, 5*time.Second, has(b, "10.211.0.0/26", "BGP.as_path: \n", "BGP.local_pref: 100\n"))
}
