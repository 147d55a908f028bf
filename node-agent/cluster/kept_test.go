package cluster

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/retry"
)

// blockServer serves IPBlocks to watches, as an API server does that begins with what is there.
type blockServer struct {
	mu      sync.Mutex
	version int
	blocks  map[string]*v1alpha1.IPBlock
	watcher *watch.RaceFreeFakeWatcher
}

// change makes a block or, without a node, deletes it.
func (s *blockServer) change(cidr, node string) {
	s.version++
	kind, before := watch.Modified, s.blocks[cidr]
	b := ipBlock(cidr, node)
	b.Name, b.ResourceVersion = v1alpha1.BlockName(netip.MustParsePrefix(cidr)), fmt.Sprint(s.version)
	s.blocks[cidr] = b
	switch {
	case node == "":
		kind = watch.Deleted
		b.Spec = before.Spec
		delete(s.blocks, cidr)
	case before == nil:
		kind = watch.Added
	}
	if s.watcher != nil {
		s.watcher.Action(kind, b.DeepCopy())
	}
}

// during does something while nobody watches, and ends the watch with what an API server says that has forgotten what came since.
func (s *blockServer) during(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	away := s.watcher
	s.watcher = nil
	f()
	away.Error(&metav1.Status{Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired})
}

func (s *blockServer) watch(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watcher = watch.NewRaceFreeFake()
	if o.SendInitialEvents == nil || !*o.SendInitialEvents {
		return s.watcher, nil
	}
	for _, b := range s.blocks {
		s.watcher.Add(b.DeepCopy())
	}
	s.watcher.Action(watch.Bookmark, &v1alpha1.IPBlock{ObjectMeta: metav1.ObjectMeta{ResourceVersion: fmt.Sprint(s.version), Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}})
	return s.watcher, nil
}

// oneInformer is a cache of one kind.
type oneInformer struct {
	cache.Cache // nil
	informer    toolscache.SharedIndexInformer
}

func (c oneInformer) GetInformer(context.Context, client.Object, ...cache.InformerGetOption) (cache.Informer, error) {
	return c.informer, nil
}

// TestTheViewFollowsBlocksThroughClientGosCache: what client-go keeps of blocks is enough for it to tell which are new, which have changed,
// and which have gone while the watch was away, and the view shows the values that client-go keeps.
func TestTheViewFollowsBlocksThroughClientGosCache(t *testing.T) {
	s := &blockServer{blocks: map[string]*v1alpha1.IPBlock{}}
	for cidr, node := range map[string]string{"10.0.0.0/26": "n1", "10.0.0.64/26": "n2", "10.0.0.128/26": "n3"} {
		s.change(cidr, node)
	}
	informer := toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		WatchFuncWithContext: s.watch,
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			return nil, fmt.Errorf("nobody lists")
		},
	}, &v1alpha1.IPBlock{}, 0, toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc})
	if err := informer.SetTransform(slim("n1")); err != nil {
		t.Fatal(err)
	}
	told := make(chan Change, 100)
	v := NewView("n1", func(c Change) { told <- c })
	synced, err := watchAs(t.Context(), &Connection{Cache: oneInformer{informer: informer}}, &v1alpha1.IPBlock{}, keptOf, v.blockHandler())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	defer running.Wait()
	defer cancel()
	v.synced = []toolscache.InformerSynced{synced}
	if !v.WaitLive(t.Context()) || <-told != everything {
		t.Fatal("the view is not live")
	}
	expect := func(what string, want Change, shown map[string]string) {
		t.Helper()
		var sum Change
		await(t, what, func() error {
			got := map[string]string{}
			for _, b := range v.BlocksSince(0).Set {
				got[b.CIDR.String()] = b.Node
			}
			for len(told) > 0 {
				sum |= <-told
			}
			if sum != want || fmt.Sprint(got) != fmt.Sprint(shown) {
				return fmt.Errorf("the view shows %v, not %v, and told %b, not %b", got, shown, sum, want)
			}
			return nil
		})
	}
	expect("the first list", 0, map[string]string{"10.0.0.0/26": "n1", "10.0.0.64/26": "n2", "10.0.0.128/26": "n3"})
	s.during(func() {})
	// The same again tells nobody anything. The next change comes after it.
	await(t, "the watch is back", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.watcher == nil {
			return fmt.Errorf("nobody watches")
		}
		s.change("10.0.0.64/26", "n4")
		return nil
	})
	expect("a block that changes hands", OtherBlocks, map[string]string{"10.0.0.0/26": "n1", "10.0.0.64/26": "n4", "10.0.0.128/26": "n3"})
	s.during(func() {
		s.change("10.0.0.0/26", "")
		s.change("10.0.0.192/26", "n5")
	})
	expect("a block went and one came while the watch was away", OwnBlocks|OtherBlocks, map[string]string{"10.0.0.64/26": "n4", "10.0.0.128/26": "n3", "10.0.0.192/26": "n5"})
	s.mu.Lock()
	s.change("10.0.0.192/26", "")
	s.mu.Unlock()
	expect("a block that goes", OtherBlocks, map[string]string{"10.0.0.64/26": "n4", "10.0.0.128/26": "n3"})
	for _, o := range informer.GetStore().List() {
		if kept, ok := o.(*keptBlock); !ok || v.shown.blocks[kept.block.CIDR] != kept.block {
			t.Errorf("%+v is in memory twice", o)
		} else if m, err := meta.Accessor(o); err != nil || m.GetResourceVersion() == "" {
			t.Errorf("client-go can't tell the version of %+v: %v", o, err)
		}
	}
}

// await waits until there is no error.
func await(t *testing.T, what string, try func() error) {
	t.Helper()
	if err := retry.Until(t.Context(), time.Minute, try); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
