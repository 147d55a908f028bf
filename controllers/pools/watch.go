package pools

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

const (
	// soon lets changes gather for one look.
	soon = 20 * time.Millisecond
	// The pauses between failed attempts.
	firstPause, longestPause = 10 * time.Millisecond, 3 * time.Second
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// SetupWithManager says what wakes the reconciler.
func (r *Reconciler) SetupWithManager(_ context.Context, mgr manager.Manager) error {
	started := source.Func(func(_ context.Context, q queue) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.wake = func(pool string) { q.AddAfter(requestFor(pool), soon) }
		return nil
	})
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstPause, longestPause)
	return ctrl.NewControllerManagedBy(mgr).Named("pools").WithOptions(controller.Options{RateLimiter: limiter}).
		Watches(&v1alpha1.IPPool{}, r.pools()).
		Watches(&v1alpha1.NodeNetwork{}, r.onAll(func(before, after client.Object) bool {
			return !slices.Equal(before.(*v1alpha1.NodeNetwork).Status.Encapsulations, after.(*v1alpha1.NodeNetwork).Status.Encapsulations)
		})).
		Watches(&corev1.Node{}, r.onAll(func(_, _ client.Object) bool { return false })).
		Watches(&v1alpha1.BlockClaim{}, reportedPools()).
		WatchesRawSource(started).
		Complete(r)
}

// Changed tells that what is known of a pool may have changed.
func (r *Reconciler) Changed(pool string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wake != nil {
		r.wake(pool)
	}
}

// AllChanged tells that something has changed that concerns all pools.
func (r *Reconciler) AllChanged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(r.names)) {
		if r.wake != nil {
			r.wake(name)
		}
	}
}

// pools looks at each pool that changes, and at all when one comes or goes.
func (r *Reconciler) pools() handler.EventHandler {
	note := func(name string, there bool) {
		r.mu.Lock()
		if there {
			r.names[name] = true
		} else {
			delete(r.names, name)
		}
		r.mu.Unlock()
		r.AllChanged()
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			note(e.Object.GetName(), true)
			q.Add(requestFor(e.Object.GetName()))
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			note(e.Object.GetName(), false)
			q.Add(requestFor(e.Object.GetName()))
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { q.Add(requestFor(e.ObjectNew.GetName())) },
	}
}

// onAll looks at all pools for every creation and deletion, and for the updates that matter.
func (r *Reconciler) onAll(matters func(before, after client.Object) bool) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(context.Context, event.CreateEvent, queue) { r.AllChanged() },
		DeleteFunc: func(context.Context, event.DeleteEvent, queue) { r.AllChanged() },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, _ queue) {
			if matters(e.ObjectOld, e.ObjectNew) {
				r.AllChanged()
			}
		},
	}
}

// reportedPools looks at the pools of which a node says something else than before. How many addresses it has free does not matter.
func reportedPools() handler.EventHandler {
	add := func(q queue, before, after []v1alpha1.PoolReport) {
		for _, pool := range changedReports(before, after) {
			q.AddAfter(requestFor(pool), soon)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			add(q, nil, e.Object.(*v1alpha1.BlockClaim).Status.Pools)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			add(q, e.Object.(*v1alpha1.BlockClaim).Status.Pools, nil)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			add(q, e.ObjectOld.(*v1alpha1.BlockClaim).Status.Pools, e.ObjectNew.(*v1alpha1.BlockClaim).Status.Pools)
		},
	}
}

// changedReports returns the names of the pools of which two reports of a node differ in more than counters.
func changedReports(before, after []v1alpha1.PoolReport) []string {
	said := map[string]v1alpha1.PoolReport{}
	for _, p := range before {
		p.Free = 0
		said[p.Pool] = p
	}
	var out []string
	for _, p := range after {
		p.Free = 0
		if said[p.Pool] != p {
			out = append(out, p.Pool)
		}
		delete(said, p.Pool)
	}
	return slices.AppendSeq(out, slices.Values(slices.Sorted(maps.Keys(said))))
}

func requestFor(pool string) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKey{Name: pool}}
}
