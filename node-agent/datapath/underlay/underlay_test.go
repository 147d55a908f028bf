package underlay

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/test/namespaces"
)

func TestMain(m *testing.M) { os.Exit(namespaces.Main(m, namespaces.Prepare)) }

// enter puts the test into a network namespace of its own, which ends with the test's thread.
func enter(t *testing.T, commands ...string) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	for _, c := range commands {
		run(t, c)
	}
}

func run(t *testing.T, command string) string {
	t.Helper()
	fields := strings.Fields(command)
	out, err := exec.Command(fields[0], fields[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

var nic = []string{
	"ip link set lo up",
	"ip link add eth0 mtu 9000 type veth peer name f0", "ip link set f0 up", "ip link set eth0 up",
	"ip link add eth1 type veth peer name f1", "ip link set f1 up", "ip link set eth1 up",
	"ip address add 192.168.0.1/24 dev eth0", "ip address add 192.168.0.9/24 dev eth0", "ip address add 172.16.0.1/16 dev eth1",
	"ip address add fd01::1/64 dev eth1 nodad",
	"ip route add default via 192.168.0.254", "ip -6 route add default via fd01::fe",
	"ip route add 10.9.0.0/16 via 172.16.0.3", "ip route add 10.8.0.0/16 via 172.16.0.3 proto 203",
}

func links(t *testing.T) []netlink.Link {
	t.Helper()
	all, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFind(t *testing.T) {
	enter(t, nic...)
	for _, c := range []struct {
		name   string
		node   string
		v4, v6 string
		subnet string
		device string
		mtu    int
	}{
		{"the Node's address", "172.16.0.1", "172.16.0.1", "fd01::1", "172.16.0.0/16", "eth1", 1500},
		{"a second address", "192.168.0.9", "192.168.0.9", "fd01::1", "192.168.0.0/24", "eth0", 9000},
		{"no such address: the default route's", "203.0.113.1", "192.168.0.1", "fd01::1", "192.168.0.0/24", "eth0", 9000},
		{"IPv6 only", "fd01::1", "192.168.0.1", "fd01::1", "192.168.0.0/24", "eth0", 9000},
	} {
		p, err := Find(links(t), []netip.Addr{netip.MustParseAddr(c.node)}, Choice{})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if p.V4.Address.String() != c.v4 || p.V6.Address.String() != c.v6 || p.V4.Subnet.String() != c.subnet || p.V4.Interface != c.device || p.V4.MTU != c.mtu {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
}

func TestFindWayToGateway(t *testing.T) {
	enter(t, nic...)
	node := []netip.Addr{netip.MustParseAddr("172.16.0.1")}
	for _, c := range []struct {
		do   string
		none bool
	}{
		{"ip link show lo", false},
		{"ip route del default", true},
		{"ip route add 169.254.1.1 dev lo proto 202", true},
		{"ip route del 169.254.1.1", true},
		{"ip route add 169.254.0.0/16 dev eth0", false},
	} {
		run(t, c.do)
		p, err := Find(links(t), node, Choice{})
		if err != nil || p.NoWayToGateway != c.none {
			t.Errorf("after %q: %+v, %v", c.do, p, err)
		}
	}
}

func TestFindAsChosen(t *testing.T) {
	enter(t, nic...)
	node := []netip.Addr{netip.MustParseAddr("172.16.0.1")}
	for _, c := range []struct {
		interfaces, cidrs []string
		v4, v6            string
	}{
		{interfaces: []string{"eth0"}, v4: "192.168.0.1"},
		{interfaces: []string{"bond*", "eth*"}, v4: "192.168.0.1", v6: "fd01::1"},
		{cidrs: []string{"172.16.0.0/12", "fd01::/16"}, v4: "172.16.0.1", v6: "fd01::1"},
		{cidrs: []string{"192.168.0.8/29"}, v4: "192.168.0.9"},
		{interfaces: []string{"eth0"}, cidrs: []string{"172.16.0.0/12", "192.168.0.0/16"}, v4: "192.168.0.1"},
	} {
		choice, err := NewChoice(c.interfaces, c.cidrs)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Find(links(t), node, choice)
		if err != nil {
			t.Errorf("%s: %v", choice, err)
			continue
		}
		if got := fmt.Sprint(text(p.V4.Address), " ", text(p.V6.Address)); got != c.v4+" "+c.v6 {
			t.Errorf("%s: %s, want %s %s", choice, got, c.v4, c.v6)
		}
	}
	nowhere, err := NewChoice([]string{"wlan*"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Find(links(t), node, nowhere); !errors.Is(err, ErrNotChosen) || !strings.Contains(err.Error(), "wlan*") {
		t.Errorf("%v", err)
	}
	if _, err := NewChoice([]string{"eth["}, nil); err == nil {
		t.Error("a bad pattern is no error")
	}
	if _, err := NewChoice(nil, []string{"172.16.0.0"}); err == nil {
		t.Error("a bad CIDR is no error")
	}
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func TestSetMTU(t *testing.T) {
	p := kernel.Observed{V4: plan.Underlay{Interface: "eth0", MTU: 9000}}
	SetMTU(&p, 0)
	if p.V4.MTU != 9000 {
		t.Errorf("%d", p.V4.MTU)
	}
	SetMTU(&p, 1400)
	if p.V4.MTU != 1400 || p.V6.MTU != 0 {
		t.Errorf("%+v", p)
	}
}

func TestFindNothing(t *testing.T) {
	enter(t, "ip link set lo up")
	if _, err := Find(links(t), []netip.Addr{netip.MustParseAddr("192.168.0.1")}, Choice{}); !errors.Is(err, ErrNoAddress) {
		t.Errorf("%v", err)
	}
}

func TestFabric(t *testing.T) {
	enter(t, nic...)
	fabric, err := Fabric(links(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []plan.FabricRoute{
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.0.254"), Device: "eth0"},
		{Prefix: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fd01::fe"), Device: "eth1"},
		{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Via: netip.MustParseAddr("172.16.0.3"), Device: "eth1"},
		{Prefix: netip.MustParsePrefix("172.16.0.0/16"), Device: "eth1"},
	} {
		if !slices.Contains(fabric, want) {
			t.Errorf("%+v is missing in %+v", want, fabric)
		}
	}
	for _, f := range fabric {
		if f.Prefix.String() == "10.8.0.0/16" {
			t.Error("a route of ours is taken for the fabric's")
		}
	}
}

func TestFindTellsOfOthersNetworksAndLinks(t *testing.T) {
	enter(t, append(nic,
		"ip link add cwan0 type veth peer name f2", "ip link add cw0123456789a type veth peer name f3",
		"ip address add 172.17.0.1/16 dev cwan0", "ip address add 10.0.0.1/32 dev cw0123456789a",
		"sysctl -qw net.ipv4.conf.all.rp_filter=2", "sysctl -qw net.ipv4.conf.eth1.rp_filter=1")...)
	o, err := Find(links(t), []netip.Addr{netip.MustParseAddr("172.16.0.1")}, Choice{})
	if err != nil {
		t.Fatal(err)
	}
	var foreign []string
	for _, n := range o.Foreign {
		foreign = append(foreign, n.What())
	}
	if want := []string{
		"the network 172.16.0.0/16 of the link eth1", "the network 172.17.0.0/16 of the link cwan0", "the network 192.168.0.0/24 of the link eth0",
	}; !slices.Equal(foreign[:min(len(foreign), 3)], want) {
		t.Errorf("networks: %q", foreign)
	}
	if !slices.Equal(o.LikePods, []string{"cwan0"}) {
		t.Errorf("links like pods': %q", o.LikePods)
	}
	if _, ofPod := o.RPFilter["cw0123456789a"]; o.RPFilterAll != 2 || o.RPFilter["eth1"] != 1 || ofPod {
		t.Errorf("rp_filter %d, %v", o.RPFilterAll, o.RPFilter)
	}
}
