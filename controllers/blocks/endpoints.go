package blocks

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// endpoints watches WorkloadEndpoints and tells the state of them. Of 150,000 endpoints it keeps node, addresses and pools, some
// tens of megabytes; the objects themselves would take hundreds.
type endpoints struct {
	r      *Reconciler
	known  map[types.NamespacedName]blockplan.Endpoint // guarded by r.mu
	synced atomic.Bool
}

func newEndpoints(r *Reconciler) *endpoints {
	return &endpoints{r: r, known: map[types.NamespacedName]blockplan.Endpoint{}}
}

// NeedLeaderElection says that a controller that does not lead watches too.
func (e *endpoints) NeedLeaderElection() bool { return false }

// Start watches until the context ends.
func (e *endpoints) Start(ctx context.Context) error {
	source := &toolscache.ListWatch{ListWithContextFunc: e.list, WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		w, err := e.r.o.Endpoints.WatchEndpoints(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("watch WorkloadEndpoints: %w", err)
		}
		return w, nil
	}}
	toolscache.NewReflector(listFirst{source}, &v1alpha1.WorkloadEndpoint{}, e, 0).RunWithContext(ctx)
	return nil
}

// list returns all endpoints that are there, each made small as it comes in. What the reflector wishes is left aside: the list is never
// older than the question, and comes in one piece.
func (e *endpoints) list(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
	out := &smallList{}
	version, err := e.r.o.Endpoints.ListEndpoints(ctx, func(w *v1alpha1.WorkloadEndpoint) { out.Items = append(out.Items, smallOf(w)) })
	if err != nil {
		return nil, fmt.Errorf("list WorkloadEndpoints: %w", err)
	}
	out.ResourceVersion = version
	return out, nil
}

// listFirst has a reflector begin with a list, and not with a watch that tells what is there: that costs the API server and us several
// times as much, and no block is given to a node before all endpoints are read.
type listFirst struct{ *toolscache.ListWatch }

// IsWatchListSemanticsUnSupported is what a reflector asks.
func (listFirst) IsWatchListSemanticsUnSupported() bool { return true }

func (e *endpoints) hasSynced() bool { return e.synced.Load() }

// Add notes an endpoint, like Update. These methods are what a reflector calls.
func (e *endpoints) Add(o any) error { return e.Update(o) }

// Update notes an endpoint.
func (e *endpoints) Update(o any) error {
	e.r.mu.Lock()
	defer e.r.mu.Unlock()
	if s, ok := read(o); ok {
		e.set(s)
		e.r.wake(gather)
	}
	return nil
}

// Delete forgets an endpoint.
func (e *endpoints) Delete(o any) error {
	e.r.mu.Lock()
	defer e.r.mu.Unlock()
	if s, ok := read(o); ok {
		e.drop(s.name)
		e.r.wake(gather)
	}
	return nil
}

// Replace notes that these endpoints, and no others, are there.
func (e *endpoints) Replace(list []any, _ string) error {
	e.r.mu.Lock()
	defer e.r.mu.Unlock()
	there := make(map[types.NamespacedName]bool, len(list))
	for _, o := range list {
		if s, ok := read(o); ok {
			there[s.name] = true
			e.set(s)
		}
	}
	for name := range e.known {
		if !there[name] {
			e.drop(name)
		}
	}
	e.synced.Store(true)
	e.r.wake(now)
	return nil
}

// Resync is part of what a reflector asks for; there is nothing to do.
func (e *endpoints) Resync() error { return nil }

// Transformer makes objects small while they come in: before the first of them is used, all are read.
func (e *endpoints) Transformer() toolscache.TransformFunc {
	return func(o any) (any, error) {
		if s, ok := read(o); ok {
			return s, nil
		}
		return o, nil
	}
}

// small is what is kept of a WorkloadEndpoint.
type small struct {
	name types.NamespacedName
	// pod is the pod's name, where the record is of the interface that Kubernetes shows.
	pod string
	blockplan.Endpoint
}

// GetObjectMeta lets a store tell the name.
func (s *small) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: s.name.Namespace, Name: s.name.Name}
}

// GetObjectKind is part of runtime.Object.
func (s *small) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject is part of runtime.Object. Nobody changes a small one.
func (s *small) DeepCopyObject() runtime.Object { return s }

// smallList is a list of them for a reflector.
type smallList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []runtime.Object
}

// DeepCopyObject is part of runtime.Object.
func (l *smallList) DeepCopyObject() runtime.Object {
	next := *l
	next.Items = slices.Clone(l.Items)
	return &next
}

// read reads an object of the watch, whether it is small already or not.
func read(o any) (*small, bool) {
	switch o := o.(type) {
	case *small:
		return o, true
	case *v1alpha1.WorkloadEndpoint:
		return smallOf(o), true
	}
	return nil, false
}

// smallOf keeps the namespace's name once for all of its endpoints.
func smallOf(w *v1alpha1.WorkloadEndpoint) *small {
	s := &small{name: types.NamespacedName{Namespace: unique.Make(w.Namespace).Value(), Name: w.Name}, Endpoint: endpointOf(w)}
	if w.Spec.ContainerInterface == sticky.Interface {
		s.pod = w.Spec.Pod
	}
	return s
}

func (e *endpoints) set(s *small) {
	name, next := s.name, s.Endpoint
	have, known := e.known[name]
	if known && have == next {
		return
	}
	if known {
		e.drop(name)
	}
	e.known[name] = next
	e.r.state.AddEndpoint(next)
	e.r.o.Recorded(name, s.pod, next, true)
	e.told(next)
}

func (e *endpoints) drop(name types.NamespacedName) {
	have, known := e.known[name]
	if !known {
		return
	}
	delete(e.known, name)
	e.r.state.DropEndpoint(have)
	e.r.o.Recorded(name, "", have, false)
	e.told(have)
}

func (e *endpoints) told(one blockplan.Endpoint) {
	for _, pool := range one.Pools() {
		e.r.o.PoolChanged(pool)
	}
}

// holders names the records that have some addresses, in the order of the addresses. The caller holds r.mu.
func (e *endpoints) holders(addresses []netip.Addr) []string {
	if len(addresses) == 0 {
		return nil
	}
	records := make(map[netip.Addr]string, len(addresses))
	for name, one := range e.known {
		for _, a := range addresses {
			if one.Has(a) {
				records[a] = name.String()
			}
		}
	}
	out := make([]string, 0, len(addresses))
	for _, a := range addresses {
		out = append(out, fmt.Sprintf("%s (workloadendpoint %s)", a, records[a]))
	}
	return out
}

func endpointOf(w *v1alpha1.WorkloadEndpoint) blockplan.Endpoint {
	var addrs []netip.Addr
	var pools []string
	for i, text := range w.Spec.Addresses {
		p, err := netip.ParsePrefix(text)
		if err != nil || i >= len(w.Spec.Pools) {
			continue // The API server lets none in.
		}
		addrs, pools = append(addrs, p.Addr().Unmap()), append(pools, w.Spec.Pools[i])
	}
	return blockplan.NewEndpoint(w.Namespace, w.Spec.Node, addrs, pools)
}
