package controllers

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

type (
	poolEvent = event.TypedGenericEvent[*v1alpha1.IPPool]
	queue     = workqueue.TypedRateLimitingInterface[reconcile.Request]
)

// endpointDelay gathers the endpoints of a storm into one round. Nodes that need a block at once say so themselves.
const endpointDelay = 100 * time.Millisecond

// SetupWithManager says what starts a round.
func (r *BlockReconciler) SetupWithManager(mgr manager.Manager) error {
	round := reconcile.Request{}
	round.Name = "round"
	now := func() []reconcile.Request { return []reconcile.Request{round} }
	return ctrl.NewControllerManagedBy(mgr).Named("blocks").WithOptions(retries()).
		Watches(&v1alpha1.IPPool{}, onChange(now, 0, func(before, after client.Object) bool {
			return before.GetGeneration() != after.GetGeneration() || len(before.GetFinalizers()) != len(after.GetFinalizers()) ||
				before.GetDeletionTimestamp().IsZero() != after.GetDeletionTimestamp().IsZero()
		})).
		Watches(&v1alpha1.NodeNetwork{}, onChange(now, 0, addressesDiffer)).
		Watches(&v1alpha1.BlockClaim{}, onChange(now, 0, claimsDiffer)).
		Watches(&corev1.Node{}, onChange(now, 0, labelsDiffer)).
		Watches(&v1alpha1.IPBlock{}, onChange(now, endpointDelay/2, always)).
		Watches(&v1alpha1.WorkloadEndpoint{}, onChange(now, endpointDelay, always)).
		Complete(r)
}

func always(_, _ client.Object) bool { return true }

func labelsDiffer(before, after client.Object) bool {
	return !equality.Semantic.DeepEqual(before.GetLabels(), after.GetLabels())
}

func addressesDiffer(before, after client.Object) bool {
	return !slices.Equal(before.(*v1alpha1.NodeNetwork).Status.Addresses, after.(*v1alpha1.NodeNetwork).Status.Addresses)
}

func claimsDiffer(before, after client.Object) bool {
	return !equality.Semantic.DeepEqual(before.(*v1alpha1.BlockClaim).Spec, after.(*v1alpha1.BlockClaim).Spec)
}

// onChange queues the same requests for every creation and deletion, and for the updates that matter.
func onChange(requests func() []reconcile.Request, delay time.Duration, matters func(before, after client.Object) bool) handler.EventHandler {
	add := func(q queue) {
		for _, r := range requests() {
			q.AddAfter(r, delay)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, _ event.CreateEvent, q queue) { add(q) },
		DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q queue) { add(q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if matters(e.ObjectOld, e.ObjectNew) {
				add(q)
			}
		},
	}
}
