package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab/controlplane"
	"github.com/causeway-net/causeway/test/retry"
)

const (
	farPool       = "bench-far" // belongs to nodes that exist in the API only
	farCIDR       = "10.102.0.0/16"
	blocksOfANode = 4
)

// far gives other nodes many blocks and measures the agent with them. The controller is stopped first: it would take
// blocks of nodes away that do not exist.
func (b *bench) far(ctx context.Context) error {
	agent, err := b.findAgent()
	if err != nil {
		return err
	}
	before, err := residentMB(agent)
	if err != nil {
		return err
	}
	if err := b.StopController("controller", syscall.SIGTERM); err != nil {
		return err
	}
	blocks, networks := b.farObjects()
	if err := each(networks, func(n *v1alpha1.NodeNetwork) error {
		status := n.Status
		if err := b.Client.Create(ctx, n); err != nil {
			return fmt.Errorf("create NodeNetwork %s: %w", n.Name, err)
		}
		n.Status = status
		return b.Client.Status().Update(ctx, n)
	}); err != nil {
		return err
	}
	for _, run := range []struct {
		what   string
		frozen bool
	}{
		{fmt.Sprintf("%d new blocks: last event to last route", b.blocks), false},
		{fmt.Sprintf("%d new blocks in one burst: first event to last route", b.blocks), true},
	} {
		took, err := b.routed(ctx, agent, blocks, run.frozen)
		if err != nil {
			return err
		}
		b.add(row{what: run.what, ours: milliseconds(took), target: "< 1 s"})
		if run.frozen {
			break
		}
		if err := b.unroute(ctx, blocks); err != nil {
			return err
		}
	}
	for _, mode := range []v1alpha1.Encapsulation{v1alpha1.EncapsulationNone, v1alpha1.EncapsulationVXLAN} {
		took, err := b.moved(ctx, mode)
		if err != nil {
			return err
		}
		b.add(row{what: fmt.Sprintf("%d blocks change to %s: event to last route", b.blocks, mode), ours: milliseconds(took), target: "< 1 s"})
	}
	after, err := residentMB(agent)
	if err != nil {
		return err
	}
	b.add(row{what: fmt.Sprintf("agent, resident: %d pods, %d blocks", b.pods, b.blocks),
		ours: fmt.Sprintf("%.1f MB (%.1f before the blocks)", after, before), target: "< 60 MB"})
	return nil
}

func (b *bench) farObjects() (blocks []*v1alpha1.IPBlock, networks []*v1alpha1.NodeNetwork) {
	subnet := netip.PrefixFrom(b.node.V4, 24).Masked()
	network, address := netip.MustParsePrefix(farCIDR).Addr(), subnet.Addr().Next() // the first is the router's
	for i := range b.blocks {
		node := fmt.Sprintf("far%d", i/blocksOfANode)
		if i%blocksOfANode == 0 {
			if address = address.Next(); address == b.node.V4 {
				address = address.Next()
			}
			networks = append(networks, &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: node}, Status: v1alpha1.NodeNetworkStatus{
				Addresses: []v1alpha1.NodeAddress{{Address: address.String(), Subnet: subnet.String(), Interface: "eth0"}}, MTU: 1500,
			}})
		}
		cidr := netip.PrefixFrom(network, 26)
		blocks = append(blocks, &v1alpha1.IPBlock{
			ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.BlockName(cidr)},
			Spec:       v1alpha1.IPBlockSpec{CIDR: cidr.String(), Pool: farPool, Node: node, NodeAddresses: []string{address.String()}},
		})
		for range 64 {
			network = network.Next()
		}
	}
	return blocks, networks
}

// routed creates the blocks and returns the time until the node routes them all. A frozen agent sees them all at once.
func (b *bench) routed(ctx context.Context, agent int, blocks []*v1alpha1.IPBlock, frozen bool) (time.Duration, error) {
	routed, err := b.awaitRoutes(ctx, len(blocks))
	if err != nil {
		return 0, err
	}
	events, err := b.Client.Watch(ctx, &v1alpha1.IPBlockList{})
	if err != nil {
		return 0, fmt.Errorf("watch the blocks: %w", err)
	}
	defer events.Stop()
	if frozen {
		if err := syscall.Kill(agent, syscall.SIGSTOP); err != nil {
			return 0, fmt.Errorf("freeze the agent: %w", err)
		}
	}
	var last time.Time
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		added := map[string]bool{}
		for e := range events.ResultChan() {
			if block, ok := e.Object.(*v1alpha1.IPBlock); ok && block.Spec.Pool == farPool {
				added[block.Name] = true
			}
			if len(added) == len(blocks) {
				last = time.Now()
				return
			}
		}
	}()
	controller, err := b.As(controlplane.ControllerUser) // nobody else may create blocks
	if err != nil {
		return 0, err
	}
	err = each(blocks, func(block *v1alpha1.IPBlock) error {
		block.ResourceVersion = ""
		if err := controller.Create(ctx, block); err != nil {
			return fmt.Errorf("create IPBlock %s: %w", block.Name, err)
		}
		return nil
	})
	if err == nil {
		<-seen
	}
	if frozen {
		last = time.Now()
		err = errors.Join(err, syscall.Kill(agent, syscall.SIGCONT))
	}
	if err != nil {
		return 0, err
	}
	at, err := routed()
	if err != nil {
		return 0, err
	}
	return at.Sub(last), nil
}

// awaitRoutes listens to the node's kernel. The returned function waits until so many routes of farCIDR have been added or
// replaced, and says when.
func (b *bench) awaitRoutes(ctx context.Context, count int) (func() (time.Time, error), error) {
	watcher := b.node.Command(ctx, b.self, insideVerb, "routes", fmt.Sprintf("%s=%d", farCIDR, count))
	out, in := io.Pipe()
	var failure strings.Builder
	watcher.Stdout, watcher.Stderr = in, &failure
	if err := watcher.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = in.CloseWithError(watcher.Wait()) // The reader gets the error.
	}()
	lines := bufio.NewScanner(out)
	if !lines.Scan() { // "listening"
		return nil, fmt.Errorf("watch the node's routes: %w: %s", lines.Err(), failure.String())
	}
	return func() (time.Time, error) {
		if !lines.Scan() {
			return time.Time{}, fmt.Errorf("watch the node's routes: %w: %s", lines.Err(), failure.String())
		}
		at, err := strconv.ParseInt(lines.Text(), 10, 64)
		return time.Unix(0, at), err
	}, nil
}

// moved changes what nodes send the pool with, as the controller does in a change of mode, and returns the time from the
// watch event until the last route is replaced.
func (b *bench) moved(ctx context.Context, mode v1alpha1.Encapsulation) (time.Duration, error) {
	routed, err := b.awaitRoutes(ctx, b.blocks)
	if err != nil {
		return 0, err
	}
	events, err := b.Client.Watch(ctx, &v1alpha1.IPPoolList{})
	if err != nil {
		return 0, fmt.Errorf("watch the pools: %w", err)
	}
	defer events.Stop()
	var pool v1alpha1.IPPool
	if err := b.Object(ctx, farPool, &pool); err != nil {
		return 0, err
	}
	pool.Status.Encapsulation = mode
	if err := b.Client.Status().Update(ctx, &pool); err != nil {
		return 0, fmt.Errorf("change the mode of IPPool %s: %w", farPool, err)
	}
	for e := range events.ResultChan() {
		if seen, ok := e.Object.(*v1alpha1.IPPool); ok && seen.Name == farPool && seen.Status.Encapsulation == mode {
			break
		}
	}
	begin := time.Now()
	at, err := routed()
	return at.Sub(begin), err
}

// unroute deletes the blocks and waits until the node has no route to them.
func (b *bench) unroute(ctx context.Context, blocks []*v1alpha1.IPBlock) error {
	if err := each(blocks, func(block *v1alpha1.IPBlock) error { return b.Client.Delete(ctx, block) }); err != nil {
		return fmt.Errorf("delete the blocks: %w", err)
	}
	return retry.Until(ctx, time.Minute, func() error {
		out, err := b.node.Run(ctx, "ip", "-4", "route", "show", "root", farCIDR)
		if err != nil || strings.TrimSpace(out) != "" {
			return fmt.Errorf("routes to deleted blocks are left: %w", err)
		}
		return nil
	})
}

// each does something for every item, several at a time.
func each[T any](items []T, do func(T) error) error {
	queue, errs := make(chan T), make([]error, 8)
	var workers sync.WaitGroup
	for i := range errs {
		workers.Go(func() {
			for item := range queue {
				if errs[i] == nil {
					errs[i] = do(item)
				}
			}
		})
	}
	for _, item := range items {
		queue <- item
	}
	close(queue)
	workers.Wait()
	return errors.Join(errs...)
}
