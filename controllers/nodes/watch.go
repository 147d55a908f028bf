package nodes

import (
	"context"
	"fmt"
	"maps"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// The pauses between failed attempts.
const firstPause, longestPause = 10 * time.Millisecond, 3 * time.Second

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// SetupWithManager says what wakes the reconciler: all that names a node. Renewals of leases only matter while an agent is silent.
// A controller that does not lead takes the agents' pulse too, so that it knows it when it leads.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr manager.Manager) error {
	if err := r.takePulse(ctx, mgr.GetCache()); err != nil {
		return err
	}
	nodeMatters := func(before, after client.Object) bool {
		return !maps.Equal(before.GetLabels(), after.GetLabels()) || !isTainted(before) && isTainted(after)
	}
	networkMatters := func(before, after client.Object) bool {
		// What a silent agent wrote last may be shown after its lease has run out.
		return !maps.Equal(before.GetLabels(), after.GetLabels()) || becameReady(before, after) || !r.isLive(after.GetName())
	}
	never := func(_, _ client.Object) bool { return false }
	self := func(o client.Object) (string, bool) { return o.GetName(), true }
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstPause, longestPause)
	started := source.Func(func(_ context.Context, q queue) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.strays = func(node string) { q.Add(requestFor(node)) }
		return nil
	})
	return ctrl.NewControllerManagedBy(mgr).Named("nodes").WithOptions(controller.Options{RateLimiter: limiter}).
		Watches(&corev1.Node{}, byNode(self, nodeMatters)).
		Watches(&v1alpha1.NodeNetwork{}, byNode(self, networkMatters)).
		Watches(&v1alpha1.BlockClaim{}, byNode(self, never)).
		Watches(&v1alpha1.BGPNodeState{}, byNode(self, never)).
		Watches(&coordinationv1.Lease{}, r.leases()).
		WatchesRawSource(started).
		Complete(r)
}

// Stray tells of a node that has blocks or endpoints but no Node.
func (r *Reconciler) Stray(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.strays != nil {
		r.strays(node)
	}
}

// takePulse follows the agents' leases.
func (r *Reconciler) takePulse(ctx context.Context, c cache.Cache) error {
	informer, err := c.GetInformer(ctx, &coordinationv1.Lease{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch leases: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: r.observe, UpdateFunc: func(_, after any) { r.observe(after) },
		DeleteFunc: func(o any) {
			if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = unknown.Obj
			}
			if l, ok := o.(*coordinationv1.Lease); ok {
				if node, ok := nodeOfLease(l); ok {
					r.pulse.Forget(node)
				}
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch leases: %w", err)
	}
	return nil
}

// leases queues nodes whose agent's lease comes, goes, or is renewed by an agent that did not live.
func (r *Reconciler) leases() handler.EventHandler {
	by := byNode(nodeOfLease, func(before, after client.Object) bool {
		node, ok := nodeOfLease(after)
		return ok && (!r.isLive(node) || duration(before) != duration(after))
	})
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			r.observe(e.Object)
			by.Create(ctx, e, q)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			r.observe(e.ObjectNew)
			by.Update(ctx, e, q)
		},
		DeleteFunc: by.Delete,
	}
}

// duration is how many seconds a lease is good for.
func duration(o client.Object) int32 {
	if l, ok := o.(*coordinationv1.Lease); ok && l.Spec.LeaseDurationSeconds != nil {
		return *l.Spec.LeaseDurationSeconds
	}
	return 0
}

// observe takes note of an agent's lease. It may be told twice, and must be before anybody looks whether that agent lives.
func (r *Reconciler) observe(o any) {
	if l, ok := o.(*coordinationv1.Lease); ok {
		if node, ok := nodeOfLease(l); ok {
			r.pulse.Observe(node, l)
		}
	}
}

func requestFor(node string) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKey{Name: node}}
}

// byNode queues the node that an object names.
func byNode(node func(client.Object) (string, bool), matters func(before, after client.Object) bool) handler.EventHandler {
	add := func(o client.Object, q queue) {
		if name, ok := node(o); ok {
			q.Add(requestFor(name))
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(e.Object, q) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if matters(e.ObjectOld, e.ObjectNew) {
				add(e.ObjectNew, q)
			}
		},
	}
}
