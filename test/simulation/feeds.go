package simulation

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// feeds are a process's cache: one feed for each kind that it watches. Each is as far behind the API server as the scheduler
// likes, independently of the others.
type feeds struct {
	w      *World
	p      *process
	fits   func(client.Object) bool
	mu     sync.Mutex
	byKind map[string]*feed
	raw    []*stream
}

func newFeeds(w *World, p *process, fits func(client.Object) bool) *feeds {
	return &feeds{w: w, p: p, fits: fits, byKind: map[string]*feed{}}
}

// feed is the watch of one kind, with what it has shown.
type feed struct {
	of       *feeds
	kind     string
	shown    map[client.ObjectKey]client.Object
	position int // in the log of the kind
	handlers []toolscache.ResourceEventHandler
	ready    chan struct{} // closed by the first list
	told     chan struct{} // closed when the handlers know it
	listed   bool
	busy     bool // handlers are at work
}

func (c *feeds) feed(kind string) *feed {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.byKind[kind]
	if f == nil {
		f = &feed{of: c, kind: kind, shown: map[client.ObjectKey]client.Object{}, ready: make(chan struct{}), told: make(chan struct{})}
		c.byKind[kind] = f
	}
	return f
}

// wait returns a kind's feed once it has listed.
func (c *feeds) wait(ctx context.Context, kind string) (*feed, error) {
	f := c.feed(kind)
	select {
	case <-f.ready:
		return f, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.p.ctx.Done():
		return nil, errCrashed
	}
}

func (f *feed) get(key client.ObjectKey) (client.Object, error) {
	if o := f.shown[key]; o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(resourceOf(f.kind), key.Name)
}

// behind reports whether there is something to deliver.
func (f *feed) behind() bool {
	return !f.busy && (!f.listed || f.position < len(f.of.w.server.log[f.kind]))
}

func (f *feed) key() string { return f.of.p.name + " watches " + f.kind }

// advance shows some changes, or lists anew.
func (f *feed) advance(changes int) {
	var notices []notice
	if !f.listed || changes == 0 {
		notices = f.list()
	} else {
		for ; changes > 0 && f.position < len(f.of.w.server.log[f.kind]); changes-- {
			notices = append(notices, f.next()...)
		}
	}
	f.tell(notices)
}

// notice is one call of a handler.
type notice struct{ before, after client.Object }

// list is the first list, or one after a broken watch: what happened in between is not shown.
func (f *feed) list() []notice {
	f.position = len(f.of.w.server.log[f.kind])
	var out []notice
	there := map[client.ObjectKey]bool{}
	for _, o := range f.of.w.server.list(f.kind) {
		if f.of.fits(o) {
			there[keyOf(o)] = true
			out = f.show(out, o, false)
		}
	}
	for _, o := range sortedObjects(f.shown) {
		if !there[keyOf(o)] {
			out = f.show(out, o, true)
		}
	}
	return out
}

// next shows the next change.
func (f *feed) next() []notice {
	c := f.of.w.server.log[f.kind][f.position]
	f.position++
	if !f.of.fits(c.object) {
		return nil
	}
	return f.show(nil, c.object, c.gone)
}

func (f *feed) show(out []notice, o client.Object, gone bool) []notice {
	o = f.of.w.bugs.shown(f.of.p, o)
	before := f.shown[keyOf(o)]
	switch {
	case gone && before == nil, !gone && before != nil && before.GetResourceVersion() == o.GetResourceVersion():
		return out
	case gone:
		delete(f.shown, keyOf(o))
		return append(out, notice{before: before})
	}
	f.shown[keyOf(o)] = o
	return append(out, notice{before: before, after: o})
}

// tell runs the handlers, in a goroutine: they may read the cache.
func (f *feed) tell(notices []notice) {
	f.busy = true
	handlers, first := f.handlers, !f.listed
	f.listed = true
	if first {
		close(f.ready)
	}
	go func() {
		for _, n := range notices {
			for _, h := range handlers {
				n.tell(h, first)
			}
		}
		if first {
			close(f.told)
		}
		f.busy = false
	}()
}

func (n notice) tell(h toolscache.ResourceEventHandler, first bool) {
	switch {
	case n.before == nil:
		h.OnAdd(n.after, first)
	case n.after == nil:
		h.OnDelete(n.before)
	default:
		h.OnUpdate(n.before, n.after)
	}
}

// GetInformer implements cache.Informers.
func (c *feeds) GetInformer(_ context.Context, o client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	return informer{f: c.feed(kindOf(o))}, nil
}

// GetInformerForKind implements cache.Informers.
func (c *feeds) GetInformerForKind(_ context.Context, k schema.GroupVersionKind, _ ...cache.InformerGetOption) (cache.Informer, error) {
	return informer{f: c.feed(k.Kind)}, nil
}

// RemoveInformer implements cache.Informers.
func (c *feeds) RemoveInformer(context.Context, client.Object) error {
	return fmt.Errorf("nobody removes informers")
}

// Start implements cache.Informers.
func (c *feeds) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// WaitForCacheSync implements cache.Informers.
func (c *feeds) WaitForCacheSync(ctx context.Context) bool {
	c.mu.Lock()
	var all []*feed
	for _, f := range c.byKind {
		all = append(all, f)
	}
	c.mu.Unlock()
	for _, f := range all {
		select {
		case <-f.ready:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// IndexField implements client.FieldIndexer.
func (c *feeds) IndexField(context.Context, client.Object, string, client.IndexerFunc) error {
	return nil
}

// Get implements client.Reader.
func (c *feeds) Get(ctx context.Context, key client.ObjectKey, into client.Object, o ...client.GetOption) error {
	return (&conn{w: c.w, p: c.p, cache: c}).Get(ctx, key, into, o...)
}

// List implements client.Reader.
func (c *feeds) List(ctx context.Context, into client.ObjectList, o ...client.ListOption) error {
	return (&conn{w: c.w, p: c.p, cache: c}).List(ctx, into, o...)
}

// informer is a feed as client-go shows it.
type informer struct {
	cache.Informer // nil
	f              *feed
}

// AddEventHandler implements cache.Informer.
func (i informer) AddEventHandler(h toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	f := i.f
	f.handlers = append(f.handlers, h)
	if f.listed {
		for _, o := range sortedObjects(f.shown) {
			h.OnAdd(o, true)
		}
	}
	return registration{f: f}, nil
}

// AddEventHandlerWithOptions implements cache.Informer.
func (i informer) AddEventHandlerWithOptions(h toolscache.ResourceEventHandler, _ toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandler(h)
}

// HasSynced implements cache.Informer.
func (i informer) HasSynced() bool { return registration{f: i.f}.HasSynced() }

type registration struct{ f *feed }

// HasSynced implements toolscache.ResourceEventHandlerRegistration.
func (r registration) HasSynced() bool {
	select {
	case <-r.f.told:
		return true
	default:
		return false
	}
}

// HasSyncedChecker implements toolscache.ResourceEventHandlerRegistration.
func (r registration) HasSyncedChecker() toolscache.DoneChecker { return r }

// Name implements toolscache.DoneChecker.
func (r registration) Name() string { return r.f.kind }

// Done implements toolscache.DoneChecker.
func (r registration) Done() <-chan struct{} { return r.f.told }
