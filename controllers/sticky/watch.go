package sticky

import (
	"context"
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/internal/follow"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// atOnce is how many pods are looked at at a time: a namespace full of StatefulSets can be deleted at once.
const atOnce = 8

// SetupWithManager says what wakes the reconciler. Records come by Recorded.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr manager.Manager) error {
	c := mgr.GetCache()
	_, err := follow.Changes(ctx, c, r.address)
	_, err2 := follow.Changes(ctx, c, r.statefulSet)
	_, err3 := follow.Changes(ctx, c, r.pool)
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	started := source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		r.lead(q)
		return nil
	})
	return ctrl.NewControllerManagedBy(mgr).Named("sticky").WithOptions(controller.Options{MaxConcurrentReconciles: atOnce}).WatchesRawSource(started).Complete(r)
}

func (r *Reconciler) address(before, after *v1alpha1.StickyAddress) {
	if after == nil {
		r.remembered(client.ObjectKeyFromObject(before), nil)
		return
	}
	m := sticky.Read(after)
	r.remembered(client.ObjectKeyFromObject(after), &m)
}

func (r *Reconciler) statefulSet(before, after *appsv1.StatefulSet) {
	switch {
	case after == nil:
		r.setChanged(client.ObjectKeyFromObject(before))
	case before == nil || sticky.SetOf(before) != sticky.SetOf(after):
		r.setChanged(client.ObjectKeyFromObject(after))
	}
}

func (r *Reconciler) pool(before, after *v1alpha1.IPPool) {
	switch {
	case after == nil:
		r.poolChanged(before.Name, false)
	case before == nil || matters(before) != matters(after):
		r.poolChanged(after.Name, matters(after).sticky)
	}
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
