package controllers

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// nodeField is the field that blocks and endpoints are found by. For WorkloadEndpoints the API server knows it too.
const nodeField = "spec.node"

func addIndexes(mgr manager.Manager) error {
	ctx := context.Background()
	for object, node := range map[client.Object]func(client.Object) []string{
		&v1alpha1.IPBlock{}:          func(o client.Object) []string { return []string{o.(*v1alpha1.IPBlock).Spec.Node} },
		&v1alpha1.WorkloadEndpoint{}: func(o client.Object) []string { return []string{o.(*v1alpha1.WorkloadEndpoint).Spec.Node} },
	} {
		if err := mgr.GetFieldIndexer().IndexField(ctx, object, nodeField, node); err != nil {
			return fmt.Errorf("index %T by node: %w", object, err)
		}
	}
	return nil
}

// listAll lists from the cache without copying. What it returns must not be changed.
func listAll(ctx context.Context, c client.Reader, lists ...client.ObjectList) error {
	for _, l := range lists {
		if err := c.List(ctx, l, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list %T: %w", l, err)
		}
	}
	return nil
}

// retries keeps the pauses between failed attempts short: after the API server was away, pods wait for us.
func retries() controller.Options {
	return controller.Options{RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](10*time.Millisecond, 3*time.Second)}
}
