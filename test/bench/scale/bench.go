package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab/controlplane"
	"github.com/causeway-net/causeway/test/resident"
	"github.com/causeway-net/causeway/test/retry"
)

const (
	poolName = "scale"
	// poolCIDR has room for 131,072 blocks, and holds neither nodes nor services.
	poolCIDR  = "10.128.0.0/9"
	podsSpace = "pods"
	// workers is how many requests the harness has under way at once.
	workers = 16
	// patience only catches what hangs: machines differ.
	patience = 10 * time.Minute
)

var (
	apiAddress = netip.MustParseAddr("172.31.0.1")
	nodeSubnet = netip.MustParsePrefix("172.20.0.0/16")
)

// bench is one part's run, with what it has started.
type bench struct {
	options
	*controlplane.ControlPlane
	table *table
	dir   string
	repo  string

	mu     sync.Mutex
	closes []func()
	death  error // a program has ended by itself
}

// prepareHost gives the API server its address, and allows a connection for each node.
func prepareHost(ctx context.Context) error {
	for _, args := range [][]string{{"link", "set", "lo", "up"}, {"addr", "add", apiAddress.String() + "/32", "dev", "lo"}} {
		if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	return nil
}

func (b *bench) logf(format string, values ...any) {
	if b.verbose {
		fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", values...)
	}
}

// later has something done when the part ends; what was started last ends first.
func (b *bench) later(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closes = append(b.closes, f)
}

func (b *bench) close() {
	for i := len(b.closes) - 1; i >= 0; i-- {
		b.closes[i]()
	}
	b.closes = nil
	runtime.GC()
}

// start starts a control plane with the pool and the pods' namespace in it.
func (b *bench) start(ctx context.Context) error {
	var err error
	if b.repo, err = resident.Repository(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "causeway-scale"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	b.later(func() { _ = os.RemoveAll(b.dir) })
	b.ControlPlane, err = controlplane.Start(ctx, controlplane.Options{
		Dir: filepath.Join(b.dir, "control-plane"), Bin: filepath.Join(b.repo, "bin"), Config: filepath.Join(b.repo, "config"), Address: apiAddress,
	})
	if err != nil {
		return err
	}
	b.later(b.Stop)
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: podsSpace}}
	if err := b.Client.Create(ctx, space); err != nil {
		return fmt.Errorf("create namespace %s: %w", podsSpace, err)
	}
	pool := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: poolName}, Spec: v1alpha1.IPPoolSpec{CIDR: poolCIDR, Encapsulation: v1alpha1.EncapsulationVXLAN}}
	if err := b.Client.Create(ctx, pool); err != nil {
		return fmt.Errorf("create IPPool %s: %w", poolName, err)
	}
	return nil
}

func (b *bench) pool(ctx context.Context) (*v1alpha1.IPPool, error) {
	var pool v1alpha1.IPPool
	if err := b.Client.Get(ctx, client.ObjectKey{Name: poolName}, &pool); err != nil {
		return nil, fmt.Errorf("get IPPool %s: %w", poolName, err)
	}
	return &pool, nil
}

// agentConfig makes a Node, and returns how its agent reaches the API server: with a token that is bound to a pod there.
func (b *bench) agentConfig(ctx context.Context, index int) (*rest.Config, error) {
	name := nodeName(index)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := b.Client.Create(ctx, node); err != nil {
		return nil, fmt.Errorf("create node %s: %w", name, err)
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeAddress(index).String()}}
	if err := b.Client.Status().Update(ctx, node); err != nil {
		return nil, fmt.Errorf("write the status of node %s: %w", name, err)
	}
	token, err := b.AgentToken(ctx, name)
	if err != nil {
		return nil, err
	}
	return &rest.Config{Host: b.Config.Host, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: b.Config.CAData}}, nil
}

func nodeName(index int) string { return fmt.Sprintf("node-%05d", index) }

func nodeAddress(index int) netip.Addr {
	a := nodeSubnet.Addr().As4()
	a[2], a[3] = byte((index+256)>>8), byte(index)
	return netip.AddrFrom4(a)
}

// each does something for the numbers from first up to, not including, end, some at a time. It returns the first error.
func each(ctx context.Context, first, end, atOnce int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var group sync.WaitGroup
	for range atOnce {
		group.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := first; i < end && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	group.Wait()
	return context.Cause(ctx)
}

// await tries until there is no error, unless a program that is measured has ended meanwhile.
func (b *bench) await(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := retry.Until(ctx, patience, func() error {
		if err := b.died(); err != nil {
			cancel(err)
		}
		return try()
	})
	if err != nil {
		return fmt.Errorf("wait until %s: %w", what, errors.Join(err, b.died()))
	}
	return nil
}

// died says which program has ended by itself.
func (b *bench) died() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.death
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
