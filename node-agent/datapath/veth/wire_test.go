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
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
	"github.com/causeway-net/causeway/test/namespaces"
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
	return veth.Spec{
		HostInterface: names.HostInterface(id, "eth0"), ContainerInterface: "eth0", NetworkNamespace: podNamespace(t),
		MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, MTU: 1450,
		Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.5"), netip.MustParseAddr("fd00:9::5")},
		Alias:     veth.Alias{Namespace: "default", Pod: "web-0", ContainerID: id, ContainerInterface: "eth0", Network: "causeway"},
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
		{run(t, "ip", "link", "show", s.HostInterface), "alias default/web-0 eth0 picture causeway"},
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
	if there, err := w.Exists(s.HostInterface); there || err != nil {
		t.Errorf("a refused call left its link: %t, %v", there, err)
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
	for _, s := range marked[:4] {
		if there, err := w.MarkForReaping(s.HostInterface); !there || err != nil {
			t.Fatalf("mark %s: %t, %v", s.HostInterface, there, err)
		}
	}
	if err := w.Reap(); err != nil {
		t.Fatal(err)
	}
	if err := w.Reap(); err != nil {
		t.Errorf("a second Reap with nothing to do: %v", err)
	}
	for _, s := range marked[:4] {
		if there, _ := w.Exists(s.HostInterface); there {
			t.Errorf("%s is still there", s.HostInterface)
		}
	}
	if err := w.Check(kept); err != nil {
		t.Errorf("the unmarked link: %v", err)
	}
	if there, err := w.MarkForReaping(marked[0].HostInterface); there || err != nil {
		t.Errorf("mark a link that is gone: %t, %v", there, err)
	}
}

func TestListTellsWholeLinksFromHalfMadeOnes(t *testing.T) {
	w, s := newWirer(t), spec(t, "list")
	if err := w.Wire(s); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "link", "add", "cw0123456789a", "type", "veth", "peer", "name", "half")
	run(t, "ip", "link", "add", "cwother", "type", "veth", "peer", "name", "other")
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
	if _, ok := state["cwother"]; ok {
		t.Error("a link of somebody else is listed")
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

func FuzzParseAlias(f *testing.F) {
	f.Add("default/web-0 eth0 abc causeway")
	f.Add("")
	f.Add("a/b")
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := veth.ParseAlias(s)
		if !ok || len(a.String()) == 255 {
			return
		}
		if again, ok := veth.ParseAlias(a.String()); !ok || again != a {
			t.Fatalf("%q is %+v, but its text is %+v", s, a, again)
		}
	})
}
