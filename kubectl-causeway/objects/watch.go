package objects

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

const (
	// quiet is how long changes are collected before the next look.
	quiet = 500 * time.Millisecond
	// again is how soon there is a look although nothing has changed: Leases run out, rights change, and the API server may be gone.
	again = 10 * time.Second
	// within is the limit of one look.
	within = 30 * time.Second
)

// Watch calls show with the cluster or with why it can't be read, and again soon after something has changed, until the context
// ends. Objects are listed once and then watched; Leases are listed each time, since all agents renew them all the time.
func (c *Connection) Watch(ctx context.Context, show func(*Cluster, error), kinds ...Kind) error {
	w, err := newWatcher(c)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		// A cache that has ended has no more to tell; the look then says what is wrong.
		_ = w.cache.Start(ctx)
	})
	for ctx.Err() == nil {
		limit, cancel := context.WithTimeout(ctx, within)
		found, err := w.look(limit, kinds)
		cancel()
		if ctx.Err() == nil {
			show(found, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		case <-w.bell:
			// The context's end is seen above.
			_ = Sleep(ctx, quiet)
		}
	}
	return nil
}

// watcher keeps the kinds in memory that may be listed.
type watcher struct {
	c     *Connection
	cache cache.Cache
	bell  chan struct{}
	kept  []Kind
}

func newWatcher(c *Connection) (*watcher, error) {
	// The cache gets copies of what it changes in the configuration.
	config := rest.CopyConfig(c.Config)
	hc, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	system := cache.ByObject{Namespaces: map[string]cache.Config{v1alpha1.SystemNamespace: {}}}
	kept, err := cache.New(config, cache.Options{HTTPClient: hc, Scheme: c.Scheme(), Mapper: c.RESTMapper(), DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{&corev1.Pod{}: system}})
	if err != nil {
		return nil, fmt.Errorf("prepare to watch the cluster: %w", err)
	}
	return &watcher{c: c, cache: kept, bell: make(chan struct{}, 1)}, nil
}

// look finds out what may be listed, keeps that in memory, and returns it.
func (w *watcher) look(ctx context.Context, kinds []Kind) (*Cluster, error) {
	server, err := w.c.Version()
	if err != nil {
		return nil, err
	}
	may, err := Look(ctx, first{w.c.Client}, kinds...)
	if err != nil {
		return nil, err
	}
	var readable []Kind
	for _, kind := range kinds {
		if may.Read(kind) {
			readable = append(readable, kind)
		}
	}
	if err := w.keep(ctx, kinds, readable); err != nil {
		return nil, err
	}
	out, err := Look(ctx, mixed{w.cache, w.c.Client}, readable...)
	if err != nil {
		return nil, err
	}
	out.Unread, out.Server, out.Now = may.Unread, server, w.c.Now()
	return out, nil
}

// keep starts and stops to watch kinds.
func (w *watcher) keep(ctx context.Context, kinds, readable []Kind) error {
	for _, kind := range kinds {
		o, err := sample(w.c, kind)
		if err != nil {
			return err
		}
		wanted, kept := slices.Contains(readable, kind) && kind != Leases, slices.Contains(w.kept, kind)
		switch {
		case wanted && !kept:
			informer, err := w.cache.GetInformer(ctx, o, cache.BlockUntilSynced(false))
			if err != nil {
				return fmt.Errorf("watch %s: %w", kind, err)
			}
			ring := func(any) { w.ring() }
			handler := toolscache.ResourceEventHandlerFuncs{AddFunc: ring, UpdateFunc: func(_, o any) { ring(o) }, DeleteFunc: ring}
			if _, err := informer.AddEventHandler(handler); err != nil {
				return fmt.Errorf("watch %s: %w", kind, err)
			}
			w.kept = append(w.kept, kind)
		case kept && !wanted:
			if err := w.cache.RemoveInformer(ctx, o); err != nil {
				return fmt.Errorf("stop to watch %s: %w", kind, err)
			}
			w.kept = slices.DeleteFunc(w.kept, func(k Kind) bool { return k == kind })
		}
	}
	return nil
}

func (w *watcher) ring() {
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

// sample is an empty object of a kind.
func sample(c client.Client, kind Kind) (client.Object, error) {
	gvk, err := c.GroupVersionKindFor((&Cluster{}).List(kind))
	if err != nil {
		return nil, fmt.Errorf("find the kind of %s: %w", kind, err)
	}
	o, err := c.Scheme().New(gvk.GroupVersion().WithKind(strings.TrimSuffix(gvk.Kind, "List")))
	if err != nil {
		return nil, fmt.Errorf("make an object of %s: %w", kind, err)
	}
	out, ok := o.(client.Object)
	if !ok {
		return nil, fmt.Errorf("%s are no objects", kind)
	}
	return out, nil
}

// first lists one object of each kind: enough to learn whether it may be listed.
type first struct{ client.Reader }

func (f first) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	return f.Reader.List(ctx, list, append(options, client.Limit(1))...)
}

// mixed reads from memory what is watched, and Leases from the API server.
type mixed struct {
	client.Reader
	live client.Reader
}

func (m mixed) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if _, ok := list.(*coordinationv1.LeaseList); ok {
		return m.live.List(ctx, list, options...)
	}
	return m.Reader.List(ctx, list, options...)
}
