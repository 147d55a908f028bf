package linux

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// plannedNode makes a whole pass, and returns the planner of what the kernel shows then.
func plannedNode(t *testing.T, a *Applier, in plan.Input) *plan.Planner {
	t.Helper()
	apply(t, a, in)
	in.Tunnels = observe(t, a).Tunnels
	p := plan.New(in)
	if r := a.Apply(context.Background(), p.Plan()); len(r.Failures) > 0 {
		t.Fatal(r.Failures)
	}
	return p
}

func applyChanges(t *testing.T, a *Applier, p *plan.Planner) kernel.Report {
	t.Helper()
	r, ok := a.ApplyChanges(context.Background(), p.Flush())
	if !ok || len(r.Failures) > 0 {
		t.Fatalf("%v %v", ok, r.Failures)
	}
	return r
}

func TestChangesOfBlocks(t *testing.T) {
	a := enter(t)
	watch(t, a)
	p := plannedNode(t, a, input())
	table := regexp.MustCompile(`table inet causeway \{ # handle \d+`)
	before := table.FindString(run(t, "nft -a list table inet causeway"))

	far := &plan.Block{CIDR: netip.MustParsePrefix("10.0.9.0/26"), Pool: "four", Node: "d", NodeAddresses: []netip.Addr{netip.MustParseAddr("192.168.7.7")}, Created: time.Unix(3000, 0)}
	p.SetBlock(far)
	if r := applyChanges(t, a, p); r.Changes != 4 {
		t.Errorf("a new block of a new node: %d changes", r.Changes) // a route, a neighbour, an FDB entry, the set of nodes
	}
	expect(t, routes(t), "10.0.9.0/26 via 10.0.9.0 dev vxlan.cw onlink", "10.0.1.0/26 via 192.168.0.2 dev eth0")
	expect(t, run(t, "bridge fdb show dev vxlan.cw"), "dst 192.168.7.7 self permanent")
	set := run(t, "nft -a list table inet causeway")
	if now := table.FindString(set); now != before || !strings.Contains(set, "192.168.7.7") {
		t.Errorf("the table was %q, is %q, with\n%s", before, now, set)
	}

	moved := *far
	moved.Node, moved.NodeAddresses = "b", []netip.Addr{netip.MustParseAddr("192.168.0.2")} // it changes hands
	p.SetBlock(&moved)
	applyChanges(t, a, p)
	expect(t, routes(t), "10.0.9.0/26 via 192.168.0.2 dev eth0")
	for _, command := range []string{"bridge fdb show dev vxlan.cw", "ip neigh show dev vxlan.cw", "nft list table inet causeway"} {
		if out := run(t, command); strings.Contains(out, "192.168.7.7") || strings.Contains(out, "10.0.9.0") {
			t.Errorf("%s still shows it:\n%s", command, out)
		}
	}
	p.DropBlock(far.CIDR)
	applyChanges(t, a, p)
	if strings.Contains(routes(t), "10.0.9.0") {
		t.Error(routes(t))
	}
	if r := a.Apply(context.Background(), p.Plan()); r.Changes != 0 || len(r.Failures) > 0 {
		t.Errorf("compared as a whole there are %d changes, %v", r.Changes, r.Failures)
	}
}

// TestWhoDisturbs tells what a pod's end does to the kernel from what somebody does to our routes.
func TestWhoDisturbs(t *testing.T) {
	a := enter(t)
	// Addresses whose duplicates the kernel still looks for change by themselves a second or two later.
	for _, which := range []string{"all", "default"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/accept_dad", []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "ip link add cw0aaaaaaaaa1 type veth peer name cw0aaaaaaaaa2") // both ends, as the pod's own namespace is not here
	run(t, "ip link set cw0aaaaaaaaa1 up")
	wake, _ := watch(t, a)
	in := input()
	for _, c := range []struct {
		do        string
		disturbed bool
	}{
		{"ip link del cw0aaaaaaaaa1", false},
		{"ip -6 route del fd00::1", true},
		{"ip link set cw00000000001 down", true},
		{"ip route del 10.0.0.1", true},
		{"ip route add 203.0.113.0/24 via 192.168.0.9", false},
		{"ip neigh del 10.0.2.0 dev vxlan.cw", true},
		{"ip link add cwan0 type veth peer name cwan1", true},
	} {
		run(t, "ip link set cw00000000001 up")
		plannedNode(t, a, in)
		for quiet := false; !quiet; { // our own changes of links and of the filter come to rest
			select {
			case <-wake:
			case <-time.After(700 * time.Millisecond):
				quiet = true
			}
			observe(t, a)
		}
		run(t, c.do)
		select {
		case <-wake:
		case <-time.After(10 * time.Second):
			t.Fatalf("nothing tells of %q", c.do)
		}
		time.Sleep(50 * time.Millisecond) // as the loop does: several events belong together
		if o := observe(t, a); o.Disturbed != c.disturbed {
			t.Errorf("after %q the kernel is disturbed: %v", c.do, o.Disturbed)
		}
	}
}

func TestARouteThatWasInTheWayIsNoticedWhenItGoes(t *testing.T) {
	a := enter(t)
	wake, _ := watch(t, a)
	run(t, "ip route add 10.0.1.0/26 dev eth0 proto static")
	r, _ := pass(t, a, input())
	if len(r.Failures) != 1 || r.Failures[0].Dst.String() != "10.0.1.0/26" {
		t.Fatalf("failures %v", r.Failures)
	}
	run(t, "ip route del 10.0.1.0/26 proto static")
	limit := time.After(10 * time.Second)
	for disturbed := false; !disturbed; {
		select {
		case <-wake:
			disturbed = observe(t, a).Disturbed
		case <-limit:
			t.Fatal("nothing tells of it")
		}
	}
	apply(t, a, input())
	expect(t, routes(t), "10.0.1.0/26 via 192.168.0.2 dev eth0")
}

func TestNftHasATimeLimit(t *testing.T) {
	a := enter(t)
	fake := t.TempDir()
	if err := os.WriteFile(filepath.Join(fake, "nft"), []byte("#!/bin/sh\nsleep 600\n"), 0o755); err != nil { //nolint:gosec // it must be executable
		t.Fatal(err)
	}
	t.Setenv("PATH", fake+":"+os.Getenv("PATH"))
	a.nft.within = 300 * time.Millisecond
	start := time.Now()
	r, _ := pass(t, a, input())
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("a pass took %s", took)
	}
	if len(r.Failures) != 1 || !strings.Contains(r.Failures[0].Error(), "did not end in time") {
		t.Errorf("failures %v", r.Failures)
	}
	expect(t, routes(t), "10.0.1.0/26 via 192.168.0.2 dev eth0")
}

// TestIPIPsOuterSource sends a wrapped packet from the wrong one of the node's addresses, as a kernel without the ipip module
// can't do by itself.
func TestIPIPsOuterSource(t *testing.T) {
	a := enter(t)
	run(t, "ip link add tunl0 type veth peer name x")
	run(t, "ip address add 192.168.0.99/24 dev eth0")
	run(t, "ip neigh add 192.168.0.2 dev eth0 lladdr 02:00:00:00:00:02")
	in := input()
	in.Capabilities.Links[plan.KindIPIP] = true
	in.Pools[0].Encapsulation = v1alpha1.EncapsulationIPIP
	apply(t, a, in)
	run(t, "nft add table inet probe")
	run(t, "nft add chain inet probe p { type filter hook postrouting priority 300 ; }")
	run(t, "nft add rule inet probe p ip saddr 192.168.0.1 ip daddr 192.168.0.2 meta l4proto 4 counter")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_IPIP)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing to lose
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{192, 168, 0, 99}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendto(fd, make([]byte, 40), 0, &unix.SockaddrInet4{Addr: [4]byte{192, 168, 0, 2}}); err != nil {
		t.Fatal(err)
	}
	if n := counted(t); n != "1" {
		t.Errorf("%s packets have the node's address", n)
	}
}

func TestLeadsTo(t *testing.T) {
	network := func(s string) *net.IPNet {
		_, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, c := range []struct {
		found *net.IPNet
		dst   string
		want  bool
	}{
		{nil, "10.0.0.0/8", false}, {nil, "0.0.0.0/0", true}, {network("10.0.0.0/8"), "10.0.0.0/8", true}, {network("0.0.0.0/0"), "10.0.0.0/8", false},
	} {
		if have := leadsTo(c.found, netip.MustParsePrefix(c.dst)); have != c.want {
			t.Errorf("%v leads to %s: %v", c.found, c.dst, have)
		}
	}
}

// TestARouteThatYieldsToAPod brings back what drops the packets to an address without a pod, and never takes a pod's route away that an
// ADD has made after the look at the kernel.
func TestARouteThatYieldsToAPod(t *testing.T) {
	a := enter(t)
	watch(t, a)
	in := input()
	addresses := []netip.Addr{netip.MustParseAddr("10.0.1.5"), netip.MustParseAddr("fd00::45")}
	for i, address := range addresses { // first they are another node's, then lent to this one
		in.Blocks = append(in.Blocks, &plan.Block{CIDR: netip.PrefixFrom(address, address.BitLen()), Pool: in.Pools[i].Name, Node: "b", NodeAddresses: in.Blocks[1].NodeAddresses, Lender: "c"})
	}
	apply(t, a, in)
	expect(t, routes(t), "10.0.1.5 via 192.168.0.2 dev eth0", "fd00::45 via fd01::2 dev eth0")
	for i := range addresses {
		in.Blocks[len(in.Blocks)-1-i].Node = "a"
	}
	wire := func() {
		run(t, "ip route replace 10.0.1.5 dev cw00000000002 proto 202 scope link")
		run(t, "ip -6 route replace fd00::45 dev cw00000000002 proto 202")
	}
	ofPod := []string{"10.0.1.5 dev cw00000000002 scope link", "fd00::45 dev cw00000000002"}
	dropped := []string{"blackhole 10.0.1.5", "blackhole fd00::45 dev lo"}

	in.Tunnels = observe(t, a).Tunnels
	p := plan.New(in)
	wire() // an ADD comes between the look and the plan
	if r := a.Apply(context.Background(), p.Plan()); len(r.Failures) > 0 {
		t.Fatal(r.Failures)
	}
	expect(t, routes(t), ofPod...)

	run(t, "ip route del 10.0.1.5")
	run(t, "ip -6 route del fd00::45")
	apply(t, a, in)
	expect(t, routes(t), dropped...)
	if r := apply(t, a, in); r.Changes != 0 {
		t.Errorf("%d changes of what was there", r.Changes)
	}
	observe(t, a)
	wire() // the pod takes its place at once
	if r := a.Apply(context.Background(), p.Plan()); len(r.Failures) > 0 {
		t.Fatal(r.Failures)
	}
	expect(t, routes(t), ofPod...)

	pod := plan.Endpoint{Interface: "cw00000000002", Addresses: addresses, Pools: []string{"four", "six"}}
	in.Endpoints = append(in.Endpoints, pod) // it is being wired or taken away
	apply(t, a, in)
	expect(t, routes(t), ofPod...)
	in.Endpoints = in.Endpoints[:len(in.Endpoints)-1] // somebody has left its route
	apply(t, a, in)
	expect(t, routes(t), dropped...)
}
