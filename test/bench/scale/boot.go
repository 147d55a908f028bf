package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab/controlplane"
)

const (
	// bootBlocks are created for each size; what one event costs does not depend on their number.
	bootBlocks = 100
	// bootLists are made of the blocks that there are.
	bootLists = 20
	// bootWithin is the time in which a whole cluster boots.
	bootWithin = 60.0
	// bootCores is the API server's processor time that a boot may take: half of a large control plane's machine.
	bootCores = 8.0
)

// partBoot measures what the API server's processor spends on sending IPBlocks to many watchers, and works out what a whole
// cluster costs that boots within a minute: every node hears of every block.
func (b *bench) partBoot(ctx context.Context) error {
	if err := b.start(ctx); err != nil {
		return err
	}
	controller, err := b.openPool(ctx)
	if err != nil {
		return err
	}
	var crowd []*light
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for _, n := range crowd {
			n.close()
		}
	}()
	alone, _, err := b.createBlocks(ctx, controller, 0, bootBlocks, nil)
	if err != nil {
		return err
	}
	b.table.note("boot: API server, for each IPBlock without watchers", "%s of processor time", seconds(alone/bootBlocks))
	var perEvent float64
	for i, size := range b.watchers {
		if crowd, err = b.gather(ctx, crowd, size); err != nil {
			return err
		}
		spent, events, err := b.createBlocks(ctx, controller, i+1, bootBlocks, crowd)
		if err != nil {
			return err
		}
		perEvent = (spent - alone) / events
		b.table.note(fmt.Sprintf("boot: %d watchers, API server for each event", size), "%.1f us of processor time; %d nodes that boot within a minute keep %.1f cores busy with it",
			perEvent*1e6, size, perEvent*float64(size)*float64(size)/bootWithin)
		if err := b.bootPods(ctx, crowd, i); err != nil {
			return err
		}
	}
	if err := b.bootList(ctx, crowd[0]); err != nil {
		return err
	}
	whole := perEvent*5000*5000/bootWithin + alone/bootBlocks*5000/bootWithin
	b.table.note("boot: 5,000 nodes within a minute, worked out", "%.1f cores of the API server for IPBlocks", whole)
	b.table.note("boot: one object for each block serves", "up to %.0f nodes that boot within a minute, with %.0f cores for it", math.Sqrt(bootCores*bootWithin/perEvent), bootCores)
	return nil
}

// bootPods measures a pod's record: only its own node is told of it, but the API server looks at every node's watch.
func (b *bench) bootPods(ctx context.Context, crowd []*light, round int) error {
	before, err := b.readServer(ctx)
	if err != nil {
		return err
	}
	const pods = bootBlocks
	err = each(ctx, 0, pods, 4, func(ctx context.Context, i int) error {
		n := i % len(crowd)
		block := netip.MustParsePrefix(blockOf(n, nodeName(n)).Spec.CIDR)
		record := recordOf(n, round+i/len(crowd)*len(b.watchers), block)
		_, err := crowd[n].send(ctx, http.MethodPost, groupPath+"namespaces/"+podsSpace+"/workloadendpoints", plainJSON, record)
		return err
	})
	if err != nil {
		return err
	}
	after, err := b.readServer(ctx)
	if err != nil {
		return err
	}
	b.table.note(fmt.Sprintf("boot: %d nodes that each watch their own WorkloadEndpoints, API server for each pod's start", len(crowd)), "%s of processor time",
		seconds(after.since(before).processor/pods))
	return nil
}

func seconds(s float64) string { return milliseconds(time.Duration(s * float64(time.Second))) }

// openPool adds the finalizer to the pool, without which no block of it is admitted: there is no controller here. It waits
// until blocks are, and returns a client that may create them.
func (b *bench) openPool(ctx context.Context) (client.Client, error) {
	pool, err := b.pool(ctx)
	if err != nil {
		return nil, err
	}
	before := pool.DeepCopy()
	pool.Finalizers = append(pool.Finalizers, v1alpha1.FinalizerPool)
	if err := b.Client.Patch(ctx, pool, client.MergeFrom(before)); err != nil {
		return nil, fmt.Errorf("add the finalizer to the pool: %w", err)
	}
	controller, err := b.As(controlplane.ControllerUser) // nobody else may create blocks
	if err != nil {
		return nil, err
	}
	return controller, b.await(ctx, "the API server admits blocks", func() error {
		return controller.Create(ctx, blockOf(0, nodeName(0)), client.DryRunAll)
	})
}

// gather adds watchers of IPBlock, each on a connection of its own, until there are as many as asked for.
func (b *bench) gather(ctx context.Context, crowd []*light, size int) ([]*light, error) {
	version := func() string {
		var list v1alpha1.BGPFilterList
		if err := b.Client.List(ctx, &list); err != nil {
			return ""
		}
		return list.ResourceVersion
	}
	first := len(crowd)
	crowd = append(crowd, make([]*light, size-first)...)
	err := each(ctx, first, size, workers, func(ctx context.Context, i int) error {
		config, err := b.agentConfig(ctx, i)
		if err != nil {
			return err
		}
		crowd[i], err = newLight(i, config, b.renewal)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, n := range crowd[first:] {
		n.workers.Go(func() { n.follow(ctx, groupPath+"ipblocks", plainJSON, version) })
		n.workers.Go(func() {
			n.follow(ctx, groupPath+"workloadendpoints?fieldSelector=spec.node%3D"+n.name, plainJSON, version)
		})
	}
	return crowd, b.await(ctx, "everybody watches", func() error {
		s, err := b.readServer(ctx)
		if err == nil && int(min(s.watchers["ipblocks"], s.watchers["workloadendpoints"])) < size {
			err = fmt.Errorf("%.0f of %d do", min(s.watchers["ipblocks"], s.watchers["workloadendpoints"]), size)
		}
		return err
	})
}

// createBlocks creates blocks, waits until the crowd has heard of them, and returns the API server's processor time in seconds
// and the number of events that came.
func (b *bench) createBlocks(ctx context.Context, controller client.Client, round, count int, crowd []*light) (spent, events float64, err error) {
	heard := func() float64 {
		total := 0.0
		for _, n := range crowd {
			total += n.read().events["ipblocks"]
		}
		return total
	}
	already := heard()
	before, err := b.readServer(ctx)
	if err != nil {
		return 0, 0, err
	}
	err = each(ctx, 0, count, 4, func(ctx context.Context, i int) error {
		block := blockOf(round*count+i, nodeName(i))
		if err := controller.Create(ctx, block); err != nil {
			return fmt.Errorf("create IPBlock %s: %w", block.Name, err)
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	events, err = b.listenUntilQuiet(ctx, float64(count*len(crowd)), func() float64 { return heard() - already })
	if err != nil {
		return 0, 0, err
	}
	after, err := b.readServer(ctx)
	return after.since(before).processor, events, err
}

// listenUntilQuiet waits until all events have come, or no more do: the API server ends a watch that can't follow, and what it
// has not heard until it listens again is lost to a light node.
func (b *bench) listenUntilQuiet(ctx context.Context, want float64, heard func() float64) (float64, error) {
	last, since := heard(), time.Now()
	for last < want && time.Since(since) < 5*time.Second {
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
		if now := heard(); now > last {
			last, since = now, time.Now()
		}
	}
	if last < 0.9*want {
		return 0, fmt.Errorf("only %.0f of %.0f events have come", last, want)
	}
	return last, nil
}

// blockOf returns a block of the pool for a node.
func blockOf(number int, node string) *v1alpha1.IPBlock {
	base := netip.MustParsePrefix(poolCIDR).Addr().As4()
	offset := number * 64
	base[1] += byte(offset >> 16)
	base[2], base[3] = byte(offset>>8), byte(offset)
	cidr := netip.PrefixFrom(netip.AddrFrom4(base), 26)
	return &v1alpha1.IPBlock{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.BlockName(cidr), Finalizers: []string{v1alpha1.FinalizerBlock}},
		Spec: v1alpha1.IPBlockSpec{CIDR: cidr.String(), Pool: poolName, Node: node,
			NodeAddresses: []string{nodeAddress(number % 60000).String()}},
	}
}

// bootList measures what the first look at all blocks costs, with which every agent starts.
func (b *bench) bootList(ctx context.Context, n *light) error {
	before, err := b.readServer(ctx)
	if err != nil {
		return err
	}
	var size int64
	for range bootLists {
		read, err := n.firstLook(ctx)
		if err != nil {
			return err
		}
		size = read
	}
	after, err := b.readServer(ctx)
	if err != nil {
		return err
	}
	blocks := float64((len(b.watchers) + 1) * bootBlocks)
	spent := after.since(before).processor / bootLists
	b.table.note("boot: an agent's first look at the blocks, for 1,000 of them", "%s of the API server's processor time, %.0f kB", seconds(spent/blocks*1000), float64(size)/blocks)
	return nil
}

// firstLook asks for all blocks as client-go does: by a watch that begins with what there is.
func (n *light) firstLook(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.host+groupPath+
		"ipblocks?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+n.token)
	request.Header.Set("Accept", plainJSON)
	answer, err := n.http.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask for all blocks: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("ask for all blocks: %s", answer.Status)
	}
	return readUntilBookmark(answer.Body)
}

// readUntilBookmark reads the events of what there is; a bookmark ends them.
func readUntilBookmark(stream io.Reader) (int64, error) {
	var size int64
	done := false
	f := &frames{tell: func(bookmark bool) { done = done || bookmark }}
	buffer := make([]byte, 32<<10)
	for !done {
		n, err := stream.Read(buffer)
		f.take(buffer[:n])
		size += int64(n)
		if err != nil {
			return size, fmt.Errorf("read all blocks: %w", err)
		}
	}
	return size, nil
}
