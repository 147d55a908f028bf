package sticky

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// atOnce is how many pods are looked at at a time: a namespace full of StatefulSets can be deleted at once.
const atOnce = 8

// SetupWithManager says what wakes the reconciler. Records come by Recorded.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr manager.Manager) error {
	for _, err := range []error{
		follow(ctx, mgr.GetCache(), func(before, after *v1alpha1.StickyAddress) {
			if after == nil {
				r.remembered(client.ObjectKeyFromObject(before), nil)
				return
			}
			m := sticky.Read(after)
			r.remembered(client.ObjectKeyFromObject(after), &m)
		}),
		follow(ctx, mgr.GetCache(), func(before, after *appsv1.StatefulSet) {
			switch {
			case after == nil:
				r.setChanged(client.ObjectKeyFromObject(before))
			case before == nil || sticky.SetOf(before) != sticky.SetOf(after):
				r.setChanged(client.ObjectKeyFromObject(after))
			}
		}),
		follow(ctx, mgr.GetCache(), func(before, after *v1alpha1.IPPool) {
			switch {
			case after == nil:
				r.poolChanged(before.Name)
			case before == nil || matters(before) != matters(after):
				r.poolChanged(after.Name)
			}
		}),
	} {
		if err != nil {
			return err
		}
	}
	started := source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		r.lead(q)
		return nil
	})
	return ctrl.NewControllerManagedBy(mgr).Named("sticky").WithOptions(controller.Options{MaxConcurrentReconciles: atOnce}).WatchesRawSource(started).Complete(r)
}

// facts are what matters of a pool.
type facts struct {
	uid                        string
	sticky, deleted, exhausted bool
}

func matters(o *v1alpha1.IPPool) facts {
	return facts{uid: string(o.UID), sticky: o.Spec.Sticky == v1alpha1.StickyStatefulSet, deleted: !o.DeletionTimestamp.IsZero(),
		exhausted: meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionExhausted)}
}

// follow calls something for each change of a kind: with the object before and after it, or nil.
func follow[T any, P interface {
	*T
	client.Object
}](ctx context.Context, c cache.Cache, change func(before, after P)) error {
	informer, err := c.GetInformer(ctx, P(new(T)), cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch %T: %w", *new(T), err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { change(nil, o.(P)) }, UpdateFunc: func(before, after any) { change(before.(P), after.(P)) },
		DeleteFunc: func(o any) {
			if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = unknown.Obj
			}
			change(o.(P), nil)
		},
	})
	if err != nil {
		return fmt.Errorf("watch %T: %w", *new(T), err)
	}
	return nil
}
