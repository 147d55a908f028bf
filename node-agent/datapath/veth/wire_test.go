package veth_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
	"github.com/causeway-net/causeway/test/namespaces"
	"github.com/causeway-net/causeway/test/retry"
)

func TestMain(m *testing.M) {
	runtime.LockOSThread()
	os.Exit(namespaces.Main(m, namespaces.Prepare))
}

func podNamespace(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { // the thread keeps the new namespace and ends with the goroutine
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount(fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid()), path, "", unix.MS_BIND, "")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("make a pod's namespace: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

func newWirer(t *testing.T) *veth.Wirer {
	t.Helper()
	w, err := veth.NewWirer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func spec(t *testing.T, id string) veth.Spec {
	t.Helper()
	path := podNamespace(t)
	return veth.Spec{
		HostInterface: names.HostInterface(id, "eth0"), ContainerInterface: "eth0", NetworkNamespace: path,
		MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, MTU: 1450,
		Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.5"), netip.MustParseAddr("fd00:9::5")},
		Alias:     veth.Alias{Namespace: "default", Pod: "web-0", ContainerID: id, ContainerInterface: "eth0", Network: "causeway", PodUID: "0aa1-uid", NetworkNamespace: path},
	}
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

func inPod(t *testing.T, s veth.Spec, args ...string) string {
	t.Helper()
	return run(t, append([]string{"nsenter", "--net=" + s.NetworkNamespace}, args...)...)
}

func TestWireShowsTheReferencePicture(t *testing.T) {
	w, s := newWirer(t), spec(t, "picture")
	if err := w.Wire(s); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want string }{
		{inPod(t, s, "ip", "-4", "addr", "show", "eth0"), "inet 10.9.0.5/32 scope global eth0"},
		{inPod(t, s, "ip", "-4", "addr", "show", "eth0"), "mtu 1450"},
		{inPod(t, s, "ip", "-6", "addr", "show", "eth0"), "inet6 fd00:9::5/128 scope global"},
		{inPod(t, s, "ip", "route"), "default via 169.254.1.1 dev eth0"},
		{inPod(t, s, "ip", "route"), "169.254.1.1 dev eth0 scope link"},
		{inPod(t, s, "ip", "-6", "route"), "default via fe80::ecee:eeff:feee:eeee dev eth0"},
		{run(t, "ip", "link", "show", s.HostInterface), "link/ether ee:ee:ee:ee:ee:ee"},
		{run(t, "ip", "link", "show", s.HostInterface), "alias default/web-0 eth0 picture causeway 0aa1-uid " + s.NetworkNamespace},
		{run(t, "ip", "route", "show", "10.9.0.5"), "10.9.0.5 dev " + s.HostInterface + " proto 202 scope link"},
		{run(t, "ip", "-6", "addr", "show", s.HostInterface), "inet6 fe80::ecee:eeff:feee:eeee/64"},
		{run(t, "cat", "/proc/sys/net/ipv4/conf/"+s.HostInterface+"/proxy_arp"), "1"},
		{run(t, "cat", "/proc/sys/net/ipv4/conf/"+s.HostInterface+"/rp_filter"), "1"},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("want %q in\n%s", c.want, c.got)
		}
	}
	if err := w.Check(s); err != nil {
		t.Errorf("Check after Wire: %v", err)
	}
}

func TestWireAgainMendsAndKeeps(t *testing.T) {
	w, s := newWirer(t), spec(t, "again")
	if err := w.Wire(s); err != nil {
		t.Fatal(err)
	}
	before := run(t, "ip", "-o", "link", "show", s.HostInterface)
	run(t, "ip", "route", "del", "10.9.0.5")
	if err := w.Check(s); err == nil {
		t.Error("Check does not see the missing route")
	}
	if err := w.Wire(s); err != nil {
		t.Fatal(err)
	}
	if after := run(t, "ip", "-o", "link", "show", s.HostInterface); after != before {
		t.Errorf("the link was made anew:\n%s%s", before, after)
	}
	if err := w.Check(s); err != nil {
		t.Error(err)
	}
}

func TestWireRefusesWhatIsNotOurs(t *testing.T) {
	w := newWirer(t)
	s := spec(t, "taken")
	inPod(t, s, "ip", "link", "add", "eth0", "type", "bridge")
	if err := w.Wire(s); !errors.Is(err, veth.ErrInterfaceTaken) {
		t.Errorf("a taken name gave %v", err)
	}
	if exists(s.HostInterface) {
		t.Error("a refused call left its link")
	}
	inPod(t, s, "ip", "link", "show", "eth0")
	for _, path := range []string{"/nowhere", "/proc/self/ns/net", "/etc/hostname", ""} {
		s := s
		s.NetworkNamespace = path
		if err := w.Wire(s); !errors.Is(err, veth.ErrNoNamespace) {
			t.Errorf("namespace %q gave %v", path, err)
		}
	}
}

func TestReapTakesMarkedLinksOnly(t *testing.T) {
	w := newWirer(t)
	var marked []veth.Spec
	for i := range 5 {
		s := spec(t, fmt.Sprint("reap", i))
		s.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 9, 1, byte(i)})}
		if err := w.Wire(s); err != nil {
			t.Fatal(err)
		}
		marked = append(marked, s)
	}
	kept := marked[4]
	var all []string
	for _, s := range marked[:4] {
		if there, err := w.MarkDeleted(s.HostInterface); !there || err != nil {
			t.Fatalf("mark %s: %t, %v", s.HostInterface, there, err)
		}
		all = append(all, s.HostInterface)
	}
	for range 2 { // the second time there is nothing to do
		if gone, err := w.Reap(all); err != nil || len(gone) != 4 {
			t.Fatalf("gone: %v, %v", gone, err)
		}
	}
	for _, name := range all {
		if exists(name) {
			t.Errorf("%s is still there", name)
		}
	}
	if err := w.Check(kept); err != nil {
		t.Errorf("the unmarked link: %v", err)
	}
	if there, err := w.MarkDeleted(all[0]); there || err != nil {
		t.Errorf("mark a link that is gone: %t, %v", there, err)
	}
}

func exists(link string) bool {
	_, err := os.Stat("/proc/sys/net/ipv4/conf/" + link)
	return err == nil
}

// Somebody else's link in our group must neither be deleted nor keep ours.
func TestReapSparesForeignLinks(t *testing.T) {
	w := newWirer(t)
	group := fmt.Sprint(names.ReapGroup)
	run(t, "ip", "link", "add", "nic0", "type", "ifb") // is no veth
	run(t, "ip", "link", "set", "lo", "group", group)  // can't be deleted
	run(t, "ip", "link", "add", "foreign0", "group", group, "type", "veth", "peer", "name", "foreign1")
	named := names.HostInterface("somebody", "eth0") // has our name, but not our alias
	run(t, "ip", "link", "add", named, "type", "veth", "peer", "name", "named1")
	run(t, "ip", "link", "set", named, "alias", "mine")
	t.Cleanup(func() {
		run(t, "ip", "link", "set", "lo", "group", "0")
		for _, link := range []string{"nic0", "foreign0", named} {
			run(t, "ip", "link", "del", link)
		}
	})
	run(t, "ip", "link", "set", "nic0", "group", group)
	s := spec(t, "ours")
	if err := w.Wire(s); err != nil {
		t.Fatal(err)
	}
	gone, err := w.Reap([]string{s.HostInterface, named})
	if len(gone) != 2 || exists(s.HostInterface) {
		t.Errorf("ours: gone %v, %v", gone, err)
	}
	if err == nil || !strings.Contains(err.Error(), named) || strings.Contains(err.Error(), s.HostInterface) {
		t.Errorf("the foreign link %s is to be reported, and it alone: %v", named, err)
	}
	for _, link := range []string{"nic0", "foreign0", named, "lo"} {
		if !exists(link) {
			t.Errorf("%s was deleted", link)
		}
	}
	if out := run(t, "ip", "link", "show", named); strings.Contains(out, "group "+group) {
		t.Errorf("%s stays in our group: %s", named, out)
	}
}

func TestAFailedSecondWireKeepsTheRunningPodsLink(t *testing.T) {
	w, s := newWirer(t), spec(t, "running")
	if err := w.Wire(s); err != nil {
		t.Fatal(err)
	}
	before := run(t, "ip", "-o", "link", "show", s.HostInterface)
	broken := s
	broken.Addresses = []netip.Addr{s.Addresses[0], netip.MustParseAddr("ff02::1")} // the kernel refuses a multicast address
	if err := w.Wire(broken); err == nil {
		t.Fatal("the kernel took a multicast address")
	}
	if after := run(t, "ip", "-o", "link", "show", s.HostInterface); after != before {
		t.Errorf("the link has changed:\n%s%s", before, after)
	}
	if err := w.Check(s); err != nil {
		t.Error(err)
	}
	fresh := spec(t, "fresh")
	fresh.Addresses = broken.Addresses
	if err := w.Wire(fresh); err == nil || exists(fresh.HostInterface) {
		t.Errorf("a link that was made in vain is left (%v)", err)
	}
}

func TestIPv6WhereItIsTurnedOffByDefault(t *testing.T) {
	w := newWirer(t)
	inNew := spec(t, "pod")
	inPod(t, inNew, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1")
	if err := w.Wire(inNew); err != nil {
		t.Errorf("turned off in the pod: %v", err)
	} else if err := w.Check(inNew); err != nil {
		t.Error(err)
	}
	run(t, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
	t.Cleanup(func() { run(t, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=0") })
	onHost := spec(t, "host")
	onHost.Addresses = []netip.Addr{netip.MustParseAddr("10.9.0.6"), netip.MustParseAddr("fd00:9::6")}
	if err := w.Wire(onHost); err != nil {
		t.Fatalf("turned off on the host: %v", err)
	}
	if err := w.Check(onHost); err != nil {
		t.Error(err)
	}
	if out := run(t, "cat", "/proc/sys/net/ipv6/conf/"+onHost.HostInterface+"/accept_dad"); strings.TrimSpace(out) != "0" {
		t.Errorf("the pod's gateway is looked for before it is used: accept_dad is %s", out)
	}
	// The kernel takes the address into use a moment after the link is up.
	if err := retry.Until(t.Context(), 20*time.Second, func() error {
		out := run(t, "ip", "-6", "addr", "show", onHost.HostInterface)
		if !strings.Contains(out, "fe80::ecee:eeff:feee:eeee") || strings.Contains(out, "tentative") {
			return fmt.Errorf("the pod's gateway is not there: %s", out)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	single := spec(t, "single")
	single.Addresses = []netip.Addr{netip.MustParseAddr("10.9.0.7")}
	if err := w.Wire(single); err != nil {
		t.Errorf("a pod without IPv6: %v", err)
	} else if out := run(t, "cat", "/proc/sys/net/ipv6/conf/"+single.HostInterface+"/disable_ipv6"); strings.TrimSpace(out) != "1" {
		t.Errorf("a pod without IPv6 has it turned on: %s", out)
	}
}

func TestASecondInterfaceLeavesTheFirstsDefaultRoute(t *testing.T) {
	w, s := newWirer(t), spec(t, "two")
	second := s
	second.ContainerInterface, second.HostInterface = "net1", names.HostInterface("two", "net1")
	second.Alias.ContainerInterface = "net1"
	second.Addresses = []netip.Addr{netip.MustParseAddr("10.9.0.8"), netip.MustParseAddr("fd00:9::8")}
	for _, one := range []veth.Spec{s, second} {
		if err := w.Wire(one); err != nil {
			t.Fatal(err)
		}
	}
	if out := inPod(t, s, "ip", "route"); strings.Count(out, "default") != 1 || !strings.Contains(out, "default via 169.254.1.1 dev eth0") {
		t.Error(out)
	}
}

func TestListTellsWholeLinksFromHalfMadeOnes(t *testing.T) {
	w, s := newWirer(t), spec(t, "list")
	if err := w.Wire(s); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "link", "add", "cw0123456789a", "group", fmt.Sprint(names.MakingGroup), "type", "veth", "peer", "name", "half")
	run(t, "ip", "link", "add", "cwother", "type", "veth", "peer", "name", "other")
	run(t, "ip", "link", "add", "cw0123456789b", "type", "veth", "peer", "name", "another") // has our kind of name, but neither alias nor group
	t.Cleanup(func() {
		for _, link := range []string{"cw0123456789a", "cwother", "cw0123456789b"} {
			run(t, "ip", "link", "del", link)
		}
	})
	found, err := w.List()
	if err != nil {
		t.Fatal(err)
	}
	state := map[string]veth.Found{}
	for _, f := range found {
		state[f.HostInterface] = f
	}
	if f := state[s.HostInterface]; !f.Complete || f.Alias != s.Alias || len(f.Addresses) != 2 {
		t.Errorf("the whole link is %+v", f)
	}
	if f, ok := state["cw0123456789a"]; !ok || f.Complete {
		t.Errorf("the half-made link is %+v, %t", f, ok)
	}
	for _, name := range []string{"cwother", "cw0123456789b"} {
		if _, ok := state[name]; ok {
			t.Errorf("%s is listed, which is somebody else's", name)
		}
	}
}

func TestShrinkMTUNeverGrows(t *testing.T) {
	w, s := newWirer(t), spec(t, "shrink")
	if err := w.Wire(s); err != nil {
		t.Fatal(err)
	}
	for _, mtu := range []int{1400, 1500} {
		if err := w.ShrinkMTU(s.HostInterface, "eth0", s.NetworkNamespace, mtu); err != nil {
			t.Fatal(err)
		}
		for _, out := range []string{inPod(t, s, "ip", "link", "show", "eth0"), run(t, "ip", "link", "show", s.HostInterface)} {
			if !strings.Contains(out, "mtu 1400") {
				t.Errorf("after %d: %s", mtu, out)
			}
		}
	}
}

func TestAliasHoldsWhatARecordNeeds(t *testing.T) {
	a := veth.Alias{
		Namespace: "kube-prometheus-stack", Pod: "kube-prometheus-stack-prometheus-node-exporter-abcde", ContainerInterface: "eth0",
		ContainerID: strings.Repeat("0123456789abcdef", 4), Network: "causeway", PodUID: "0ae5c03d-5fb3-4eb9-9de8-2bd4b51606ba",
		NetworkNamespace: "/var/run/netns/cni-8a6a1b9b-ec34-2e9e-9d2a-3ad7b5a9b3fe",
	}
	if !a.Fits() {
		t.Errorf("a long, but usual pod does not fit: %d bytes", len(a.String()))
	}
	if again, ok := veth.ParseAlias(a.String()); !ok || again != a {
		t.Errorf("got %+v", again)
	}
	for _, path := range []string{"", "/proc/1234/ns/net", "/run/netns/x", "/var/run/netns/a/b"} {
		b := a
		b.Pod, b.NetworkNamespace = "web-0", path
		if again, ok := veth.ParseAlias(b.String()); !ok || again != b || !b.Fits() {
			t.Errorf("got %+v, want %+v", again, b)
		}
	}
	fixed := a
	fixed.Pod, fixed.MAC = "web-0", "02:00:00:00:00:01"
	if again, ok := veth.ParseAlias(fixed.String()); !ok || again != fixed || !fixed.Fits() {
		t.Errorf("got %+v, want %+v", again, fixed)
	}
	a.Pod = strings.Repeat("x", 200)
	if a.Fits() || len(a.String()) != 255 {
		t.Errorf("what is cut off is said to fit")
	}
}

// A fixed hardware address is on the pod's interface and in the alias, and CHECK compares it. One of its own is the pod's to change.
func TestAFixedHardwareAddressIsKeptAndChecked(t *testing.T) {
	w, s := newWirer(t), spec(t, "mac")
	for _, fixed := range []string{"", s.MAC.String()} {
		s.Alias.MAC = fixed
		if err := w.Wire(s); err != nil {
			t.Fatal(err)
		}
		found, err := w.Links()
		if err != nil || !slices.ContainsFunc(found, func(f veth.Found) bool { return f.Alias == s.Alias }) {
			t.Errorf("the alias is %+v, %v", found, err)
		}
		inPod(t, s, "ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")
		if err := w.Check(s); (err == nil) != (fixed == "") || err != nil && !strings.Contains(err.Error(), "has the hardware address 02:00:00:00:00:99, but 02:00:00:00:00:01 is fixed for it") {
			t.Errorf("fixed %q: Check says %v", fixed, err)
		}
		inPod(t, s, "ip", "link", "set", "eth0", "address", s.MAC.String())
	}
	if err := w.Check(s); err != nil {
		t.Error(err)
	}
	if out := run(t, "ip", "link", "show", s.HostInterface); !strings.Contains(out, "alias default/web-0 eth0:02:00:00:00:00:01 mac causeway") {
		t.Error(out)
	}
}

func FuzzParseAlias(f *testing.F) {
	f.Add("default/web-0 eth0 abc causeway - cni-1")
	f.Add("")
	f.Add("a/b")
	f.Add("a/b eth0 - - - /x y")
	f.Add("a/b eth0:02:00:00:00:00:01 c - - -")
	f.Add("a/b -:02:00:00:00:00:01 eth0: - - -")
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := veth.ParseAlias(s)
		if !ok || !a.Fits() {
			return
		}
		if again, ok := veth.ParseAlias(a.String()); !ok || again != a {
			t.Fatalf("%q is %+v, but its text is %+v", s, a, again)
		}
	})
}
