// Package boot is what a node runs as its first process: it gives the node a root of its own, serves commands, and buries
// orphans. The root shows the host's programs and libraries; whatever the node writes stays in a folder of the cluster.
package boot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/test/lab/machine"
)

// ReportFD is the descriptor on which what goes wrong is written; it closes when the node is ready.
const ReportFD = 3

// Node says where a node's things are.
type Node struct {
	Name string
	// Dir is the node's own folder, Shared one that it shares with the cluster, Programs one that it may only read.
	Dir, Shared, Programs string
}

// Socket is where the node serves commands.
func (n Node) Socket() string { return filepath.Join(n.Shared, n.Name+".sock") }

// Upper is the folder that holds every file that the node has written to its root.
func (n Node) Upper() string { return filepath.Join(n.Dir, "upper") }

// Run boots the node and does not return before its end.
func Run(n Node) error {
	report := os.NewFile(ReportFD, "report")
	if os.Getpid() != 1 || report == nil {
		return errors.New("this is for the first process of a node only")
	}
	syscall.CloseOnExec(ReportFD)
	server, err := start(n)
	if err != nil {
		fmt.Fprint(report, err)
		return err
	}
	_ = report.Close() // That was all.
	return bury(server)
}

func start(n Node) (*exec.Cmd, error) {
	if err := n.mount(); err != nil {
		return nil, err
	}
	if err := n.identify(); err != nil {
		return nil, err
	}
	// A child serves, since this process must wait for processes that it does not know.
	listening, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer listening.Close()
	cmd := exec.Command("/proc/self/exe", "serve-node", n.Socket())
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, []*os.File{w}
	cmd.Env = append(os.Environ(), "PATH="+n.Programs+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root")
	err = cmd.Start()
	_ = w.Close() // The child has its own.
	if err != nil {
		return nil, fmt.Errorf("start the server of commands: %w", err)
	}
	if _, err := listening.Read(make([]byte, 1)); err != nil {
		return nil, fmt.Errorf("the server of commands has ended: %w", err)
	}
	return cmd, nil
}

// Serve serves commands on a socket. It is the node's second process.
func Serve(socket string) error {
	syscall.CloseOnExec(ReportFD)
	_ = os.Remove(socket) // Of an earlier life of the node.
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listen for commands: %w", err)
	}
	ready := os.NewFile(ReportFD, "ready")
	if _, err := ready.Write([]byte{1}); err != nil {
		return fmt.Errorf("say that commands are served: %w", err)
	}
	_ = ready.Close() // That was all.
	return machine.Serve(context.Background(), l, machine.NewLocal(""))
}

// bury waits for every process that ends. The node ends with its server.
func bury(server *exec.Cmd) error {
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for processes: %w", err)
		}
		if pid == server.Process.Pid {
			return errors.New("the server of commands has ended")
		}
	}
}

// quiet are settings of the whole machine's kernel that a kubelet wants to change. It sees what it wants instead.
var quiet = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// mount makes the node's root and goes there.
func (n Node) mount() error {
	root := filepath.Join(n.Dir, "root")
	in := func(path string) string { return filepath.Join(root, path) }
	for _, dir := range []string{root, n.Upper(), filepath.Join(n.Dir, "work"), filepath.Join(n.Dir, "containerd"), filepath.Join(n.Dir, "containers"), filepath.Join(n.Dir, "kubelet")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	const bind = unix.MS_BIND | unix.MS_REC
	steps := []struct {
		source, target, kind, data string
		flags                      uintptr
	}{
		{"none", "/", "", "", unix.MS_REC | unix.MS_PRIVATE},
		{"overlay", root, "overlay", "lowerdir=/,upperdir=" + n.Upper() + ",workdir=" + filepath.Join(n.Dir, "work"), 0},
		{"proc", in("proc"), "proc", "", 0},
		{"sysfs", in("sys"), "sysfs", "", 0},
		{"/sys/fs/cgroup", in("sys/fs/cgroup"), "", "", bind},
		{"/dev", in("dev"), "", "", bind},
		{"tmpfs", in("run"), "tmpfs", "mode=755", 0},
		{"tmpfs", in("tmp"), "tmpfs", "mode=1777", 0},
		// Layers of images and volumes can't lie on an overlay.
		{filepath.Join(n.Dir, "containerd"), in("var/lib/containerd"), "", "", bind},
		{filepath.Join(n.Dir, "containers"), in("var/lib/containers"), "", "", bind},
		{filepath.Join(n.Dir, "kubelet"), in("var/lib/kubelet"), "", "", bind},
		{n.Shared, in(n.Shared), "", "", bind},
		{n.Programs, in(n.Programs), "", "", bind},
	}
	for _, s := range steps {
		if s.target != "/" && s.target != root {
			if err := os.MkdirAll(s.target, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount(s.source, s.target, s.kind, s.flags, s.data); err != nil {
			return fmt.Errorf("mount %s: %w", s.target, err)
		}
	}
	old := in("run/.old")
	if err := os.Mkdir(old, 0o755); err != nil {
		return err
	}
	if err := unix.PivotRoot(root, old); err != nil {
		return fmt.Errorf("go to the node's root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("/run/.old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	_ = os.Remove("/run/.old") // It is empty, or it does no harm.
	for name, value := range quiet {
		shown := "/run/.kernel-" + strings.ReplaceAll(name, "/", "-")
		if err := os.WriteFile(shown, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(shown, "/proc/sys/"+name, "", unix.MS_BIND, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("show a kubelet what it wants of %s: %w", name, err)
		}
	}
	// Kubelets and runtimes pass mounts on to containers.
	return unix.Mount("none", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// identify gives the node a name and files of its own.
func (n Node) identify() error {
	if err := unix.Sethostname([]byte(n.Name)); err != nil {
		return fmt.Errorf("set the hostname: %w", err)
	}
	// What the host has of a pod network or of another cluster is not the node's.
	for _, dir := range []string{"/etc/cni/net.d", "/opt/cni/bin", "/var/lib/cni", "/etc/kubernetes"} {
		if _, err := os.Stat(filepath.Join(dir, ".node")); err == nil {
			continue // of an earlier life
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, ".node"), nil, 0o644); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/run/netns", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for file, text := range map[string]string{
		"/etc/hostname": n.Name + "\n",
		"/etc/hosts":    "127.0.0.1 localhost\n::1 localhost\n",
		// Nobody answers there: a cluster on one machine has no names but its own.
		"/etc/resolv.conf": "nameserver 192.0.2.53\n",
		"/etc/machine-id":  fmt.Sprintf("%032x\n", n.Name),
	} {
		_ = os.Remove(file) // It may be a link to a file that everybody uses.
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return n.installPlugins()
}

// installPlugins copies the reference plugins that every distribution installs with its runtime.
func (n Node) installPlugins() error {
	for _, from := range []string{"/usr/lib/cni/loopback", "/usr/lib/cni/host-local", "/usr/lib/cni/ptp", filepath.Join(n.Programs, "portmap")} {
		text, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("install a plugin: %w", err)
		}
		if err := os.WriteFile(filepath.Join("/opt/cni/bin", filepath.Base(from)), text, 0o755); err != nil {
			return err
		}
	}
	return nil
}
