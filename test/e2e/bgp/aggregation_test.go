package bgp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// rackRouter is a BIRD that hears every block from the nodes of two racks, and tells the upstream of two prefixes only.
const rackRouter = `
protocol kernel { ipv4 { import none; export all; }; }
protocol static racks { ipv4; route %s blackhole; route %s blackhole; }
template bgp rack {
	local as 65001;
	ipv4 { import all; export where source = RTS_BGP; };
}
protocol bgp one from rack { neighbor range 172.30.1.0/24 as 64512; dynamic name "one"; }
protocol bgp two from rack { neighbor range 172.30.2.0/24 as 64512; dynamic name "two"; }
protocol bgp upstream {
	local 172.30.9.1 as 65001;
	neighbor 172.30.9.2 as 65009;
	ipv4 { import none; export where source = RTS_STATIC; };
}`

// upstream is a BIRD on the outside that routes by what the racks' router says.
const upstream = `
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol bgp racks {
	local 172.30.9.2 as 65009;
	neighbor 172.30.9.1 as 65001;
	ipv4 { import all; export none; };
}`

// TestOneRouteForARack has two racks of two nodes with many blocks each. The upstream reaches every pod by one prefix for each rack.
func TestOneRouteForARack(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 4, Subnets: 2})
	size, p := int32(29), pool("pool", podsNetwork)
	p.Spec.BlockSize, p.Spec.Aggregation = &size, &v1alpha1.Aggregation{TopologyKey: "topology.kubernetes.io/zone", PrefixLength: 22}
	l.Create(t, p)
	pods := l.PodsOnAll(t, "pod")
	for i := range 8 { // more than one block holds
		l.MustStartPod(t, 0, fmt.Sprintf("default/more-%d", i))
	}
	prefixes := rackPrefixes(t, l, 22)
	if len(prefixes) != 2 {
		t.Fatalf("the blocks of two racks are in %v", prefixes)
	}

	unlessLearned(t, l)
	startBird(t, l, l.Command, "172.30.0.1", fmt.Sprintf(rackRouter, prefixes[0], prefixes[1]))
	above := startBird(t, l, l.Outside.Command, "172.30.9.2", upstream)
	l.Create(t, configuration())
	for n := range 2 {
		l.Create(t, rack(n+1))
	}
	awaitSessions(t, l, "BGPPeer/rack-1", 1, 1, 0, 0)
	awaitSessions(t, l, "BGPPeer/rack-2", 0, 0, 1, 1)
	l.Eventually(t, lab.Settle, "the upstream has one route for each rack", func() error {
		has, err := above.prefixes()
		if err != nil {
			return err
		}
		if !slices.Equal(has, prefixes) {
			return fmt.Errorf("it has %v, want %v", has, prefixes)
		}
		return nil
	})
	l.Eventually(t, lab.Settle, "the outside reaches every pod", func() error {
		var errs []error
		for _, pod := range pods {
			errs = append(errs, lab.Ping(t.Context(), l.Outside, pod.V4()))
		}
		return errors.Join(errs...)
	})
	l.AwaitMatrix(t, pods)
}

// rackPrefixes returns the prefixes of a length that hold the blocks, in order. No rack has a block in a prefix of the other.
func rackPrefixes(t *testing.T, l *lab.Lab, bits int) (prefixes []string) {
	t.Helper()
	var blocks v1alpha1.IPBlockList
	if err := l.Client.List(t.Context(), &blocks); err != nil {
		t.Fatal(err)
	}
	subnets := map[string]int{}
	for _, b := range blocks.Items {
		prefix := netip.PrefixFrom(netip.MustParsePrefix(b.Spec.CIDR).Addr(), bits).Masked().String()
		subnet := l.Node(b.Spec.Node).Subnet
		if other, known := subnets[prefix]; known && other != subnet {
			t.Errorf("%s has blocks of racks %d and %d", prefix, other, subnet)
		}
		subnets[prefix] = subnet
	}
	for prefix := range subnets {
		prefixes = append(prefixes, prefix)
	}
	slices.Sort(prefixes)
	t.Logf("%d blocks in %v", len(blocks.Items), prefixes)
	return prefixes
}
