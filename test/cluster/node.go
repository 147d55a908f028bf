package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/causeway-net/causeway/test/cluster/boot"
	"github.com/causeway-net/causeway/test/cluster/cgroups"
	"github.com/causeway-net/causeway/test/lab/machine"
)

// Node is one node of the cluster: namespaces with a root of their own.
type Node struct {
	Name string
	// Subnet is the number of its subnet, from 1.
	Subnet int
	// V4 and V6 are its addresses on eth0; there is no V4 where the cluster has no IPv4.
	V4, V6 netip.Addr
	// Runtime, Kubelet and Proxy are its daemons.
	Runtime, Kubelet, Proxy *Daemon

	cluster *Cluster
	group   cgroups.Group
	client  *machine.Client
	init    *exec.Cmd
}

func (n *Node) boot() boot.Node {
	return boot.Node{
		Name: n.Name, Dir: filepath.Join(n.cluster.Dir, "nodes", n.Name), Shared: n.cluster.shared(),
		Programs: n.cluster.Bin(""),
	}
}

// Upper is the folder that holds every file that the node has written, other than volumes, layers of images, /run and /tmp.
func (n *Node) Upper() string { return n.boot().Upper() }

// Boot starts the node, without its daemons. What it has written before is there again, apart from /run and /tmp.
func (n *Node) Boot(ctx context.Context) error {
	// A kubelet takes minutes to start where the groups of pods that are gone lie about.
	if err := errors.Join(n.group.Remove(), n.group.Make()); err != nil {
		return err
	}
	b := n.boot()
	if err := os.MkdirAll(b.Dir, 0o755); err != nil {
		return err
	}
	if err := n.startInit(b); err != nil {
		return fmt.Errorf("boot node %s: %w", n.Name, err)
	}
	n.client = machine.NewClient("unix", b.Socket())
	if err := n.plugIn(ctx); err != nil {
		return fmt.Errorf("plug in node %s: %w", n.Name, err)
	}
	return nil
}

// startInit starts the node's first process and waits until it serves commands.
func (n *Node) startInit(b boot.Node) error {
	log, err := os.OpenFile(filepath.Join(b.Dir, "init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	report, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer report.Close()
	n.init = exec.Command(n.cluster.Bin("cluster"), "boot", b.Name, b.Dir, b.Shared, b.Programs)
	n.init.Stdout, n.init.Stderr, n.init.ExtraFiles = log, log, []*os.File{w}
	n.init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC, Setpgid: true,
	}
	err = n.init.Start()
	_ = w.Close() // The child has its own.
	if err != nil {
		n.init = nil
		return fmt.Errorf("start its first process: %w", err)
	}
	said, err := io.ReadAll(report)
	if err != nil || len(said) > 0 {
		n.kill()
		return errors.Join(fmt.Errorf("its first process: %s", said), err)
	}
	return nil
}

// plugIn gives the node its eth0.
func (n *Node) plugIn(ctx context.Context) error {
	port := "p-" + n.Name
	_ = machine.IPBatch(ctx, "link del "+port) // Of an earlier life of the node; the kernel deletes it when it finds time.
	if err := machine.IPBatch(ctx,
		"link add "+port+" type veth peer name eth0 netns "+strconv.Itoa(n.init.Process.Pid),
		"link set "+port+" master "+bridgeName(n.Subnet), "link set "+port+" up",
	); err != nil {
		return err
	}
	commands := []string{"link set lo up", "link set eth0 up"}
	for _, a := range n.Addresses() {
		add := "addr add " + withLength(a) + " dev eth0"
		if a.Is6() {
			add += " nodad" // It is of use at once.
		}
		commands = append(commands, add)
	}
	for _, a := range n.Addresses() {
		commands = append(commands, "route add default via "+gateway(n.Subnet, a).String())
	}
	for _, command := range commands {
		if _, err := n.Run(ctx, append([]string{"ip"}, strings.Fields(command)...)...); err != nil {
			return err
		}
	}
	return nil
}

// PowerCut ends everything on the node at once. Its disk stays.
func (n *Node) PowerCut(ctx context.Context) {
	for _, d := range []*Daemon{n.Runtime, n.Kubelet, n.Proxy} {
		d.abandon()
	}
	n.kill()
	_ = machine.IPBatch(ctx, "link del p-"+n.Name) // It goes with the namespace, sooner or later.
}

// kill ends the first process; the kernel ends all others before Wait returns.
func (n *Node) kill() {
	if n.init == nil {
		return
	}
	_ = n.init.Process.Kill() // It may have ended.
	_ = n.init.Wait()         // Killed.
	n.init = nil
}

// Start starts a command on the node. It ends when the context does.
func (n *Node) Start(ctx context.Context, spec machine.Spec, std machine.Stdio) (machine.Process, error) {
	if n.client == nil {
		return nil, fmt.Errorf("node %s is not up", n.Name)
	}
	if spec.Netns != "" {
		spec.Argv = append([]string{"nsenter", "--net=/run/netns/" + spec.Netns, "--"}, spec.Argv...)
		spec.Netns = ""
	}
	spec.Node = ""
	return n.client.Start(ctx, spec, std)
}

// Run runs a command on the node and returns what it printed, errors included.
func (n *Node) Run(ctx context.Context, argv ...string) (string, error) {
	return n.run(ctx, machine.Spec{Argv: argv}, nil)
}

// RunIn runs a command in a network namespace of the node, by its name in /run/netns.
func (n *Node) RunIn(ctx context.Context, netns string, argv ...string) (string, error) {
	return n.run(ctx, machine.Spec{Netns: netns, Argv: argv}, nil)
}

// WriteFile writes a file on the node, and the folders that lead to it.
func (n *Node) WriteFile(ctx context.Context, path, text string) error {
	spec := machine.Spec{Argv: []string{"sh", "-c", `mkdir -p "$(dirname "$1")" && cat >"$1"`, "sh", path}}
	_, err := n.run(ctx, spec, strings.NewReader(text))
	return err
}

func (n *Node) run(ctx context.Context, spec machine.Spec, in io.Reader) (string, error) {
	var out machine.Buffer
	said := strings.Join(spec.Argv, " ")
	p, err := n.Start(ctx, spec, machine.Stdio{In: in, Out: &out, Err: &out})
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", n.Name, said, err)
	}
	code, err := p.Wait()
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, strings.TrimSpace(out.String()))
	}
	if err != nil {
		return out.String(), fmt.Errorf("%s: %s: %w", n.Name, said, err)
	}
	return out.String(), nil
}
