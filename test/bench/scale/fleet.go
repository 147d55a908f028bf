package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// fleet are the nodes of one control plane.
type fleet struct {
	b      *bench
	ctx    context.Context // of everything that the nodes do
	nodes  []*node
	lights []*light
	byName map[string]*light

	mu      sync.Mutex
	blocks  map[string]int       // by node
	arrived map[string]time.Time // when a node's last block came
	pool    *v1alpha1.IPPool
	version string // of what was seen last
	failed  error
	changes chan func() // what light nodes have to say, done by some workers
}

// newFleet watches blocks and pools once for all light nodes. It ends with the part.
func (b *bench) newFleet(ctx context.Context) (*fleet, error) {
	ctx, cancel := context.WithCancel(ctx)
	f := &fleet{b: b, ctx: ctx, byName: map[string]*light{}, blocks: map[string]int{}, arrived: map[string]time.Time{}, changes: make(chan func(), 1<<20)}
	watch, err := cache.New(b.Config, cache.Options{Scheme: b.Client.Scheme(), Mapper: b.Client.RESTMapper(), DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("make a cache: %w", err)
	}
	var running sync.WaitGroup
	b.later(func() {
		cancel()
		running.Wait()
		for _, n := range f.nodes {
			n.workers.Wait()
			n.api.Dialer.CloseAll()
		}
		for _, n := range f.lights {
			n.close()
		}
	})
	for object, see := range map[client.Object]func(any){&v1alpha1.IPBlock{}: f.seeBlock, &v1alpha1.IPPool{}: f.seePool} {
		informer, err := watch.GetInformer(ctx, object)
		if err != nil {
			return nil, fmt.Errorf("watch %T: %w", object, err)
		}
		if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, o any) { see(o) }}); err != nil {
			return nil, fmt.Errorf("watch %T: %w", object, err)
		}
	}
	running.Go(func() { _ = watch.Start(ctx) })
	for range 64 {
		running.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case change := <-f.changes:
					change()
				}
			}
		})
	}
	return f, nil
}

// say has a light node say something in the background.
func (f *fleet) say(change func() error) {
	f.changes <- func() {
		if err := change(); err != nil && f.ctx.Err() == nil {
			f.mu.Lock()
			f.failed = errors.Join(f.failed, err)
			f.mu.Unlock()
		}
	}
}

func (f *fleet) seeBlock(o any) {
	block, ok := o.(*v1alpha1.IPBlock)
	if !ok || block.Generation > 1 || block.DeletionTimestamp != nil {
		return
	}
	f.mu.Lock()
	f.version = block.ResourceVersion
	f.blocks[block.Spec.Node]++
	f.arrived[block.Spec.Node] = time.Now()
	n := f.byName[block.Spec.Node]
	f.mu.Unlock()
	if n != nil {
		f.say(func() error { return n.seeBlock(f.ctx, block.Spec.CIDR) })
	}
}

func (f *fleet) seePool(o any) {
	pool, ok := o.(*v1alpha1.IPPool)
	if !ok {
		return
	}
	f.mu.Lock()
	f.pool, f.version = pool, pool.ResourceVersion
	lights := f.lights
	f.mu.Unlock()
	for _, n := range lights {
		n.mu.Lock()
		claimed := n.said.Pool != ""
		n.mu.Unlock()
		if claimed {
			f.say(func() error { return n.seePool(f.ctx, pool) })
		}
	}
}

// blocksOf returns how many blocks a node was given, and when the last one was seen.
func (f *fleet) blocksOf(name string) (int, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blocks[name], f.arrived[name]
}

func (f *fleet) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// latest returns a version that a watch can begin with.
func (f *fleet) latest() string {
	var list v1alpha1.BGPFilterList
	if err := f.b.Client.List(f.ctx, &list, &client.ListOptions{Raw: &metav1.ListOptions{}}); err != nil {
		return ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version = list.ResourceVersion
	return f.version
}

// addNodes starts nodes with the agent's code, one after the other, numbered from first on.
func (f *fleet) addNodes(first, count int) error {
	made := make([]*node, count)
	err := each(f.ctx, 0, count, 8, func(ctx context.Context, i int) error {
		config, err := f.b.agentConfig(ctx, first+i)
		if err != nil {
			return err
		}
		n, err := newNode(first+i, config)
		if err != nil {
			return err
		}
		made[i] = n
		return n.run(f.ctx)
	})
	for _, n := range made {
		if n != nil {
			f.nodes = append(f.nodes, n)
		}
	}
	return err
}

// addLights makes light nodes that have said their facts and keep a lease, but have claimed nothing yet.
func (f *fleet) addLights(first, count int) error {
	made := make([]*light, count)
	err := each(f.ctx, 0, count, workers, func(ctx context.Context, i int) error {
		config, err := f.b.agentConfig(ctx, first+i)
		if err != nil {
			return err
		}
		if made[i], err = newLight(first+i, config, f.b.renewal); err != nil {
			return err
		}
		if err := made[i].join(ctx); err != nil {
			return err
		}
		made[i].workers.Go(func() { made[i].keepLease(f.ctx) })
		return nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range made {
		if n != nil {
			f.lights = append(f.lights, n)
			f.byName[n.name] = n
		}
	}
	return err
}

// claim has all light nodes claim at once, and returns how long it took until each had its first block.
func (f *fleet) claim(lights []*light) (time.Duration, error) {
	began := time.Now()
	err := each(f.ctx, 0, len(lights), 64, func(ctx context.Context, i int) error { return lights[i].claimBlocks(ctx) })
	if err != nil {
		return 0, err
	}
	f.b.logf("%d nodes have claimed after %s", len(lights), time.Since(began).Round(time.Millisecond))
	var last time.Time
	err = f.b.await(f.ctx, "every node has a block", func() error {
		for _, n := range lights {
			count, at := f.blocksOf(n.name)
			if count == 0 {
				return fmt.Errorf("node %s has none", n.name)
			}
			if at.After(last) {
				last = at
			}
		}
		return f.failure()
	})
	return last.Sub(began), err
}

// report has light nodes report the pool for the first time.
func (f *fleet) report(lights []*light) error {
	f.mu.Lock()
	pool := f.pool
	f.mu.Unlock()
	return each(f.ctx, 0, len(lights), 64, func(ctx context.Context, i int) error { return lights[i].seePool(ctx, pool) })
}
