// Package lab is a cluster on one Linux machine with nothing real left out but the container runtime: etcd,
// kube-apiserver, Causeway's controller, and nodes on an underlay of several subnets, each with the real agent and the
// real CNI plugin. Call Main from TestMain, then Start in a test. Everything that touches a node goes through
// Node.Command, so the same test runs with nodes in a virtual machine.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/test/lab/controlplane"
	"github.com/causeway-net/causeway/test/lab/machine"
	"github.com/causeway-net/causeway/test/namespaces"
	"github.com/causeway-net/causeway/test/resident"
)

const (
	// labMount is a file system of the lab's own, the same on all nodes.
	labMount = "/mnt"
	// apiAddress is the router's own; the API server listens there.
	apiAddress = "172.30.0.1"
)

// Kernels that nodes can run on.
const (
	KernelHost = "host"
	KernelVM   = "vm"
	KernelAuto = "auto"
)

// KernelVariable names the environment variable that chooses the kernel where Options don't.
const KernelVariable = "CAUSEWAY_LAB_KERNEL"

// Options shape a lab. The zero value is three nodes on two subnets with everything running.
type Options struct {
	// Nodes and Subnets count; default 3 and 2.
	Nodes, Subnets int
	// Kernel is host, vm or auto. Default: the environment variable CAUSEWAY_LAB_KERNEL, else auto.
	Kernel string
	// NeedIPIP lets auto choose the virtual machine where this kernel can't do IPIP.
	NeedIPIP bool
	// NoController and NoAgents leave these out; start them by hand.
	NoController, NoAgents bool
	// AgentArgs and ControllerArgs are added to their command lines.
	AgentArgs, ControllerArgs []string
	// CNIConfig is the text of the nodes' conflist. Default: Causeway alone.
	CNIConfig string
	// Log gets progress.
	Log io.Writer
}

// Lab is a running cluster.
type Lab struct {
	*controlplane.ControlPlane
	Nodes []*Node
	// Outside is a machine beyond the router that has no route to any pod.
	Outside *Node
	// Dir holds logs, credentials and data. It is the same folder on all nodes.
	Dir string
	// Kernel is what the nodes run on: KernelHost or KernelVM. The latter is some ten times slower.
	Kernel string
	// Repo is the repository's root.
	Repo string

	o       Options
	local   *machine.Local
	runner  machine.Runner // where the nodes are
	vm      io.Closer
	lost    <-chan error // of the virtual machine
	started map[string]*controller
	mu      sync.Mutex
	pods    map[string]*Pod // those with a network namespace, by key

	counting sync.Mutex // so that no two tests give a node its counters
}

// Start starts a lab for a test and stops it when the test ends. When the test has failed, the state is printed first.
func Start(t testing.TB, o Options) *Lab {
	t.Helper()
	if o.Log == nil {
		o.Log = t.Output()
	}
	l, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go l.exitWhenLost(stopped)
	t.Cleanup(func() {
		if t.Failed() {
			l.Dump(context.Background(), t.Output())
		}
		close(stopped)
		l.Stop()
	})
	return l
}

// New starts a lab. This process must be inside the namespaces of Enter.
func New(ctx context.Context, o Options) (*Lab, error) {
	if !namespaces.Inside() {
		return nil, fmt.Errorf("the lab must run in namespaces of its own: call lab.Main from TestMain")
	}
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Subnets == 0 {
		o.Subnets = min(2, o.Nodes)
	}
	if o.Nodes > 200 || o.Subnets > 8 || o.Subnets > o.Nodes {
		return nil, fmt.Errorf("%d nodes on %d subnets: a lab has at most 200 nodes and 8 subnets, and no subnet without a node", o.Nodes, o.Subnets)
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	l := &Lab{o: o, started: map[string]*controller{}, pods: map[string]*Pod{}}
	if err := l.start(ctx); err != nil {
		l.Stop()
		return nil, fmt.Errorf("start the lab: %w", err)
	}
	return l, nil
}

// Stop ends all processes and takes nodes, links and data away.
func (l *Lab) Stop() {
	for _, n := range l.Nodes {
		n.stopAgent(syscall.SIGKILL)
	}
	for _, c := range l.started {
		c.stop(syscall.SIGKILL)
	}
	if l.ControlPlane != nil {
		l.ControlPlane.Stop()
	}
	if l.vm != nil {
		_ = l.vm.Close() // It is killed; there is nothing to lose.
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if l.local != nil {
		if err := l.local.Close(ctx); err != nil {
			l.logf("take the nodes away: %v", err)
		}
		if err := removeUnderlay(ctx, l.o.Subnets); err != nil {
			l.logf("take the underlay away: %v", err)
		}
	}
	if l.Dir != "" {
		_ = os.RemoveAll(l.Dir) // On a file system that ends with us.
	}
}

func (l *Lab) start(ctx context.Context) (err error) {
	begin := time.Now()
	if l.Repo, err = resident.Repository(); err != nil {
		return err
	}
	if err := l.checkBinaries(); err != nil {
		return err
	}
	if l.Dir, err = os.MkdirTemp(labMount, "lab-"); err != nil {
		return fmt.Errorf("make the lab's folder: %w", err)
	}
	if err := os.Chmod(l.Dir, 0o755); err != nil {
		return err
	}
	l.local = machine.NewLocal(l.Bin("lab-node"))
	l.runner = l.local
	kernel, err := chooseKernel(ctx, l.o)
	if err != nil {
		return err
	}
	l.Kernel = kernel
	l.logf("kernel of the nodes: %s", kernel)
	if err := makeUnderlay(ctx, l.o.Subnets); err != nil {
		return err
	}
	// The virtual machine boots while the control plane starts.
	booted := make(chan error, 1)
	if kernel == KernelVM {
		go func() { booted <- l.boot(ctx) }()
	} else {
		booted <- nil
	}
	if l.ControlPlane, err = controlplane.Start(ctx, controlplane.Options{
		Dir: filepath.Join(l.Dir, "control-plane"), Bin: l.Bin(""), Config: filepath.Join(l.Repo, "config"),
		Address: netip.MustParseAddr(apiAddress),
	}); err != nil {
		return errors.Join(err, <-booted)
	}
	l.logf("control plane up after %.1f s", time.Since(begin).Seconds())
	if err := <-booted; err != nil {
		return err
	}
	if err := l.makeNodes(ctx); err != nil {
		return err
	}
	l.logf("%d nodes up after %.1f s", len(l.Nodes), time.Since(begin).Seconds())
	if !l.o.NoController {
		if err := l.StartController("controller"); err != nil {
			return err
		}
	}
	if l.o.NoAgents {
		return nil
	}
	for _, n := range l.Nodes {
		if err := n.StartAgent(); err != nil {
			return err
		}
	}
	if l.o.NoController {
		return nil
	}
	if err := l.waitReady(ctx); err != nil {
		l.Dump(ctx, l.o.Log)
		return err
	}
	l.logf("agents ready after %.1f s", time.Since(begin).Seconds())
	return nil
}

// Bin returns the path of one of our binaries.
func (l *Lab) Bin(name string) string { return filepath.Join(l.Repo, "bin", name) }

func (l *Lab) logf(format string, args ...any) {
	fmt.Fprintf(l.o.Log, "lab: "+format+"\n", args...)
}

func (l *Lab) checkBinaries() error {
	for _, name := range []string{"etcd", "kube-apiserver", "lab-node", "causeway", "causeway-agent", "causeway-controller"} {
		if _, err := os.Stat(l.Bin(name)); err != nil {
			return fmt.Errorf("bin/%s is missing: run `make build`", name)
		}
	}
	return nil
}

// Object gets an object of the cluster; key is "name" or "namespace/name".
func (l *Lab) Object(ctx context.Context, key string, o client.Object) error {
	namespace, name := splitKey(key)
	return l.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)
}
