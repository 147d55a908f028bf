package simulation

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/controllers"
)

const (
	namespace = "default"
	// lateAfter is how long after its caller has given up a request may still take effect.
	lateAfter = 5 * time.Second
)

// World is all there is. It must run in a synctest bubble: the clock stands still unless the scheduler sleeps.
type World struct {
	seed   uint64
	dir    string
	log    logr.Logger
	scheme *runtime.Scheme
	bugs   Bug

	server   *server
	gate     gate
	feeds    []*feeds
	machines []*machine
	leaders  []*leader

	pods     int
	late     map[types.UID]time.Time   // records that came after their writer had given up
	outlives map[types.UID]bool        // records of dead pods that their agent did not know
	forced   map[netip.Prefix]struct{} // blocks whose finalizer a person took
	absent   map[string]bool           // machines that run without their Node
	failures []string
	trace    func(string)
	digest   uint64
	// operations counts what has happened: calls that took effect, changes that were shown, and what else the scheduler did.
	operations int
}

// newWorld makes a cluster of three nodes, two controllers and no pool.
func newWorld(seed uint64, dir string, bug Bug, log logr.Logger, trace func(string)) *World {
	scheme, err := controllers.Scheme()
	if err != nil {
		panic(err)
	}
	w := &World{seed: seed, dir: dir, log: log, scheme: scheme, bugs: bug, server: newServer(), trace: trace,
		late: map[types.UID]time.Time{}, outlives: map[types.UID]bool{}, forced: map[netip.Prefix]struct{}{}, absent: map[string]bool{}}
	w.must(w.server.create(&metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: namespace}}, false))
	for i := range 3 {
		m := &machine{w: w, name: fmt.Sprint("node", i+1), links: map[string]*link{}}
		m.dir = filepath.Join(dir, m.name)
		if err := os.MkdirAll(m.dir, 0o700); err != nil {
			panic(err)
		}
		w.machines = append(w.machines, m)
		w.createNode(m)
		m.boot()
	}
	for _, name := range []string{"leader1", "leader2"} {
		w.leaders = append(w.leaders, w.startLeader(name))
	}
	w.settle()
	return w
}

func (w *World) must(_ client.Object, err error) {
	if err != nil {
		panic(err)
	}
}

func (m *machine) address() string { return "192.168.0." + m.name[len("node"):] }

func (w *World) createNode(m *machine) {
	_, _ = w.server.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: m.name}, Status: corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: m.address()}}}}, false)
	delete(w.absent, m.name)
}

// boot turns a machine on.
func (m *machine) boot() {
	m.boots++
	m.on = true
	m.startAgent()
}

// turnOff takes the power. Links, namespaces and files are gone, and so are the pods.
func (m *machine) turnOff(remembers bool) {
	m.crashAgent()
	m.on, m.links, m.offSince = false, map[string]*link{}, time.Now()
	m.boots++
	_ = os.Remove(m.checkpointPath())
	for _, p := range slices.Clone(m.pods) {
		_ = os.Remove(m.namespace(p.container))
		if p.state != deleted {
			p.state = ending
		}
		if !remembers { // a runtime that has lost its own notes calls no DEL
			m.forgetPod(p)
		}
	}
}

// settle lets everything run until it waits for the scheduler or for the clock. Reads of caches happen at once.
func (w *World) settle() {
	for {
		synctest.Wait()
		free := w.gate.waiting(func(c *call) bool { return c.free && !c.answered })
		if len(free) == 0 {
			return
		}
		w.gate.answer(free[0], free[0].effect())
	}
}

// sleep lets time pass.
func (w *World) sleep(d time.Duration) {
	for deadline := time.Now().Add(d); ; {
		free := w.gate.waiting(func(c *call) bool { return c.free && !c.answered })
		if len(free) > 0 {
			w.settle()
			continue
		}
		left := time.Until(deadline)
		if left <= 0 {
			break
		}
		time.Sleep(min(left, max(left/4, 50*time.Millisecond)))
	}
	w.settle()
}

// pick chooses one of several options by a number, so that the choice changes little when other options come or go.
func pick[T any](options []T, number uint64, key func(T) string) (T, bool) {
	var best T
	var most uint64
	found := false
	for _, o := range options {
		h := fnv.New64a()
		_, _ = h.Write([]byte(key(o)))
		if score := mix(h.Sum64() ^ number); !found || score > most {
			best, most, found = o, score, true
		}
	}
	return best, found
}

func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// note adds a line to the trace and to its digest, by which two runs are compared.
func (w *World) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.operations++
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, w.digest, text)
	w.digest = h.Sum64()
	if w.trace != nil {
		w.trace(time.Now().Format("15:04:05.000 ") + text)
	}
}

func (w *World) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(w.failures, text) {
		w.failures = append(w.failures, text)
	}
}

// serve has a call take effect, and perhaps its caller know.
func (w *World) serve(c *call, answer bool) {
	if !c.applied {
		c.applied, c.err = true, nil
		err := c.effect()
		w.note("%s: %v", c.key, err)
		c.err = err
	}
	if answer {
		w.gate.answer(c, c.err)
	}
	w.settle()
}

func callKey(c *call) string { return c.key }

// stuck reports whether the network keeps a call from the API server.
func (c *call) stuck() bool { return c.remote && c.of.on != nil && c.of.on.split }

// watcher is what shows a process the changes of one kind.
type watcher interface {
	key() string
	// behind reports whether there is something to show.
	behind() bool
	// advance shows some changes; none to break the watch, so that the process lists anew.
	advance(changes int)
}

func watcherKey(f watcher) string { return f.key() }

// backlog returns the watches that can show something.
func (w *World) backlog() (out []watcher) {
	w.feeds = slices.DeleteFunc(w.feeds, func(c *feeds) bool { return c.p.dead })
	for _, c := range w.feeds {
		if c.p.on != nil && c.p.on.split {
			continue
		}
		for _, f := range c.byKind {
			if f.behind() {
				out = append(out, f)
			}
		}
		c.raw = slices.DeleteFunc(c.raw, func(s *stream) bool { return s.stopped })
		for _, s := range c.raw {
			if s.behind() {
				out = append(out, s)
			}
		}
	}
	slices.SortFunc(out, func(a, b watcher) int { return cmp.Compare(a.key(), b.key()) })
	return out
}

// deliver shows a process some changes.
func (w *World) deliver(f watcher, changes int) {
	f.advance(changes)
	w.note("%s", f.key())
	w.settle()
}

// keepLeases serves the leases of agents that run without their Node: what the controller does with their blocks rests on them.
func (w *World) keepLeases() {
	for _, c := range w.gate.waiting(func(c *call) bool { return !c.answered && c.of.on != nil && w.absent[c.of.on.name] }) {
		if kindInKey(c.key, "Lease") {
			w.serve(c, true)
		}
	}
}
