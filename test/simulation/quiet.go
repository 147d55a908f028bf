package simulation

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

const (
	// leakFree is how long after the last fault everything must be in order.
	leakFree = 60 * time.Second
	// leaseRunsOut is how much longer it takes where a Node has been deleted: its agent's lease must run out first.
	leaseRunsOut = 45 * time.Second
	// runtimeRetries is how long the container runtime may need to have its last calls answered.
	runtimeRetries = 90 * time.Second
	// statusLag is how long a pool's numbers may be behind: ten seconds by design, and Exhausted is kept for a minute after the
	// last pod that found nothing.
	statusLag = 15 * time.Second
	// poolFailure begins what is said about pools.
	poolFailure = "after quiet: pool "
)

// quiet ends all faults, lets the cluster come to rest, and looks for what is left over.
func (w *World) quiet() {
	w.note("quiet from here")
	last := w.leaders[1]
	w.leaders = w.leaders[:1] // the other one has noticed that it does not lead
	w.gate.kill(last.process)
	w.settle()
	for _, m := range w.machines {
		m.split, m.clock = false, 0
		if m.on && m.agent == nil {
			m.startAgent()
		}
		if m.on && w.absent[m.name] {
			w.createNode(m)
		}
	}
	for deadline := time.Now().Add(runtimeRetries); time.Now().Before(deadline) && len(w.failures) == 0 && w.retry(); {
		w.flow(time.Second)
	}
	rest := leakFree
	for _, m := range w.machines {
		if w.server.objects["Node"][nodeKey(m)] == nil {
			rest = leakFree + leaseRunsOut
		}
	}
	w.flow(rest)
	if len(w.failures) > 0 {
		return
	}
	w.verify()
	if !slices.ContainsFunc(w.failures, func(f string) bool { return !strings.HasPrefix(f, poolFailure) }) {
		w.failures = nil
		w.flow(statusLag)
		w.verify()
	}
	if len(w.failures) == 0 {
		w.comeBack()
	}
}

// retry is the container runtime, which calls DEL until it succeeds. It reports whether calls are still to be answered.
func (w *World) retry() bool {
	busy := false
	for _, m := range w.machines {
		for _, p := range slices.Clone(m.pods) {
			switch {
			case p.state == ending && m.on:
				m.deletePod(p)
				busy = true
			case p.state == deleted:
				m.finishPod(p)
			case p.state != running && m.on:
				busy = true
			}
		}
	}
	w.settle()
	return busy
}

// flow lets time pass without a fault: every call is answered and every watch is up to date.
func (w *World) flow(d time.Duration) {
	for deadline := time.Now().Add(d); ; {
		w.restart()
		calls := w.gate.waiting(func(c *call) bool { return !c.answered })
		backlog := w.backlog()
		for _, c := range calls {
			w.serve(c, true)
			w.check()
		}
		for _, f := range backlog {
			if f.behind() {
				w.deliver(f, 1<<20)
				w.check()
			}
		}
		if len(calls)+len(backlog) > 0 {
			continue
		}
		left := time.Until(deadline)
		if left <= 0 || len(w.failures) > 0 {
			return
		}
		w.sleep(min(left, 250*time.Millisecond))
	}
}

// verify says what must be true of a cluster at rest.
func (w *World) verify() {
	w.verifyPods()
	w.verifyBlocks()
	w.verifyNodes()
	w.verifySticky()
	for _, o := range w.server.list("IPPool") {
		w.verifyPool(o.(*v1alpha1.IPPool))
	}
}

// verifyPods says that pods, links, records and books say the same.
func (w *World) verifyPods() {
	records := map[holder]*v1alpha1.WorkloadEndpoint{}
	for _, o := range w.server.list("WorkloadEndpoint") {
		r := o.(*v1alpha1.WorkloadEndpoint)
		records[holder{r.Spec.Node, r.Spec.Interface}] = r
	}
	for _, m := range w.machines {
		left := maps.Clone(m.links)
		book := map[string]addressbook.Endpoint{}
		if m.agent != nil {
			for _, e := range m.agent.book.Endpoints() {
				book[e.Interface] = e
			}
		}
		for _, p := range m.pods {
			if !m.on {
				continue
			}
			key, own := p.hostEnd(), holder{m.name, p.hostEnd()}
			switch {
			case p.state != running:
				w.fail("after quiet: %s on %s is still %d", p.name, m.name, p.state)
			case records[own] == nil:
				w.fail("after quiet: %s on %s runs without a record", p.name, m.name)
			case !slices.Equal(texts(p.addresses), records[own].Spec.Addresses):
				w.fail("after quiet: the record of %s on %s has %v instead of %v", p.name, m.name, records[own].Spec.Addresses, p.addresses)
			case book[key].State != addressbook.Ready || !slices.Equal(book[key].Addresses, p.addresses):
				w.fail("after quiet: the book of %s has %+v for %s", m.name, book[key], p.name)
			case left[key] == nil || left[key].deleted || !left[key].complete:
				w.fail("after quiet: %s on %s runs without a link", p.name, m.name)
			}
			delete(left, key)
			delete(records, own)
			delete(book, key)
		}
		for key := range left {
			w.fail("after quiet: link %s of %s is left", key, m.name)
		}
		for key, e := range book {
			w.fail("after quiet: the book of %s still has %s (%v, %v since %v)", m.name, key, e.Addresses, e.State, since(e.Since))
		}
	}
	for _, r := range records {
		if m := w.machine(r.Spec.Node); m.on || w.server.objects["Node"][nodeKey(m)] == nil {
			w.fail("after quiet: record %s of %s is left", r.Name, r.Spec.Node)
		}
	}
}

func texts(addresses []netip.Addr) (out []string) {
	for _, a := range addresses {
		out = append(out, netip.PrefixFrom(a, a.BitLen()).String())
	}
	return out
}

func (w *World) machine(name string) *machine {
	i := slices.IndexFunc(w.machines, func(m *machine) bool { return m.name == name })
	return w.machines[i]
}

// verifyBlocks says that books, claims and blocks fit together, and that no block is left over.
func (w *World) verifyBlocks() {
	inUse := map[netip.Prefix]int{}
	blocks := w.blocks()
	for _, b := range blocks {
		inUse[b.cidr] = 0
		for _, m := range w.machines {
			for _, p := range m.podsIn(running) {
				if slices.ContainsFunc(p.addresses, func(a netip.Addr) bool { around, _ := blockOf(blocks, a); return around == b }) {
					inUse[b.cidr]++
				}
			}
		}
		m := w.machine(b.node)
		// A node that is off can't give back what it has borrowed of the block.
		away := slices.ContainsFunc(blocks, func(o blockInfo) bool { return o.lent && b.cidr.Contains(o.cidr.Addr()) && !w.machine(o.node).on })
		if b.terminating && inUse[b.cidr] == 0 && m.on && !away {
			w.fail("after quiet: block %s of %s was deleted, is empty, and is still there", b.cidr, b.node)
		}
		if w.server.objects["Node"][nodeKey(m)] == nil {
			w.fail("after quiet: block %s of %s is left, whose Node is gone", b.cidr, b.node)
		}
		if b.lent && inUse[b.cidr] == 0 && m.on {
			w.fail("after quiet: %s is lent to %s, which has no pod in it", b.cidr, b.node)
		}
	}
	for _, m := range w.machines {
		if m.agent == nil {
			continue
		}
		for _, b := range m.agent.book.Blocks() {
			_, there := inUse[b.CIDR]
			if _, forced := w.forced[b.CIDR]; forced && b.InUse > 0 {
				continue // its pool is being deleted, and admits no block any more
			}
			if !there || b.Released || !b.Present || b.InUse != inUse[b.CIDR] {
				w.fail("after quiet: the book of %s has block %+v; the API has it: %v, with %d addresses in use", m.name, b, there, inUse[b.CIDR])
			}
		}
		if w.server.objects["BlockClaim"][nodeKey(m)] == nil && len(w.server.objects["IPPool"]) > 0 {
			w.fail("after quiet: %s has no BlockClaim", m.name)
		}
	}
}

// verifyNodes says that each Node, and nothing else, has a NodeNetwork that says whether its agent is there.
func (w *World) verifyNodes() {
	for _, m := range w.machines {
		node := w.server.objects["Node"][nodeKey(m)]
		for _, kind := range []string{"NodeNetwork", "BlockClaim"} {
			if o := w.server.objects[kind][nodeKey(m)]; o != nil && node == nil {
				w.fail("after quiet: %s %s is left, whose Node is gone", kind, m.name)
			}
		}
		if node == nil {
			continue
		}
		o := w.server.objects["NodeNetwork"][nodeKey(m)]
		if o == nil {
			w.fail("after quiet: Node %s has no NodeNetwork", m.name)
			continue
		}
		ready := meta.FindStatusCondition(o.(*v1alpha1.NodeNetwork).Status.Conditions, v1alpha1.ConditionReady)
		if m.on && (ready == nil || ready.Status != metav1.ConditionTrue) {
			w.fail("after quiet: NodeNetwork %s says Ready %+v, but its agent works", m.name, ready)
		}
		if !m.on && w.offFor(m) > leakFree && ready != nil && ready.Status == metav1.ConditionTrue {
			w.fail("after quiet: NodeNetwork %s says Ready, but the machine is off", m.name)
		}
	}
}

func (w *World) offFor(m *machine) time.Duration { return time.Since(m.offSince) }

// verifyPool says that a pool's numbers and conditions are true.
func (w *World) verifyPool(p *v1alpha1.IPPool) {
	own := netip.MustParsePrefix(p.Spec.CIDR)
	var allocated, blocks int64
	for _, o := range w.server.list("WorkloadEndpoint") {
		for _, pool := range o.(*v1alpha1.WorkloadEndpoint).Spec.Pools {
			if pool == p.Name {
				allocated++
			}
		}
	}
	for _, o := range w.server.list("IPBlock") {
		if o.(*v1alpha1.IPBlock).Spec.Pool == p.Name {
			blocks++
		}
	}
	older := false
	for _, o := range w.server.list("IPPool") {
		other := o.(*v1alpha1.IPPool)
		before := other.CreationTimestamp.Compare(p.CreationTimestamp.Time)
		first := before < 0 || before == 0 && other.Name < p.Name
		older = older || first && netip.MustParsePrefix(other.Spec.CIDR).Overlaps(own)
	}
	s := p.Status
	if s.Allocated != allocated || s.Blocks != blocks || s.ObservedGeneration != p.Generation {
		w.fail("after quiet: pool %s says %d addresses, %d blocks, generation %d; true are %d, %d, %d", p.Name, s.Allocated, s.Blocks, s.ObservedGeneration,
			allocated, blocks, p.Generation)
	}
	deleted := p.DeletionTimestamp != nil
	if deleted && blocks == 0 && allocated == 0 {
		w.fail("after quiet: pool %s was deleted, is empty, and is still there", p.Name)
	}
	full := blocks >= p.Spec.Blocks()
	want := map[string]bool{v1alpha1.ConditionOverlapping: older, v1alpha1.ConditionDisabled: p.Spec.Disabled, v1alpha1.ConditionTerminating: deleted,
		v1alpha1.ConditionDrained: (p.Spec.Disabled || deleted) && allocated == 0 && blocks == 0,
		v1alpha1.ConditionReady:   !deleted && !older}
	if len(w.those(func(m *machine) bool { return m.on })) == 0 {
		delete(want, v1alpha1.ConditionReady) // nobody can say
	}
	for kind, truth := range want {
		if got := meta.IsStatusConditionTrue(s.Conditions, kind); got != truth {
			w.fail("after quiet: pool %s says %s=%v (%s), which is not true", p.Name, kind, got, why(s.Conditions, kind))
		}
	}
	if meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionExhausted) && !full {
		w.fail("after quiet: pool %s says Exhausted with %d of %d blocks in use", p.Name, blocks, p.Spec.Blocks())
	}
}

func why(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return c.Reason + ": " + c.Message
	}
	return "it is missing"
}

// picture is the state of the world, for people who look at a failure.
func (w *World) picture() string {
	var out strings.Builder
	for _, kind := range []string{"Node", "IPPool", "IPBlock", "WorkloadEndpoint", "StickyAddress"} {
		for _, o := range w.server.list(kind) {
			_, _ = fmt.Fprintf(&out, "%s %s", kind, o.GetName())
			switch o := o.(type) {
			case *v1alpha1.IPBlock:
				_, _ = fmt.Fprintf(&out, " of %s, deleted %v", o.Spec.Node, o.DeletionTimestamp != nil)
			case *v1alpha1.WorkloadEndpoint:
				_, _ = fmt.Fprintf(&out, " on %s: %v", o.Spec.Node, o.Spec.Addresses)
			case *v1alpha1.StickyAddress:
				_, _ = fmt.Fprintf(&out, ": %v of %v", o.Spec.Addresses, o.Spec.Pools)
			case *v1alpha1.IPPool:
				_, _ = fmt.Fprintf(&out, " deleted %v, disabled %v", o.DeletionTimestamp != nil, o.Spec.Disabled)
			}
			_, _ = fmt.Fprintln(&out)
		}
	}
	for _, o := range w.server.list("BlockClaim") {
		_, _ = fmt.Fprintf(&out, "BlockClaim %s: %+v\n", o.GetName(), o.(*v1alpha1.BlockClaim).Spec.Pools)
	}
	for _, m := range w.machines {
		_, _ = fmt.Fprintf(&out, "%s: on %v, agent %v\n", m.name, m.on, m.agent != nil)
		if m.agent != nil {
			for _, e := range m.agent.book.Endpoints() {
				_, _ = fmt.Fprintf(&out, "  book %s %s %v %v\n", e.Interface, e.Pod, e.Addresses, e.State)
			}
			for _, b := range m.agent.book.Blocks() {
				_, _ = fmt.Fprintf(&out, "  book %+v\n", b)
			}
		}
		for _, name := range m.linkNames() {
			_, _ = fmt.Fprintf(&out, "  link %s %+v\n", name, *m.links[name])
		}
	}
	for _, c := range w.gate.waiting(func(c *call) bool { return !c.answered }) {
		_, _ = fmt.Fprintf(&out, "waits: %s\n", c.key)
	}
	return out.String()
}
