package linux

import (
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// remote is a second node: a thread with a network namespace of its own.
type remote struct {
	work chan func()
	tid  int
}

func newRemote(t *testing.T) *remote {
	r := &remote{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread()
		r.tid = unix.Gettid()
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range r.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(r.work) })
	return r
}

func (r *remote) do(f func()) {
	done := make(chan struct{})
	r.work <- func() {
		defer close(done) // also when f ends its goroutine by t.Fatal
		f()
	}
	<-done
}

// pod makes a pod's namespace behind a host end, and returns the prefix of commands that run in it.
func pod(t *testing.T, hostEnd string, addresses ...string) string {
	t.Helper()
	c := exec.Command("sleep", "600")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill() //nolint:errcheck // it has only to be gone
		c.Wait()         //nolint:errcheck // killed
	})
	in := fmt.Sprintf("nsenter -t %d -n ", c.Process.Pid)
	run(t, fmt.Sprintf("ip link add %s address %s type veth peer name eth0 netns %d", hostEnd, names.HostMAC, c.Process.Pid))
	run(t, "ip link set "+hostEnd+" up")
	run(t, in+"ip link set lo up")
	run(t, in+"ip link set eth0 up")
	for _, a := range addresses {
		if strings.Contains(a, ":") {
			run(t, in+"ip -6 address add "+a+"/128 dev eth0 nodad")
		} else {
			run(t, in+"ip address add "+a+"/32 dev eth0")
		}
	}
	run(t, in+"ip route add 169.254.1.1 dev eth0")
	run(t, in+"ip route add default via 169.254.1.1")
	run(t, in+"ip -6 route add default via "+names.GatewayV6.String()+" dev eth0")
	return in
}

// counted returns how many packets a rule of the test's own table saw.
func counted(t *testing.T) string {
	t.Helper()
	m := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(run(t, "nft list table inet probe"))
	if m == nil {
		t.Fatal("no counter")
	}
	return m[1]
}

func count(t *testing.T, match string) {
	t.Helper()
	if exec.Command("nft", "list", "table", "inet", "probe").Run() == nil {
		run(t, "nft delete table inet probe")
	}
	run(t, "nft add table inet probe")
	run(t, "nft add chain inet probe p { type filter hook prerouting priority -400 ; }")
	run(t, "nft add rule inet probe p "+match+" counter")
}

// ping succeeds within a limit: a link that just came up may lose the first packets.
func ping(t *testing.T, command string) {
	t.Helper()
	var out []byte
	for limit := time.Now().Add(15 * time.Second); time.Now().Before(limit); {
		var err error
		f := strings.Fields(command)
		if out, err = exec.Command(f[0], f[1:]...).CombinedOutput(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %s", command, out)
}

func lost(t *testing.T, command string) {
	t.Helper()
	f := strings.Fields(command)
	if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err == nil {
		t.Errorf("%s: went through: %s", command, out)
	}
}

func TestPackets(t *testing.T) {
	a := enter(t)
	defer runtime.KeepAlive(a)
	run(t, "ip link del cw00000000001")
	c := newRemote(t)
	run(t, fmt.Sprintf("ip link set fabric netns %d", c.tid))

	in := input()
	sends(&in, v1alpha1.EncapsulationVXLAN)
	in.Blocks[2].NodeAddresses = []netip.Addr{netip.MustParseAddr("192.168.0.3"), netip.MustParseAddr("fd01::3")}
	in.Blocks[5].NodeAddresses = in.Blocks[2].NodeAddresses

	podA := pod(t, "cw00000000001", "10.0.0.1", "fd00::1")
	apply(t, a, in)

	var podC string
	c.do(func() {
		for _, cmd := range []string{
			"ip link set lo up", "ip link set fabric name eth0", "ip link set eth0 up",
			"ip address add 192.168.0.3/24 dev eth0", "ip address add 192.168.0.66/24 dev eth0", "ip address add fd01::3/64 dev eth0 nodad",
			"ip route add default via 192.168.0.254", // proxy ARP answers only for what has a route
		} {
			run(t, cmd)
		}
		podC = pod(t, "cw00000000003", "10.0.2.1", "fd00::81")
		b, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer b.Close() //nolint:errcheck // nothing depends on it
		there := in
		there.Node = "c"
		there.V4.Address, there.V6.Address = netip.MustParseAddr("192.168.0.3"), netip.MustParseAddr("fd01::3")
		there.Endpoints = []plan.Endpoint{{Interface: "cw00000000003", Addresses: []netip.Addr{netip.MustParseAddr("10.0.2.1"), netip.MustParseAddr("fd00::81")}, Pools: []string{"four", "six"}, Ready: true}}
		apply(t, b, there)
		count(t, "ip saddr 192.168.0.1 icmp type echo-request")
	})
	if t.Failed() {
		return
	}
	// Pod to pod by VXLAN, with 2 nodes crossed; the host's packets have the tunnel's address.
	ping(t, podA+"ping -c 1 -W 1 10.0.2.1")
	ping(t, podA+"ping -c 1 -W 1 fd00::81")
	ping(t, "ping -c 1 -W 1 10.0.2.1")
	ping(t, "ping -c 1 -W 1 fd00::81")
	ping(t, podC+"ping -c 1 -W 1 10.0.0.1")
	if out := run(t, podA+"ping -c 1 -W 1 10.0.2.1"); !strings.Contains(out, "ttl=62") {
		t.Errorf("not two nodes crossed: %s", out)
	}
	// natOutgoing: the other node sees this node's address.
	ping(t, podA+"ping -c 1 -W 1 192.168.0.3")
	c.do(func() {
		if counted(t) == "0" {
			t.Error("what leaves the pools is not masqueraded")
		}
		count(t, "ip saddr 10.0.0.99")
	})

	// A pod can't send from another's address, by either of two guards.
	run(t, podA+"ip address add 10.0.0.99/32 dev lo")
	run(t, podA+"ip -6 address add fd00::99/128 dev lo")
	spoof := podA + "ping -c 1 -W 1 -I 10.0.0.99 10.0.2.1"
	seen := func(guards string) (n string) {
		lost(t, spoof)
		c.do(func() { n = counted(t) })
		t.Logf("%s: %s packets arrived", guards, n)
		return n
	}
	if seen("both guards") != "0" {
		t.Error("a forged packet passed both guards")
	}
	run(t, "sysctl -qw net.ipv4.conf.cw00000000001.rp_filter=0")
	if seen("nftables only") != "0" {
		t.Error("a forged packet passed nftables")
	}
	run(t, "sysctl -qw net.ipv4.conf.cw00000000001.rp_filter=1")
	run(t, "nft delete table inet causeway")
	if seen("rp_filter only") != "0" {
		t.Error("a forged packet passed rp_filter")
	}
	c.do(func() { count(t, "ip6 saddr fd00::99") })
	spoof = podA + "ping -c 1 -W 1 -I fd00::99 fd00::81"
	if seen("IPv6 without guard") == "0" {
		t.Error("the test does not see forged packets")
	}
	apply(t, a, in)
	c.do(func() { count(t, "ip6 saddr fd00::99") })
	if seen("IPv6, nftables") != "0" {
		t.Error("a forged IPv6 packet passed")
	}

	// Only nodes may send through the tunnel.
	count(t, "iifname vxlan.cw ip daddr 10.0.0.1")
	for _, from := range []struct{ address, want string }{{"192.168.0.66", "0"}, {"192.168.0.3", "1"}} {
		c.do(func() {
			for _, cmd := range []string{
				"ip link del vxlan.cw", "ip link add vxlan.cw type vxlan id 4096 dstport 4789 local " + from.address + " remote 192.168.0.1",
				"ip address add 10.0.2.0/32 dev vxlan.cw", "ip link set vxlan.cw up", "ip route add 10.0.0.0 dev vxlan.cw", "ip route add 10.0.0.0/26 via 10.0.0.0 dev vxlan.cw onlink",
				"ip neigh add 10.0.0.0 dev vxlan.cw lladdr " + names.VTEPMAC("a").String(),
			} {
				run(t, cmd)
			}
			exec.Command("ping", "-c", "1", "-W", "1", "10.0.0.1").Run() //nolint:errcheck // what arrives is counted
		})
		if n := counted(t); n != from.want {
			t.Errorf("from %s: %s packets came out of the tunnel, want %s", from.address, n, from.want)
		}
	}
}
