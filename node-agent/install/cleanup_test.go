package install

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/test/namespaces"
)

func TestMain(m *testing.M) { os.Exit(namespaces.Main(m, namespaces.Prepare)) }

func run(t *testing.T, command string) string {
	t.Helper()
	fields := strings.Fields(command)
	out, err := exec.Command(fields[0], fields[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

// nodeFolders are a node's, with files of others in them.
func nodeFolders(t *testing.T) Folders {
	t.Helper()
	root := t.TempDir()
	f := Folders{Conf: root + "/etc/cni/net.d", Plugins: root + "/opt/cni/bin", Run: root + "/run/causeway"}
	for _, folder := range []string{f.Conf, f.Plugins} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{f.Conf + "/99-loopback.conf", f.Plugins + "/bridge"} {
		if err := os.WriteFile(file, []byte("somebody else's"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// picture is all that a look at the node shows: files, links, addresses, routes, rules, neighbours, nftables.
func picture(t *testing.T, f Folders) string {
	t.Helper()
	var out strings.Builder
	root := strings.TrimSuffix(f.Conf, "/etc/cni/net.d")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out.WriteString(path + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"ip -o link", "ip -o address", "ip -4 route show table all", "ip -6 route show table all", "ip rule", "ip -6 rule",
		"ip neighbour show nud permanent", "bridge fdb", "nft list ruleset",
	} {
		out.WriteString("# " + command + "\n" + run(t, command))
	}
	return out.String()
}

// occupy makes everything that an agent leaves on a node, by the tools that a person would use.
func occupy(t *testing.T, f Folders) {
	t.Helper()
	pod := names.HostInterface("c1", "eth0")
	for _, command := range []string{
		"ip link add " + pod + " type veth peer name pod0", "ip link set " + pod + " up", "ip link set pod0 up",
		"ip link add " + names.HostInterface("c2", "eth0") + " group 25461 type veth peer name pod1",
		"ip route add 10.0.0.1 dev " + pod + " proto 202",
		"ip neighbour add 10.0.0.1 lladdr 02:00:00:00:00:01 dev " + pod,
		"ip route add blackhole 10.0.0.0/26 proto 202", "ip route add 10.0.1.0/26 via 192.168.0.2 proto 202",
		"ip route add 10.9.0.0/24 via 192.168.0.3 proto 203", "ip -6 route add blackhole fd00::/122 proto 202",
		"ip -6 route add fd00::40/122 via fd01::2 proto 202",
		"ip link add vxlan.cw type vxlan id 4096 dstport 4789 local 192.168.0.1 dev eth0", "ip link set vxlan.cw up",
		"ip address add 10.0.0.0/32 dev vxlan.cw", "ip neighbour add 10.0.2.0 lladdr 02:00:00:00:00:02 dev vxlan.cw",
		"bridge fdb append 02:00:00:00:00:02 dev vxlan.cw dst 192.168.1.3",
		"ip route add 10.0.2.0/26 via 10.0.2.0 dev vxlan.cw onlink proto 202",
		"nft add table inet causeway", "nft add chain inet causeway nat { type nat hook postrouting priority 100; }",
		"nft add rule inet causeway nat ip saddr 10.0.0.0/16 masquerade",
	} {
		run(t, command)
	}
	if out, err := exec.Command("ip", "link", "set", pod, "alias", "default/a eth0 c1 causeway uid -").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.MkdirAll(f.Run, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"checkpoint", "speaker.sock.ran"} {
		if err := os.WriteFile(filepath.Join(f.Run, file), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(t.TempDir(), "causeway")
	if err := os.WriteFile(source, []byte("the plugin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Plugin(source, f.Plugins); err != nil {
		t.Fatal(err)
	}
	if _, err := writeConflist(f.Conf, render(portmapAbsent)); err != nil {
		t.Fatal(err)
	}
	// A write that a power cut has interrupted.
	if err := os.WriteFile(filepath.Join(f.Plugins, newPrefix+"1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The node after Clean equals the node before Causeway came, with everything of others still there, even things that
// look like ours.
func TestCleanLeavesTheNodeAsItWas(t *testing.T) {
	runtime.LockOSThread() // the thread, and with it the network namespace, ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"ip link set lo up",
		"ip link add eth0 type veth peer name fabric", "ip link set fabric up", "ip link set eth0 up",
		"ip address add 192.168.0.1/24 dev eth0", "ip address add fd01::1/64 dev eth0 nodad",
		"ip route add default via 192.168.0.254", "ip route add 172.16.0.0/16 via 192.168.0.9 proto static",
		"ip rule add from 192.168.0.1 lookup 100", "ip route add 172.17.0.0/16 via 192.168.0.9 table 100",
		"ip link add cwfoo type veth peer name cwbar", "ip link add cw00000000001 type veth peer name foreign", "ip link add vxlan9 type vxlan id 9 dstport 8472",
		"ip neighbour add 192.168.0.9 lladdr 02:00:00:00:00:09 dev eth0",
		"nft add table inet somebody", "nft add table ip causeway",
	} {
		run(t, command)
	}
	f := nodeFolders(t)
	settle(t)
	before := picture(t, f)
	occupy(t, f)
	if err := Clean(context.Background(), f); err != nil {
		t.Fatal(err)
	}
	if after := picture(t, f); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if err := Clean(context.Background(), f); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

// settle waits until the kernel has finished what follows the first use of links: duplicate address detection.
func settle(t *testing.T) {
	t.Helper()
	for strings.Contains(run(t, "ip -6 address"), "tentative") {
		runtime.Gosched()
	}
}

func TestCleanRefusesWhileTheAgentRuns(t *testing.T) {
	f := nodeFolders(t)
	if err := os.MkdirAll(f.Run, 0o755); err != nil {
		t.Fatal(err)
	}
	agent, err := net.Listen("unix", filepath.Join(f.Run, AgentSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	if err := Clean(context.Background(), f); !errors.Is(err, ErrAgentRuns) {
		t.Errorf("%v", err)
	}
}

// A runtime may start the plugin at any moment: there is no moment without a whole one, and a write that fails leaves the old one.
func TestPluginIsReplacedAtOnce(t *testing.T) {
	folder, source := t.TempDir(), filepath.Join(t.TempDir(), "causeway")
	path := filepath.Join(folder, PluginFile)
	for _, text := range []string{"one", "two", "two"} {
		if err := os.WriteFile(source, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		old, _ := os.Open(path)
		if err := Plugin(source, folder); err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(have) != text || info.Mode().Perm() != 0o755 {
			t.Errorf("%s, %v, %v", have, err, info.Mode())
		}
		if old != nil {
			running := make([]byte, 3)
			if _, err := old.Read(running); err != nil || string(running) == "" {
				t.Errorf("a runtime that has the old file open reads %q, %v", running, err)
			}
			_ = old.Close()
		}
	}
	left, _ := filepath.Glob(folder + "/.*")
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := Plugin(source+".missing", folder); err == nil {
		t.Error("a missing source is no error")
	}
	if have, _ := os.ReadFile(path); string(have) != "two" {
		t.Errorf("after a failure: %q", have)
	}
}
