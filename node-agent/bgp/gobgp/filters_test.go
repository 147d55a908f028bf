package gobgp_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/test/routers"
)

// thirdParty is a router whose routes, but for 192.0.2.0/24, have next hops on other links.
const thirdParty = `protocol static { ipv4; route 192.0.2.0/24 blackhole; route 198.51.100.0/24 blackhole; ROUTE }
protocol bgp node { local 10.0.1.1 as 65001; neighbor 10.0.1.2 as 64512; connect delay time 1; ipv4 { import all; export filter {
  if net = 198.51.100.0/24 then bgp_next_hop = 10.0.3.9;
  if net = 10.96.0.0/16 then bgp_next_hop = 10.0.2.9;
  accept; }; }; }`

// TestFiltersByInterfaceAndSource goes from BGPFilters through the planner to the routers.
func TestFiltersByInterfaceAndSource(t *testing.T) {
	t.Parallel()
	n, one, two := newNode(t, "node"), routers.NewHost(t, "tor1"), routers.NewHost(t, "tor2")
	routers.Connect(t, n.host, "10.0.1.2/24", one, "10.0.1.1/24")
	routers.Connect(t, n.host, "10.0.2.2/24", two, "10.0.2.1/24")
	config := func(route string) string { return strings.Replace(thirdParty, "ROUTE", route, 1) }
	first := routers.StartBird(t, one, "10.0.1.1", config("route 10.96.0.0/16 blackhole;"))
	second := routers.StartBird(t, two, "10.0.2.1", `protocol static { ipv4; route 100.64.0.0/24 blackhole; }
protocol bgp node { local 10.0.2.1 as 65002; neighbor 10.0.2.2 as 64512; connect delay time 1; ipv4 { import all; export where source = RTS_STATIC; }; }`)

	in := bgpplan.Input{
		Node: "a", Configuration: &v1alpha1.BGPConfiguration{},
		NodeNetworks: []v1alpha1.NodeNetwork{{ObjectMeta: metav1.ObjectMeta{Name: "a"}}},
		Pools:        []bgpplan.Pool{{Name: "pods", CIDR: netip.MustParsePrefix("10.211.0.0/16"), Export: true}},
		Blocks:       []bgpplan.Block{{CIDR: netip.MustParsePrefix("10.211.0.0/26"), Pool: "pods"}},
	}
	in.NodeNetworks[0].Status.Addresses = []v1alpha1.NodeAddress{{Address: "10.0.1.2", Subnet: "10.0.1.0/24"}}
	in.Configuration.Spec.ServiceClusterIPs = []v1alpha1.ServiceCIDR{{CIDR: "10.96.0.0/16"}}
	for name, prefix := range map[string]string{"up1": "10.0.1.0/24", "up2": "10.0.2.0/24", "up3": "10.0.3.0/24"} {
		in.Links = append(in.Links, bgpplan.Link{Name: name, Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}})
	}
	peer := func(name, ip string, as int64, filters ...string) v1alpha1.BGPPeer {
		p := v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}}
		p.Spec.PeerIP, p.Spec.ASNumber, p.Spec.Filters, p.Spec.SourceAddress = ip, &as, filters, v1alpha1.SourceAddressNone
		return p
	}
	in.Peers = []v1alpha1.BGPPeer{peer("one", "10.0.1.1", 65001, "in"), peer("two", "10.0.2.1", 65002, "in", "out")}
	filter := func(name string, imports, exports []v1alpha1.BGPFilterRule) v1alpha1.BGPFilter {
		return v1alpha1.BGPFilter{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.BGPFilterSpec{ImportV4: imports, ExportV4: exports},
		}
	}
	apply := func(exports ...v1alpha1.BGPFilterRule) {
		t.Helper()
		in.Filters = []v1alpha1.BGPFilter{
			filter("in", []v1alpha1.BGPFilterRule{{Action: v1alpha1.FilterReject, Interface: "up2*"}}, nil), filter("out", nil, exports),
		}
		p := bgpplan.Make(in)
		if len(p.Problems) > 0 {
			t.Fatal(p.Problems)
		}
		n.apply(p)
	}

	apply(v1alpha1.BGPFilterRule{Action: v1alpha1.FilterAccept, Source: v1alpha1.FilterSourceRemotePeers, Interface: "up1"},
		v1alpha1.BGPFilterRule{Action: v1alpha1.FilterReject, Source: v1alpha1.FilterSourceServices})
	n.waitRoute(10*time.Second, "192.0.2.0/24", "10.0.1.1")
	n.waitRoute(time.Second, "198.51.100.0/24", "10.0.3.9")
	routers.Eventually(t, 10*time.Second, has(second, "192.0.2.0/24", "BGP.next_hop: 10.0.2.2\n"))
	routers.Eventually(t, time.Second, has(second, "10.211.0.0/26", "BGP.next_hop: 10.0.2.2\n"))
	routers.Eventually(t, 5*time.Second, has(first, "10.96.0.0/16", "BGP.next_hop: 10.0.1.2"))
	for _, prefix := range []string{"198.51.100.0/24", "10.96.0.0/16"} {
		if got := second.Route(prefix); got != "" {
			t.Errorf("the export filter let through: %s", got)
		}
	}
	n.waitEstablished(time.Second, "10.0.1.1", "10.0.2.1")
	if routes := n.Routes().Routes; len(routes) != 2 {
		t.Errorf("the import filter let in one of two too many: %v", routes)
	}

	apply(v1alpha1.BGPFilterRule{Action: v1alpha1.FilterAccept, Source: v1alpha1.FilterSourceRemotePeers, Interface: "up3"},
		v1alpha1.BGPFilterRule{Action: v1alpha1.FilterReject, Source: v1alpha1.FilterSourceLocalBlocks})
	routers.Eventually(t, 5*time.Second, has(second, "10.96.0.0/16", "BGP.next_hop: 10.0.2.2\n"))
	routers.Eventually(t, 5*time.Second, has(second, "198.51.100.0/24", "BGP.next_hop: 10.0.2.2\n"))
	routers.Eventually(t, 5*time.Second, hasNot(second, "10.211.0.0/26"))
	routers.Eventually(t, 5*time.Second, hasNot(second, "192.0.2.0/24"))

	// That a route was refused or withdrawn that the filter never let in, beside one of ours, is nothing to warn of.
	// 192.0.2.0/24 says that the withdrawal has come.
	first.Reconfigure("10.0.1.1", strings.Replace(config(""), "route 192.0.2.0/24 blackhole;", "", 1))
	n.waitRoute(5*time.Second, "192.0.2.0/24", "")
	log, err := os.ReadFile(n.log)
	if err != nil || strings.Contains(string(log), "level=WARN") {
		t.Errorf("the speaker's log: %v\n%s", err, log)
	}
}
