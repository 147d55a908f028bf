package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// idleTarget is how many requests a quiet node may make each second.
const idleTarget = 0.11

// partTraffic counts the requests and events of nodes at each of the sizes.
func (b *bench) partTraffic(ctx context.Context) error {
	for _, size := range b.nodes {
		one := &bench{options: b.options, table: b.table}
		_, err := one.traffic(ctx, size)
		one.close()
		if err != nil {
			return fmt.Errorf("%d nodes: %w", size, err)
		}
	}
	return nil
}

// traffic counts one cluster of nodes with the agent's code and light ones.
func (b *bench) traffic(ctx context.Context, nodes int) (*figures, error) {
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	if _, err := b.startController(); err != nil {
		return nil, err
	}
	f, err := b.newFleet(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := f.addNodes(0, nodes); err != nil {
		return nil, err
	}
	if err := f.addLights(nodes, b.light); err != nil {
		return nil, err
	}
	for _, n := range f.lights {
		n.listen(f.ctx, f.latest)
	}
	if _, err := f.claim(f.lights); err != nil {
		return nil, err
	}
	if err := f.report(f.lights); err != nil {
		return nil, err
	}
	if err := f.settled(nodes + b.light); err != nil {
		return nil, err
	}
	b.logf("%d nodes and %d light ones are ready after %s", nodes, b.light, time.Since(began).Round(time.Second))
	m := &figures{fleet: f, size: nodes + b.light, label: fmt.Sprintf("%d nodes, %d light", nodes, b.light)}
	m.start()
	for _, step := range []func(context.Context) error{m.measureIdle, m.measurePods, m.measureBlock, m.measureJoin, m.measureMode} {
		if err := step(ctx); err != nil {
			return m, err
		}
	}
	return m, nil
}

// settled waits until every node has a block and the pool is ready on all of them.
func (f *fleet) settled(size int) error {
	return f.b.await(f.ctx, "the pool is ready on every node", func() error {
		for _, n := range f.nodes {
			if n.blocks() == 0 {
				return fmt.Errorf("node %s has no block", n.name)
			}
		}
		pool, err := f.b.pool(f.ctx)
		if err != nil {
			return err
		}
		s := pool.Status
		if s.ObservedGeneration != pool.Generation || s.Encapsulation != pool.Spec.Encapsulation || int(s.NodesReady) != size || int(s.NodesTotal) != size {
			return fmt.Errorf("it is ready on %d of %d nodes, of %d that there are, for generation %d of %d", s.NodesReady, s.NodesTotal, size, s.ObservedGeneration, pool.Generation)
		}
		return f.failure()
	})
}

// figures are what a cluster of nodes was heard to do.
type figures struct {
	*fleet
	size  int
	label string

	// idle is requests a second of one node: on average, and of the one that made most.
	idle, idleMost, idleEvents float64
	// idleRenewals is the largest number of times that a quiet node renewed its lease, idleOthers all other requests of all nodes.
	idleRenewals, idleOthers float64
	// pods were started one by one; their events are those at all other nodes, without the pool's counters.
	podWrites, podEvents float64
	podCounters          float64
	// blockEvents is events at each node for one new block, blockWrites the writes of the other nodes.
	blockEvents, blockWrites float64
	// joinEvents is events at each node for one node that joins, joinWrites the writes of the other nodes.
	joinEvents, joinWrites float64
	// modeEvents and modeWrites are of each node for one change of the encapsulation: events, and writes of its report.
	modeEvents, modeWrites float64
	// disagreement is by how much the API server's own count of events differs from what came over the wire.
	disagreement float64
}

// start tells how large the nodes are.
func (m *figures) start() {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.b.table.note(m.label+": the harness's heap", "%s, %s for each node with the agent's code", mib(float64(stats.HeapAlloc)),
		mib(float64(stats.HeapAlloc)/float64(max(len(m.nodes), 1))))
}

// everyone returns what each node has heard, by its name.
func (m *figures) everyone() map[string]heard {
	out := make(map[string]heard, len(m.nodes)+len(m.lights))
	for _, n := range m.nodes {
		out[n.name] = n.read()
	}
	for _, n := range m.lights {
		out[n.name] = n.read()
	}
	return out
}

// window is what happened between two readings.
type window struct {
	each   map[string]heard
	sum    heard
	server server
	took   time.Duration
}

// others adds up what all nodes but one heard.
func (w window) others(but string) heard {
	out := newHeard()
	for name, h := range w.each {
		if name != but {
			out.add(h)
		}
	}
	return out
}

// during measures while something is done, until nodes are quiet.
func (m *figures) during(ctx context.Context, quiet time.Duration, do func() error) (window, error) {
	before, first := m.everyone(), time.Now()
	server, err := m.b.readServer(ctx)
	if err != nil {
		return window{}, err
	}
	if err := do(); err != nil {
		return window{}, err
	}
	if err := m.quiet(ctx, quiet); err != nil {
		return window{}, err
	}
	w := window{each: map[string]heard{}, sum: newHeard(), took: time.Since(first)}
	for name, h := range m.everyone() {
		h = h.since(before[name])
		w.each[name] = h
		w.sum.add(h)
	}
	after, err := m.b.readServer(ctx)
	w.server = after.since(server)
	return w, err
}

// quiet waits until no node has written or heard anything for some time, leases and bookmarks aside.
func (m *figures) quiet(ctx context.Context, d time.Duration) error {
	busy := func() float64 {
		total := 0.0
		for _, h := range m.everyone() {
			total += h.requests.sum(isNoLease) + h.events.sum(every)
		}
		return total
	}
	last, since, limit := busy(), time.Now(), time.Now().Add(patience)
	for time.Since(since) < d {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		if now := busy(); now != last {
			last, since = now, time.Now()
		}
		if time.Now().After(limit) {
			return fmt.Errorf("the nodes do not come to rest within %s", patience)
		}
	}
	return nil
}

func isNoLease(key string) bool { return !strings.HasSuffix(key, " leases") }

// settle is how long counters may wait before they are written.
const settle = 11 * time.Second

// measureIdle listens to a quiet cluster.
func (m *figures) measureIdle(ctx context.Context) error {
	if err := m.quiet(ctx, settle); err != nil {
		return err
	}
	w, err := m.during(ctx, 0, func() error { return pause(ctx, m.b.idle) })
	if err != nil {
		return err
	}
	seconds := w.took.Seconds()
	m.idle = w.sum.requests.sum(every) / float64(m.size) / seconds
	for _, h := range w.each {
		m.idleMost = max(m.idleMost, h.requests.sum(every)/seconds)
		m.idleRenewals = max(m.idleRenewals, h.requests["PUT leases"])
		m.idleOthers += h.requests.sum(every) - h.requests["PUT leases"]
	}
	m.idleEvents = w.sum.events.sum(every) / float64(m.size) / seconds
	t := m.b.table
	t.judge(m.idle <= idleTarget, m.label+": idle, requests of a node each second", fmt.Sprintf("<= %.2f", idleTarget), "%.3f (most %.3f): %s", m.idle, m.idleMost,
		w.sum.requests.over(float64(m.size)*seconds))
	t.note(m.label+": idle, events at a node each second", "%.4f, and %.3f bookmarks", m.idleEvents,
		w.sum.bookmarks/float64(m.size)/seconds)
	t.note(m.label+": idle, the API server", "%.2f cores, %s; PUT leases %.1f/s at the server, %.1f/s by the nodes", w.server.processor/seconds,
		mib(w.server.memory), w.server.requests["PUT leases"]/seconds, w.sum.requests["PUT leases"]/seconds)
	return nil
}

// podsEach is how many pods each node with the agent's code starts: few enough for the reserve.
const podsEach = 5

// measurePods starts pods one by one on all nodes with the agent's code.
func (m *figures) measurePods(ctx context.Context) error {
	var took []time.Duration
	w, err := m.during(ctx, min(2*time.Second, m.b.rest), func() error {
		for number := range podsEach {
			for _, n := range m.nodes {
				began := time.Now()
				if err := n.startPod(ctx, number); err != nil {
					return err
				}
				took = append(took, time.Since(began))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	pods := float64(podsEach * len(m.nodes))
	own := w.sum.events["workloadendpoints"]
	m.podWrites = w.sum.requests["POST workloadendpoints"] / pods
	m.podCounters = w.sum.events["ippools"] / float64(m.size)
	m.podEvents = (w.sum.events.sum(every) - own - w.sum.events["ippools"]) / pods
	others := max(own-pods, 0)/pods + m.podEvents
	t := m.b.table
	t.judge(m.podWrites == 1, m.label+": a pod's start, writes of its record", "1", "%.2f; the API server counts %.2f", m.podWrites,
		w.server.requests["POST workloadendpoints"]/pods)
	t.judge(others == 0, m.label+": a pod's start, events at other nodes", "0", "%.2f; at its own node %.2f", others, min(own, pods)/pods)
	t.note(m.label+": the pool's counters meanwhile", "%.1f events at each node in %.1f s, for %.0f pods", m.podCounters, w.took.Seconds(), pods)
	t.note(m.label+": all writes of the nodes, for each pod", "%s", writes(w.sum.requests).over(pods))
	t.note(m.label+": a pod's record is written after", "p50 %s, p99 %s", milliseconds(percentile(took, 0.5)), milliseconds(percentile(took, 0.99)))
	t.note(m.label+": API server, for each pod", "%s of processor time", milliseconds(time.Duration(w.server.processor/pods*float64(time.Second))))
	return nil
}

// writes keeps the requests that change something, leases aside.
func writes(c counts) counts {
	out := counts{}
	for key, n := range c {
		if isWrite(key) && isNoLease(key) {
			out[key] = n
		}
	}
	return out
}

// measureBlock starts pods on one node until it needs a second block.
func (m *figures) measureBlock(ctx context.Context) error {
	if err := m.quiet(ctx, m.b.rest); err != nil { // counters of the pods before
		return err
	}
	n, before := m.nodes[0], 1
	w, err := m.during(ctx, min(2*time.Second, m.b.rest), func() error {
		for number := podsEach; n.blocks() == before; number++ {
			if err := n.startPod(ctx, number); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	others := w.others(n.name)
	count := float64(m.size - 1)
	blocks := float64(n.blocks() - before)
	m.blockEvents = others.events["ipblocks"] / count / blocks
	m.blockWrites = others.requests.sum(func(key string) bool { return isWrite(key) && isNoLease(key) })
	t := m.b.table
	// The controller and the harness itself listen too.
	sent := w.server.events["ipblocks"] - 2*blocks
	m.disagreement = math.Abs(sent-w.sum.events["ipblocks"]) / w.sum.events["ipblocks"]
	t.judge(m.blockEvents == 1, m.label+": a new block, its events at each other node", "1", "%.2f; the API server counts %.2f", m.blockEvents,
		sent/blocks/float64(m.size))
	t.judge(m.blockWrites == 0, m.label+": a new block, writes of all other nodes", "0", "%s", writes(others.requests).over(blocks))
	rest := counts{}
	rest.add(others.events)
	delete(rest, "ipblocks")
	t.note(m.label+": other events at each other node meanwhile", "%s (for %d pods)", rest.over(count), len(n.book.Endpoints())-podsEach)
	t.note(m.label+": a new block, writes of its own node", "%s", writes(w.each[n.name].requests).over(blocks))
	return nil
}

// measureJoin lets one more node join.
func (m *figures) measureJoin(ctx context.Context) error {
	if err := m.quiet(ctx, m.b.rest); err != nil {
		return err
	}
	others := float64(m.size)
	w, err := m.during(ctx, min(2*time.Second, m.b.rest), func() error {
		m.size++
		if err := m.addNodes(m.size-1, 1); err != nil {
			return err
		}
		return m.settled(m.size)
	})
	if err != nil {
		return err
	}
	newcomer := m.nodes[len(m.nodes)-1].name
	rest := w.others(newcomer)
	pools := rest.events["ippools"] / others
	m.joinEvents = rest.events.sum(every)/others - pools
	m.joinWrites = rest.requests.sum(func(key string) bool { return isWrite(key) && isNoLease(key) })
	t := m.b.table
	t.note(m.label+": a node joins, events at each other node", "%s", rest.events.over(others))
	t.judge(m.joinWrites == 0, m.label+": a node joins, writes of all other nodes", "0", "%s", writes(rest.requests).over(1))
	t.note(m.label+": a node joins, its own requests", "%s", w.each[newcomer].requests.over(1))
	return nil
}

// measureMode changes what the pool's packets are sent with.
func (m *figures) measureMode(ctx context.Context) error {
	if err := m.quiet(ctx, m.b.rest); err != nil {
		return err
	}
	began := time.Now()
	var took time.Duration
	w, err := m.during(ctx, min(2*time.Second, m.b.rest), func() error {
		pool, err := m.b.pool(ctx)
		if err != nil {
			return err
		}
		before := pool.DeepCopy()
		pool.Spec.Encapsulation = v1alpha1.EncapsulationIPIP
		if err := m.b.Client.Patch(ctx, pool, client.MergeFrom(before)); err != nil {
			return fmt.Errorf("change the pool's encapsulation: %w", err)
		}
		err = m.settled(m.size)
		took = time.Since(began)
		return err
	})
	if err != nil {
		return err
	}
	size := float64(m.size)
	m.modeWrites = w.sum.requests["PATCH blockclaims/status"] / size // what is held and wanted may come late from before
	m.modeEvents = w.sum.events.sum(every) / size
	t := m.b.table
	t.note(m.label+": a mode change, writes of each node", "%s", writes(w.sum.requests).over(size))
	t.note(m.label+": a mode change, events at each node", "%s", w.sum.events.over(size))
	t.note(m.label+": a mode change takes", "%s, and %.1f s of the API server's processor time", took.Round(time.Millisecond), w.server.processor)
	return nil
}
