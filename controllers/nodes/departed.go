package nodes

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/internal/parallel"
)

// departed cleans up after a node that has no Node, once its agent is surely gone.
func (r *Reconciler) departed(ctx context.Context, node string) (reconcile.Result, error) {
	known, err := r.hadANode(ctx, node)
	if err != nil {
		return reconcile.Result{}, err
	}
	left, err := r.left(ctx, node)
	if err != nil {
		return reconcile.Result{}, err
	}
	until, leased := r.pulse.Expires(node)
	if !known && !leased && !left {
		r.found(node)
		return reconcile.Result{}, nil
	}
	if !leased || !known {
		if later := r.missingSince(node).Add(r.o.LeaseDuration); later.After(until) {
			until = later
		}
	}
	if wait := until.Sub(r.o.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait + 10*time.Millisecond}, nil
	}
	wait, err := r.cleanUp(ctx, node)
	if wait > 0 {
		wait += 10 * time.Millisecond
	}
	return reconcile.Result{RequeueAfter: wait}, err
}

// hadANode says whether there is a NodeNetwork of this name whose Node has been seen.
func (r *Reconciler) hadANode(ctx context.Context, node string) (bool, error) {
	var nn v1alpha1.NodeNetwork
	err := r.o.Client.Get(ctx, client.ObjectKey{Name: node}, &nn)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("read NodeNetwork %s: %w", node, err)
	}
	return err == nil && nn.Annotations[annotationNode] != "", nil
}

// reports are the objects that a node's agent makes, with the node's name.
func reports() []client.Object {
	return []client.Object{&v1alpha1.BlockClaim{}, &v1alpha1.BGPNodeState{}}
}

// left says whether anything names the node, apart from its NodeNetwork and its lease.
func (r *Reconciler) left(ctx context.Context, node string) (bool, error) {
	for _, o := range reports() {
		err := r.o.Client.Get(ctx, client.ObjectKey{Name: node}, o)
		if err == nil {
			return true, nil
		}
		if !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("read %T %s: %w", o, node, err)
		}
	}
	return r.o.Blocks.HasLeft(node), nil
}

// cleanUp deletes all that the node had, endpoints first. It stops when the Node comes back, and when its agent does: then it
// returns how long that one's lease is good for.
func (r *Reconciler) cleanUp(ctx context.Context, node string) (time.Duration, error) {
	for _, step := range []func(context.Context, string) error{r.dropEndpoints, r.o.Blocks.DeleteAll, r.dropReports, r.dropNodeNetwork, r.dropLease} {
		var n corev1.Node
		err := r.o.Live.Get(ctx, client.ObjectKey{Name: node}, &n)
		if err == nil {
			return 0, nil
		}
		if !apierrors.IsNotFound(err) {
			return 0, fmt.Errorf("make sure that node %s is gone: %w", node, err)
		}
		if wait, err := r.renewed(ctx, node); wait > 0 || err != nil {
			return wait, err
		}
		if err := step(ctx, node); err != nil {
			return 0, err
		}
	}
	log.FromContext(ctx).Info("cleaned up after a deleted node", "node", node)
	return 0, nil
}

// renewed asks the API server whether an agent has renewed its lease, since the watch may be late, and returns how long it is good
// for then.
func (r *Reconciler) renewed(ctx context.Context, node string) (time.Duration, error) {
	lease, err := r.lease(ctx, node)
	if err != nil || lease == nil {
		return 0, err
	}
	r.pulse.Observe(node, lease)
	expires, _ := r.pulse.Expires(node)
	return max(expires.Sub(r.o.Now()), 0), nil
}

func (r *Reconciler) dropEndpoints(ctx context.Context, node string) error {
	var endpoints v1alpha1.WorkloadEndpointList
	if err := r.o.Live.List(ctx, &endpoints, client.MatchingFields{"spec.node": node}); err != nil {
		return fmt.Errorf("list the endpoints of node %s: %w", node, err)
	}
	return parallel.Each(endpoints.Items, func(w v1alpha1.WorkloadEndpoint) error {
		if err := r.o.Client.Delete(ctx, &w); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete endpoint %s/%s: %w", w.Namespace, w.Name, err)
		}
		return nil
	})
}

func (r *Reconciler) dropReports(ctx context.Context, node string) error {
	for _, o := range reports() {
		o.SetName(node)
		if err := r.o.Client.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete %T %s: %w", o, node, err)
		}
	}
	return nil
}

// dropNodeNetwork deletes the NodeNetwork, unless a person made it and its Node has never been there.
func (r *Reconciler) dropNodeNetwork(ctx context.Context, node string) error {
	known, err := r.hadANode(ctx, node)
	if err != nil || !known {
		return err
	}
	nn := &v1alpha1.NodeNetwork{}
	nn.Name = node
	if err := r.o.Client.Delete(ctx, nn); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete NodeNetwork %s: %w", node, err)
	}
	return nil
}

// dropLease deletes the lease unless an agent has just renewed it.
func (r *Reconciler) dropLease(ctx context.Context, node string) error {
	lease, err := r.lease(ctx, node)
	if err != nil || lease == nil {
		return err
	}
	r.pulse.Observe(node, lease)
	if r.pulse.Live(node) {
		return nil
	}
	version := lease.ResourceVersion
	err = r.o.Client.Delete(ctx, lease, client.Preconditions{ResourceVersion: &version})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete the lease of node %s: %w", node, err)
	}
	return nil
}
