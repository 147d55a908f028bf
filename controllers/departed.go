package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// departed cleans up after a node that has no Node, once its agent is surely gone.
func (r *NodeReconciler) departed(ctx context.Context, node string) (reconcile.Result, error) {
	var nn v1alpha1.NodeNetwork
	err := r.Client.Get(ctx, client.ObjectKey{Name: node}, &nn)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("read NodeNetwork %s: %w", node, err)
	}
	known := err == nil
	lease, err := r.lease(ctx, r.Live, node)
	if err != nil {
		return reconcile.Result{}, err
	}
	left, err := r.left(ctx, node)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !known && lease == nil && !left {
		r.found(node)
		r.Pulse.Forget(v1alpha1.AgentLeasePrefix + node)
		return reconcile.Result{}, nil
	}
	var until time.Time
	if lease != nil {
		until = r.Pulse.Expires(lease)
	}
	if lease == nil || !known {
		if later := r.missingSince(node).Add(r.LeaseDuration); later.After(until) {
			until = later
		}
	}
	if wait := until.Sub(r.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait + 10*time.Millisecond}, nil
	}
	return reconcile.Result{}, r.cleanUp(ctx, node)
}

// left says whether endpoints or blocks name the node.
func (r *NodeReconciler) left(ctx context.Context, node string) (bool, error) {
	var endpoints v1alpha1.WorkloadEndpointList
	var blocks v1alpha1.IPBlockList
	for _, l := range []client.ObjectList{&endpoints, &blocks} {
		if err := r.Client.List(ctx, l, client.MatchingFields{nodeField: node}, client.UnsafeDisableDeepCopy); err != nil {
			return false, fmt.Errorf("list what node %s has left: %w", node, err)
		}
	}
	return len(endpoints.Items)+len(blocks.Items) > 0, nil
}

// cleanUp deletes all that the node had, endpoints first, and stops when the Node comes back.
func (r *NodeReconciler) cleanUp(ctx context.Context, node string) error {
	for _, step := range []func(context.Context, string) error{r.dropEndpoints, r.dropBlocks, r.dropReports, r.dropLease} {
		var n corev1.Node
		err := r.Live.Get(ctx, client.ObjectKey{Name: node}, &n)
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("make sure that node %s is gone: %w", node, err)
		}
		if err := step(ctx, node); err != nil {
			return err
		}
	}
	log.FromContext(ctx).Info("cleaned up after a deleted node", "node", node)
	return nil
}

func (r *NodeReconciler) dropEndpoints(ctx context.Context, node string) error {
	var endpoints v1alpha1.WorkloadEndpointList
	if err := r.Live.List(ctx, &endpoints, client.MatchingFields{nodeField: node}); err != nil {
		return fmt.Errorf("list the endpoints of node %s: %w", node, err)
	}
	return together(endpoints.Items, func(w v1alpha1.WorkloadEndpoint, _ *sync.Mutex) error {
		if err := r.Client.Delete(ctx, &w); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete endpoint %s/%s: %w", w.Namespace, w.Name, err)
		}
		return nil
	})
}

func (r *NodeReconciler) dropBlocks(ctx context.Context, node string) error {
	var blocks v1alpha1.IPBlockList
	if err := r.Client.List(ctx, &blocks, client.MatchingFields{nodeField: node}); err != nil {
		return fmt.Errorf("list the blocks of node %s: %w", node, err)
	}
	return together(blocks.Items, func(b v1alpha1.IPBlock, _ *sync.Mutex) error { return deleteBlock(ctx, r.Client, &b) })
}

// dropReports deletes what bears the node's name.
func (r *NodeReconciler) dropReports(ctx context.Context, node string) error {
	for _, o := range []client.Object{&v1alpha1.BlockClaim{}, &v1alpha1.BGPNodeState{}, &v1alpha1.NodeNetwork{}} {
		o.SetName(node)
		if err := r.Client.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete %T %s: %w", o, node, err)
		}
	}
	return nil
}

// dropLease deletes the lease unless an agent has just renewed it.
func (r *NodeReconciler) dropLease(ctx context.Context, node string) error {
	lease, err := r.lease(ctx, r.Live, node)
	if err != nil || lease == nil || r.Pulse.Expires(lease).After(r.Now()) {
		return err
	}
	version := lease.ResourceVersion
	err = r.Client.Delete(ctx, lease, client.Preconditions{ResourceVersion: &version})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete the lease of node %s: %w", node, err)
	}
	return nil
}
