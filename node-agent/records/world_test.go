package records_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/internal/failpoint"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/wish"
	"github.com/causeway-net/causeway/node-agent/cniserver"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
	"github.com/causeway-net/causeway/node-agent/records"
)

const node = "node1"

var (
	poolOfTests  = addressbook.Pool{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/16"), Usable: true, BlockCapacity: 3}
	blockOfTests = addressbook.Block{CIDR: netip.MustParsePrefix("10.0.0.0/30"), Pool: "p"} // three pods' addresses
)

// world is what outlives an agent: the API server with its records, and the node with its links and namespaces.
type world struct {
	t   *testing.T
	dir string // of network namespaces

	mu      sync.Mutex
	records map[string]*v1alpha1.WorkloadEndpoint // by namespace/name
	links   map[string]*veth.Found
	serial  int
	deleted map[string]bool // pods that are deleted
	stuck   bool            // no link can be made
	away    bool            // the API server does not answer
	refuse  error           // it refuses to create records
	latency time.Duration   // before a create is done; the client's time may be over then
	writes  int
	landed  map[string]bool // pods that have ever had a record
	wrong   []string        // what must never be

	agent *agent // that runs now
	args  string // more of CNI_ARGS
	die   string // the step at which it is killed
}

// agent is one life of the part of an agent that this is about.
type agent struct {
	w       *world
	dead    bool // killed: nothing that it still does has an effect
	book    *addressbook.Book
	server  *cniserver.Server
	queue   *records.Queue
	keeper  *records.Keeper
	refused []records.Refusal
	stop    context.CancelFunc
	ended   sync.WaitGroup
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), records: map[string]*v1alpha1.WorkloadEndpoint{}, links: map[string]*veth.Found{}, landed: map[string]bool{}}
	t.Cleanup(failpoint.Set(func(step string) {
		w.mu.Lock()
		if step == w.die {
			w.agent.dead, w.die = true, ""
		}
		dead := w.agent == nil || w.agent.dead
		w.mu.Unlock()
		if dead {
			runtime.Goexit()
		}
	}))
	return w
}

// namespace makes the network namespace of a container; remove takes it away with the link's other end, as the kernel does.
func (w *world) namespace(id string) string {
	path := filepath.Join(w.dir, id)
	if err := os.Symlink("/proc/self/ns/net", path); err != nil && !errors.Is(err, os.ErrExist) {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) remove(id string) {
	path := filepath.Join(w.dir, id)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.links, func(_ string, l *veth.Found) bool { return l.Alias.NetworkNamespace == path })
}

// start starts an agent. Where the API server answers it learns all at once; else it has what was saved, and links.
func (w *world) start(saved []addressbook.Endpoint) {
	w.t.Helper()
	a := &agent{w: w}
	a.book = addressbook.New(addressbook.Options{Now: time.Now, Reserve: 1, Linger: time.Hour, DemandChanged: func() {}})
	a.queue = records.NewQueue(records.QueueOptions{
		API: a, Node: node, Log: logr.Discard(), Gone: func(name string) { a.server.RecordGone(name) }, Pended: func(records.Pending) {},
		Refused: func(r []records.Refusal) { w.mu.Lock(); defer w.mu.Unlock(); a.refused = r },
	})
	a.server = cniserver.New(cniserver.Options{
		Node: node, Book: a.book, Records: a.queue, Wiring: a, Pools: a, Health: a, Log: logr.Discard(), Observe: func(string, uint, time.Duration) {},
	})
	a.keeper = records.NewKeeper(records.Options{
		Node: node, API: a, Stored: a.stored, Book: a.book, Links: linkLister{a}, Pods: a.server, Every: time.Minute, Log: logr.Discard(), Pending: a.queue.Pending,
		Past: func(context.Context) (records.Past, error) {
			return records.Past{Held: []addressbook.Block{blockOfTests}}, w.answer()
		},
		PoolsOf: func(e addressbook.Endpoint) []string { return slices.Repeat([]string{"p"}, len(e.Addresses)) },
		PodGone: func(_ context.Context, e addressbook.Endpoint) (bool, error) { return w.deleted[e.Pod], w.answer() },
		Report:  func(r *v1alpha1.WorkloadEndpoint, err error) { w.note("%s is not believed: %v", r.Name, err) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	w.mu.Lock()
	w.agent = a
	away := w.away
	w.mu.Unlock()
	a.ended.Go(func() { a.queue.Run(ctx) })
	a.ended.Go(func() { a.server.Run(ctx) })
	if away {
		if err := a.keeper.Remember(saved, records.Past{Held: []addressbook.Block{blockOfTests}}); err != nil {
			w.t.Fatal(err)
		}
		a.ended.Go(func() {
			if a.keeper.Recall(ctx) == nil {
				a.list()
			}
		})
	} else {
		if err := a.keeper.Recall(ctx); err != nil {
			w.t.Fatal(err)
		}
		a.list()
	}
	a.book.SetPools([]addressbook.Pool{poolOfTests})
	a.book.SetBlocks([]addressbook.Block{blockOfTests})
	a.server.SetSynced()
	a.ended.Go(func() { a.keeper.Run(ctx) })
}

// kill ends the agent as SIGKILL does, if no step has, and returns what its checkpoint has at that time.
func (w *world) kill() []addressbook.Endpoint {
	saved := w.agent.book.Endpoints()
	w.mu.Lock()
	w.agent.dead = true
	w.mu.Unlock()
	w.agent.stop()
	w.agent.ended.Wait()
	return saved
}

// call makes a call of the runtime. It reports false where there was no answer: the agent was killed.
func (w *world) call(verb, id string) (response protocol.Response, answered bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := w.agent.server.Handle(context.Background(), request(verb, id, filepath.Join(w.dir, id), w.args))
		w.mu.Lock()
		defer w.mu.Unlock()
		response, answered = r, !w.agent.dead
	}()
	<-done
	return response, answered
}

func (w *world) must(verb, id string) protocol.Response {
	w.t.Helper()
	if verb == "ADD" {
		w.namespace(id)
	}
	r, answered := w.call(verb, id)
	if !answered || r.Error != nil {
		w.t.Fatalf("%s of %s: answered %v, %+v", verb, id, answered, r.Error)
	}
	return r
}

func request(verb, id, path, args string) protocol.Request {
	return protocol.Request{
		Command: verb, ContainerID: id, NetworkNamespace: path, Interface: "eth0",
		Args:   "K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-" + id + args,
		Config: json.RawMessage(`{"cniVersion":"1.1.0","name":"causeway","type":"causeway"}`),
	}
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// answer is the error of an API server that does not answer.
func (w *world) answer() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return errors.New("connection refused")
	}
	return nil
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// settled says what is there once all is done: pods with a whole link, a record and an entry in the book.
func (w *world) settled() (pods []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.agent.book.Endpoints() {
		l := w.links[e.Interface]
		r := w.records[e.Namespace+"/"+records.Name(e)]
		switch {
		case e.State != addressbook.Ready:
			w.wrong = append(w.wrong, fmt.Sprintf("%s is %s in the book", e.Pod, e.State))
		case l == nil || !l.Complete || l.Deleted:
			w.wrong = append(w.wrong, fmt.Sprintf("%s has no whole link: %+v", e.Pod, l))
		case r == nil || len(r.Spec.Addresses) != 1 || r.Spec.Addresses[0] != e.Addresses[0].String()+"/32":
			w.wrong = append(w.wrong, fmt.Sprintf("%s has no record of %v: %+v", e.Pod, e.Addresses, r))
		}
		pods = append(pods, e.ContainerID)
	}
	if len(w.links) != len(pods) || len(w.records) != len(pods) {
		w.wrong = append(w.wrong, fmt.Sprintf("%d endpoints, %d links, %d records", len(pods), len(w.links), len(w.records)))
	}
	slices.Sort(pods)
	return pods
}

// check fails where something was wrong on the way, or other pods than these are there.
func (w *world) check(what string, want ...string) {
	w.t.Helper()
	got := w.settled()
	if len(w.wrong) > 0 || !slices.Equal(got, want) {
		w.t.Errorf("%s: pods %v, want %v\n%s", what, got, want, strings.Join(w.wrong, "\n"))
	}
}

// alone notes where two interfaces have one address. w.mu is held.
func (w *world) alone(address, name string) {
	for _, r := range w.records {
		if r.Spec.Interface != name && slices.Contains(r.Spec.Addresses, address+"/32") {
			w.wrong = append(w.wrong, fmt.Sprintf("%s was given %s, which the record %s has", name, address, r.Name))
		}
	}
	for other, l := range w.links {
		if other != name && slices.Contains(l.Addresses, netip.MustParseAddr(address)) {
			w.wrong = append(w.wrong, fmt.Sprintf("%s was given %s, which the link %s has", name, address, other))
		}
	}
}

// live lets the effects of a dead agent be none: its goroutine ends.
func (a *agent) live() {
	a.w.mu.Lock()
	dead := a.dead
	a.w.mu.Unlock()
	if dead {
		runtime.Goexit()
	}
}

// list shows the agent's watch all records.
func (a *agent) list() {
	for _, r := range a.w.copies() {
		a.keeper.Seen(&r)
	}
}

func (w *world) copies() []v1alpha1.WorkloadEndpoint {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]v1alpha1.WorkloadEndpoint, 0, len(w.records))
	for _, key := range slices.Sorted(maps.Keys(w.records)) {
		out = append(out, *w.records[key].DeepCopy())
	}
	return out
}

func (a *agent) stored() ([]*v1alpha1.WorkloadEndpoint, error) {
	var out []*v1alpha1.WorkloadEndpoint
	for _, r := range a.w.copies() {
		out = append(out, &r)
	}
	return out, nil
}

// Create implements records.API.
func (a *agent) Create(ctx context.Context, record *v1alpha1.WorkloadEndpoint) error {
	a.live()
	if err := a.w.answer(); err != nil {
		return err
	}
	a.w.mu.Lock()
	latency, refuse := a.w.latency, a.w.refuse
	a.w.mu.Unlock()
	if refuse != nil {
		return refuse
	}
	result := make(chan error, 1)
	go func() {
		time.Sleep(latency)
		result <- a.w.create(record.DeepCopy())
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

var group = schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "workloadendpoints"}

func (w *world) create(record *v1alpha1.WorkloadEndpoint) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := record.Namespace + "/" + record.Name
	if w.records[key] != nil {
		return apierrors.NewAlreadyExists(group, record.Name)
	}
	w.serial++
	w.writes++
	record.UID, record.CreationTimestamp = types.UID(fmt.Sprint(w.serial)), metav1.Now()
	w.records[key], w.landed[record.Spec.Pod] = record, true
	keeper, seen := w.agent.keeper, record.DeepCopy()
	go keeper.Seen(seen)
	return nil
}

// Get implements records.API.
func (a *agent) Get(_ context.Context, namespace, name string) (*v1alpha1.WorkloadEndpoint, error) {
	a.live()
	if err := a.w.answer(); err != nil {
		return nil, err
	}
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if r := a.w.records[namespace+"/"+name]; r != nil {
		return r.DeepCopy(), nil
	}
	return nil, apierrors.NewNotFound(group, name)
}

// Delete implements records.API.
func (a *agent) Delete(_ context.Context, namespace, name string, uid types.UID) error {
	a.live()
	if err := a.w.answer(); err != nil {
		return err
	}
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	r := a.w.records[namespace+"/"+name]
	switch {
	case r == nil:
		return apierrors.NewNotFound(group, name)
	case uid != "" && r.UID != uid:
		return apierrors.NewConflict(group, name, errors.New("another one"))
	}
	delete(a.w.records, namespace+"/"+name)
	a.w.writes++
	go a.keeper.Lost(r)
	return nil
}

// List implements records.API.
func (a *agent) List(context.Context) ([]v1alpha1.WorkloadEndpoint, error) {
	a.live()
	return a.w.copies(), a.w.answer()
}

// Wire implements cniserver.Wiring.
func (a *agent) Wire(s veth.Spec) error {
	a.live()
	a.w.mu.Lock()
	stuck := a.w.stuck
	a.w.mu.Unlock()
	if stuck || veth.NamespaceGone(s.NetworkNamespace) {
		return veth.ErrNoNamespace
	}
	a.w.set(func() {
		a.w.alone(s.Addresses[0].String(), s.HostInterface)
		a.w.links[s.HostInterface] = &veth.Found{HostInterface: s.HostInterface, Alias: s.Alias}
	})
	failpoint.At("wire: link made")
	a.w.set(func() {
		l := a.w.links[s.HostInterface]
		l.Complete, l.Addresses = true, s.Addresses
	})
	return nil
}

// Check implements cniserver.Wiring.
func (a *agent) Check(veth.Spec) error { return nil }

// MarkDeleted implements cniserver.Wiring.
func (a *agent) MarkDeleted(name string) (bool, error) {
	a.live()
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	l := a.w.links[name]
	if l != nil {
		l.Deleted = true
	}
	return l != nil, nil
}

// Reap implements cniserver.Wiring.
func (a *agent) Reap(list []string) ([]string, error) {
	a.live()
	a.w.set(func() {
		for _, name := range list {
			delete(a.w.links, name)
		}
	})
	return list, nil
}

// Links implements records.Links.
func (a *agent) Links() ([]veth.Found, error) {
	a.live()
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	var out []veth.Found
	for _, name := range slices.Sorted(maps.Keys(a.w.links)) {
		out = append(out, *a.w.links[name])
	}
	return out, nil
}

// linkLister lists links. A type has one List, and the agent's is that of records.
type linkLister struct{ *agent }

// List implements records.Links.
func (l linkLister) List() ([]veth.Found, error) { return l.agent.Links() }

// Candidates implements cniserver.Pools.
func (a *agent) Fixed([]netip.Addr) (wish.Wish, error)              { return wish.Wish{}, nil }
func (a *agent) Candidates(string, []wish.Wish) ([][]string, error) { return [][]string{{"p"}}, nil }

// Remembered implements cniserver.Pools.
func (a *agent) Remembered(string, string, [][]string) []netip.Addr { return nil }

// MTU implements cniserver.Pools.
func (a *agent) MTU([]string) int { return 1450 }

// Fullness implements cniserver.Pools.
func (a *agent) Fullness(string) string { return "full" }

// Unavailable implements cniserver.Health.
func (a *agent) Unavailable() error { return nil }

// quota is how the API server refuses for good.
func quota() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: "exceeded quota"}}
}
