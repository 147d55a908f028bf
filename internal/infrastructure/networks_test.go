package infrastructure

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func ExampleNetworks_Hits() {
	networks := Of(
		NodeAddress("a", netip.MustParseAddr("172.30.1.2")), NodeSubnet("a", netip.MustParsePrefix("172.30.1.2/24")),
		APIServer(netip.MustParseAddr("172.30.0.1")), ServiceRange(netip.MustParsePrefix("10.96.0.0/16")),
		LinkNetwork("docker0", netip.MustParsePrefix("172.17.0.0/16")),
	)
	for _, pool := range []string{"172.30.0.0/16", "172.30.1.128/26", "10.96.3.0/24", "172.17.0.0/16", "10.211.0.0/16", "::/0"} {
		fmt.Printf("%s hits (%s)\n", pool, Describe(networks.Hits(netip.MustParsePrefix(pool))))
	}
	// Output:
	// 172.30.0.0/16 hits (the address 172.30.0.1 of the API server, the subnet 172.30.1.0/24 of node a and the address 172.30.1.2 of node a)
	// 172.30.1.128/26 hits (the subnet 172.30.1.0/24 of node a)
	// 10.96.3.0/24 hits (the Service range 10.96.0.0/16)
	// 172.17.0.0/16 hits (the network 172.17.0.0/16 of the link docker0)
	// 10.211.0.0/16 hits ()
	// ::/0 hits ()
}

func TestWhatNoPoolCanTouchIsLeftOut(t *testing.T) {
	zero := netip.Prefix{}
	n := Of(ServiceRange(zero), NodeSubnet("a", netip.MustParsePrefix("0.0.0.0/0")), NodeAddress("a", netip.MustParseAddr("127.0.0.1")),
		NodeAddress("a", netip.MustParseAddr("fe80::1%eth0")), APIServer(netip.MustParseAddr("::1")))
	if got := n.All(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	mapped := Of(NodeAddress("a", netip.MustParseAddr("::ffff:10.0.0.1")))
	if got := mapped.Hits(netip.MustParsePrefix("10.0.0.0/26")); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// TestHitsAgreeWithTheObviousWay compares with asking every network in turn.
func TestHitsAgreeWithTheObviousWay(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	prefix := func() netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(4)), byte(random.IntN(256))}), 16+random.IntN(17)).Masked()
	}
	for range 1000 {
		var networks []Network
		for i := range random.IntN(12) {
			networks = append(networks, NodeSubnet(fmt.Sprint(i), prefix()))
		}
		p := prefix()
		var want []string
		for _, n := range networks {
			if n.Prefix.Overlaps(p) {
				want = append(want, n.What())
			}
		}
		var got []string
		for _, n := range Of(networks...).Hits(p) {
			got = append(got, n.What())
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%s in %v: %v, want %v", p, networks, got, want)
		}
	}
}
