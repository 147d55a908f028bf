package linux

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/test/namespaces"
)

func TestMain(m *testing.M) { os.Exit(namespaces.Main(m, namespaces.Prepare)) }

// enter puts the test into a network namespace of its own, with a NIC and two pods' host ends. The thread, and with it
// the namespace, ends with the test.
func enter(t testing.TB) *Applier {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	for _, c := range []string{
		"ip link set lo up",
		"ip link add eth0 type veth peer name fabric", "ip link set fabric up", "ip link set eth0 up",
		"ip address add 192.168.0.1/24 dev eth0", "ip address add fd01::1/64 dev eth0 nodad",
		"ip route add default via 192.168.0.254",
		"ip link add cw00000000001 type veth peer name p1", "ip link set p1 up", "ip link set cw00000000001 up",
		"ip link add cw00000000002 type veth peer name p2", "ip link set p2 up", "ip link set cw00000000002 up",
	} {
		run(t, c)
	}
	a, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() }) //nolint:errcheck // nothing depends on it
	return a
}

// watch starts the applier's watch until the test ends.
func watch(t testing.TB, a *Applier) (wake, pods <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	events := a.Watch(ctx)
	wake, pods = events.Changed, events.Pods
	t.Cleanup(func() {
		cancel()
		for range wake { //nolint:revive // until it is closed
		}
	})
	return wake, pods
}

func run(t testing.TB, command string) string {
	t.Helper()
	fields := strings.Fields(command)
	out, err := exec.Command(fields[0], fields[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

// input is a node with blocks and pods of both families.
func input() plan.Input {
	pfx, addr := netip.MustParsePrefix, netip.MustParseAddr
	created := time.Unix(1000, 0)
	return plan.Input{
		Node:         "a",
		V4:           plan.Underlay{Address: addr("192.168.0.1"), Subnet: pfx("192.168.0.0/24"), Interface: "eth0", MTU: 1500},
		V6:           plan.Underlay{Address: addr("fd01::1"), Subnet: pfx("fd01::/64"), Interface: "eth0", MTU: 1500},
		Capabilities: plan.Capabilities{Links: map[plan.LinkKind]bool{plan.KindVXLAN: true}, NFTables: true},
		Pools: []plan.Pool{
			{Name: "four", CIDR: pfx("10.0.0.0/16"), Encapsulation: v1alpha1.EncapsulationVXLANCrossSubnet, Settled: true, NATOutgoing: true},
			{Name: "six", CIDR: pfx("fd00::/48"), Encapsulation: v1alpha1.EncapsulationVXLANCrossSubnet, Settled: true},
		},
		Blocks: []*plan.Block{
			{CIDR: pfx("10.0.0.0/26"), Pool: "four", Node: "a", NodeAddresses: []netip.Addr{addr("192.168.0.1"), addr("fd01::1")}, Created: created},
			{CIDR: pfx("10.0.1.0/26"), Pool: "four", Node: "b", NodeAddresses: []netip.Addr{addr("192.168.0.2"), addr("fd01::2")}, Created: created},
			{CIDR: pfx("10.0.2.0/26"), Pool: "four", Node: "c", NodeAddresses: []netip.Addr{addr("192.168.1.3"), addr("fd02::3")}, Created: created},
			{CIDR: pfx("fd00::/122"), Pool: "six", Node: "a", NodeAddresses: []netip.Addr{addr("192.168.0.1"), addr("fd01::1")}, Created: created},
			{CIDR: pfx("fd00::40/122"), Pool: "six", Node: "b", NodeAddresses: []netip.Addr{addr("192.168.0.2"), addr("fd01::2")}, Created: created},
			{CIDR: pfx("fd00::80/122"), Pool: "six", Node: "c", NodeAddresses: []netip.Addr{addr("192.168.1.3"), addr("fd02::3")}, Created: created},
		},
		Endpoints: []plan.Endpoint{
			{Interface: "cw00000000001", Addresses: []netip.Addr{addr("10.0.0.1"), addr("fd00::1")}, Pools: []string{"four", "six"}, Ready: true},
		},
	}
}

// apply makes one pass of the loop, and fails the test on any failure of it.
func apply(t testing.TB, a *Applier, in plan.Input) kernel.Report {
	t.Helper()
	r, plan := pass(t, a, in)
	if len(r.Failures) > 0 {
		t.Fatalf("apply: %v\nplan:\n%s", r.Failures, plan)
	}
	return r
}

func pass(t testing.TB, a *Applier, in plan.Input) (kernel.Report, plan.Plan) {
	t.Helper()
	in.Tunnels = observe(t, a).Tunnels
	plan := plan.Make(in)
	return a.Apply(context.Background(), plan), plan
}

func observe(t testing.TB, a *Applier) kernel.Observed {
	t.Helper()
	o, err := a.Observe(context.Background(), kernel.Query{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func sends(in *plan.Input, e v1alpha1.Encapsulation) {
	in.Pools = slices.Clone(in.Pools)
	for i := range in.Pools {
		in.Pools[i].Encapsulation = e
	}
}

// routes are what `ip` shows of ours.
func routes(t testing.TB) string {
	t.Helper()
	var out strings.Builder
	for _, family := range []string{"-4", "-6"} {
		for _, protocol := range []int{202, 203} {
			out.WriteString(run(t, fmt.Sprintf("ip %s route show proto %d", family, protocol)))
		}
	}
	return out.String()
}

func expect(t testing.TB, have string, lines ...string) {
	t.Helper()
	squeezed := strings.Join(strings.Fields(have), " ")
	for _, l := range lines {
		if !strings.Contains(squeezed, l) {
			t.Errorf("missing: %s\nin:\n%s", l, have)
		}
	}
}
