// Package cluster makes a real Kubernetes cluster on one machine: control plane, and nodes made of namespaces with a root,
// a container runtime, a kubelet and a kube-proxy of their own. It takes the chart of Causeway as any cluster does. It must run
// inside namespaces (Main or Enter), and ends with its process.
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
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/test/cluster/cgroups"
	"github.com/causeway-net/causeway/test/lab/controlplane"
	"github.com/causeway-net/causeway/test/resident"
)

// Options say what to start.
type Options struct {
	// Nodes is the number of nodes, 1 to 9, Subnets that of their subnets, 1 by default. Node i is in subnet i modulo Subnets.
	Nodes, Subnets int
	// Runtime is the container runtime, containerd (the default) or crio.
	Runtime string
	// Proxy is kube-proxy's mode, nftables by default.
	Proxy string
	// IPv6Only makes a cluster that knows no IPv4: neither do nodes, Services and the API server.
	IPv6Only bool
	// Tainted makes kubelets register their nodes with the taint that keeps pods away until the agent serves.
	Tainted bool
	// Log is told what is done.
	Log io.Writer
}

// Cluster is a running cluster.
type Cluster struct {
	*controlplane.ControlPlane
	// Repo is the repository's root, Dir the folder with all of the cluster's files.
	Repo, Dir string
	Nodes     []*Node

	o       Options
	runtime runtime
	log     io.Writer
	begin   time.Time
	group   cgroups.Group
}

// New starts a cluster without a pod network. Stop it, whether or not it has failed half-way: then the error is returned too.
func New(ctx context.Context, o Options) (*Cluster, error) {
	c := &Cluster{o: o, log: o.Log, begin: time.Now()}
	if c.log == nil {
		c.log = io.Discard
	}
	if err := c.start(ctx, o); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, o Options) (err error) {
	subnets := max(o.Subnets, 1)
	if o.Nodes < 1 || o.Nodes > 9 || subnets > o.Nodes {
		return fmt.Errorf("a cluster has 1 to 9 nodes and at most as many subnets, not %d nodes in %d subnets", o.Nodes, subnets)
	}
	if c.Repo, err = resident.Repository(); err != nil {
		return err
	}
	if c.runtime, err = newRuntime(o.Runtime); err != nil {
		return err
	}
	if err := errors.Join(c.checkBinaries(), c.runtime.check(c)); err != nil {
		return err
	}
	if c.group, err = owner(); err != nil {
		return err
	}
	if c.Dir, err = os.MkdirTemp("/mnt", "cluster-"); err != nil {
		return fmt.Errorf("make the cluster's folder: %w", err)
	}
	if err := errors.Join(os.Mkdir(c.shared(), 0o755), makeUnderlay(ctx, o, subnets)); err != nil {
		return err
	}
	for i := range o.Nodes {
		n := &Node{Name: fmt.Sprintf("node%d", i+1), Subnet: i%subnets + 1, cluster: c}
		n.V4, n.V6 = hostAddresses(n.Subnet, 11+i)
		if o.IPv6Only {
			n.V4 = netip.Addr{}
		}
		n.group = c.group.Sub(n.Name)
		c.Nodes = append(c.Nodes, n)
	}
	return c.startAll(ctx)
}

// startAll starts the control plane, and the nodes' runtimes while it comes up.
func (c *Cluster) startAll(ctx context.Context) (err error) {
	booted := make(chan error, 1)
	go func() {
		booted <- c.each(func(n *Node) error { return errors.Join(n.Boot(ctx), n.startRuntime(ctx)) })
	}()
	c.ControlPlane, err = controlplane.Start(ctx, controlplane.Options{
		Dir: filepath.Join(c.Dir, "control-plane"), Bin: c.Bin(""), Address: c.o.apiAddress(), Whole: true,
	})
	if err := errors.Join(err, <-booted); err != nil {
		return err
	}
	c.Say("control plane and runtimes are up")
	if err := c.each(func(n *Node) error { return n.startKubelet(ctx) }); err != nil {
		return err
	}
	c.Say("kubelets have started")
	return c.applyDNS(ctx)
}

// applyDNS starts CoreDNS, whose Service has an address that kubelets know beforehand.
func (c *Cluster) applyDNS(ctx context.Context) error {
	text, err := os.ReadFile(filepath.Join(c.Repo, "test", "cluster", "addons", "coredns.yaml"))
	if err != nil {
		return err
	}
	file := filepath.Join(c.Dir, "coredns.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), dnsV4, c.o.dnsAddress())), 0o644); err != nil {
		return err
	}
	return c.Apply(ctx, file)
}

// each does something for all nodes at the same time.
func (c *Cluster) each(do func(*Node) error) error {
	var wait sync.WaitGroup
	errs := make([]error, len(c.Nodes))
	for i, n := range c.Nodes {
		wait.Go(func() {
			if err := do(n); err != nil {
				errs[i] = fmt.Errorf("%s: %w", n.Name, err)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// Stop ends everything.
func (c *Cluster) Stop() {
	for _, n := range c.Nodes {
		n.PowerCut(context.Background())
	}
	if c.ControlPlane != nil {
		c.ControlPlane.Stop()
	}
	// What follows would go with the namespaces, but the process may start another cluster in them.
	removeUnderlay(context.Background(), c.o)
	_ = os.RemoveAll(c.Dir)
}

// Bin is the path of a program of ours.
func (c *Cluster) Bin(name string) string { return filepath.Join(c.Repo, "bin", name) }

func (c *Cluster) shared() string { return filepath.Join(c.Dir, "shared") }

// Node returns a node by its name.
func (c *Cluster) Node(name string) (*Node, error) {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("there is no node %s", name)
}

// Say tells the log something.
func (c *Cluster) Say(format string, args ...any) {
	fmt.Fprintf(c.log, "cluster: %5.1f s: %s\n", time.Since(c.begin).Seconds(), fmt.Sprintf(format, args...))
}

func (c *Cluster) checkBinaries() error {
	for _, name := range []string{
		"etcd", "kube-apiserver", "kube-scheduler", "kube-controller-manager", "kubelet", "kube-proxy",
		"portmap", "kubectl", "helm", "cluster", "images/pause.tar", "images/agnhost.tar", "images/coredns.tar", "causeway-image.tar",
	} {
		if _, err := os.Stat(c.Bin(name)); err != nil {
			return fmt.Errorf("bin/%s is missing: run `make cluster-programs image`", name)
		}
	}
	if _, err := exec.LookPath("runc"); err != nil {
		return fmt.Errorf("runc is missing: run `make deps`: %w", err)
	}
	return nil
}

// Command runs a program of the cluster's administrator, such as kubectl or helm, and returns what it printed.
func (c *Cluster) Command(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Bin(program), args...)
	cmd.Env = append(os.Environ(), c.Environment()...)
	cmd.Dir = c.Repo
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// Environment is what the administrator's programs need: a kubeconfig, and folders for what helm keeps.
func (c *Cluster) Environment() []string {
	return []string{
		"KUBECONFIG=" + c.AdminKubeconfig(), "HELM_CACHE_HOME=" + c.Dir + "/helm", "HELM_CONFIG_HOME=" + c.Dir + "/helm", "HELM_DATA_HOME=" + c.Dir + "/helm",
		"PATH=" + c.Bin("") + ":" + os.Getenv("PATH"),
	}
}

// Install installs Causeway by its chart, with a first pool of each family, and waits until every node is ready.
func (c *Cluster) Install(ctx context.Context, values ...string) error {
	args := []string{"install", "causeway", "charts/causeway", "--wait", "--timeout=3m", "--set=firstPools.ipv6=fd00:10:211::/48"}
	if !c.o.IPv6Only {
		args = append(args, "--set=firstPools.ipv4=10.211.0.0/16")
	}
	if _, err := c.Command(ctx, "helm", append(args, values...)...); err != nil {
		return errors.Join(err, c.explain(ctx))
	}
	c.Say("Causeway is installed")
	for _, args := range [][]string{
		{"wait", "node", "--all", "--for=condition=Ready", "--timeout=120s"},
		{"-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s"},
	} {
		if _, err := c.Command(ctx, "kubectl", args...); err != nil {
			return errors.Join(err, c.explain(ctx))
		}
	}
	return nil
}

// explain says what the cluster looks like, in an error.
func (c *Cluster) explain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var said []string
	for _, args := range [][]string{
		{"get", "nodes,pods,ippools", "-A", "-o", "wide"}, {"get", "events", "-A", "--sort-by=.lastTimestamp"},
		{"-n", "causeway-system", "logs", "daemonset/causeway-agent", "--all-containers", "--tail=50"},
	} {
		out, _ := c.Command(ctx, "kubectl", args...) // What it can't say is left out.
		said = append(said, out)
	}
	return errors.New(strings.Join(said, "\n"))
}

// RestartRuntime ends a node's container runtime and starts it again. Its pods go on.
func (n *Node) RestartRuntime() error {
	return errors.Join(n.Runtime.Stop(syscall.SIGKILL), n.Runtime.Start())
}

// RestartKubelet ends a node's kubelet and starts it again.
func (n *Node) RestartKubelet() error {
	return errors.Join(n.Kubelet.Stop(syscall.SIGKILL), n.Kubelet.Start())
}
