package controllers

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/conditions"
)

// reasonSilent is the reason of a NodeNetwork's Ready condition whose agent does not renew its lease.
const reasonSilent = "AgentSilent"

// NodeReconciler keeps one NodeNetwork for each Node, says when its agent is silent, and cleans up after deleted Nodes. Its
// requests are node names, of Nodes that exist or not.
type NodeReconciler struct {
	Client        client.Client
	Live          client.Reader
	Events        events.EventRecorder
	Meters        *meters
	Now           func() time.Time
	Pulse         *pulse
	LeaseDuration time.Duration

	mu      sync.Mutex
	missing map[string]time.Time // node -> since when its Node, or its lease, is missing
	silent  map[string]bool
}

// +kubebuilder:rbac:groups=causeway.dev,resources=nodenetworks,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups=causeway.dev,resources=nodenetworks/status,verbs=get;update;patch
// +kubebuilder:rbac:groups=causeway.dev,resources=workloadendpoints;blockclaims;bgpnodestates,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;list;watch;create;update;patch;delete,namespace=causeway-system

// Reconcile looks after one node.
func (r *NodeReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var node corev1.Node
	err := r.Client.Get(ctx, req.NamespacedName, &node)
	if apierrors.IsNotFound(err) {
		r.note(req.Name, false)
		return r.departed(ctx, req.Name)
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("read node %s: %w", req.Name, err)
	}
	nn, err := r.ensure(ctx, &node)
	if err != nil {
		return reconcile.Result{}, err
	}
	return r.listen(ctx, nn)
}

// ensure makes the node's NodeNetwork, and gives it the Node's labels.
func (r *NodeReconciler) ensure(ctx context.Context, node *corev1.Node) (*v1alpha1.NodeNetwork, error) {
	var nn v1alpha1.NodeNetwork
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(node), &nn)
	switch {
	case apierrors.IsNotFound(err):
		nn.Name, nn.Labels = node.Name, maps.Clone(node.Labels)
		if err := r.Client.Create(ctx, &nn); err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("create NodeNetwork %s: %w", node.Name, err)
		}
	case err != nil:
		return nil, fmt.Errorf("read NodeNetwork %s: %w", node.Name, err)
	case !maps.Equal(nn.Labels, node.Labels):
		before := nn.DeepCopy()
		nn.Labels = maps.Clone(node.Labels)
		if err := r.Client.Patch(ctx, &nn, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("give NodeNetwork %s its Node's labels: %w", node.Name, err)
		}
	}
	return &nn, nil
}

// listen says in the NodeNetwork when the agent's lease has run out.
func (r *NodeReconciler) listen(ctx context.Context, nn *v1alpha1.NodeNetwork) (reconcile.Result, error) {
	lease, err := r.lease(ctx, r.Client, nn.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := r.Now()
	var expires time.Time
	sentence := fmt.Sprintf("The agent of node %s has never renewed its lease; look at its pod in %s.", nn.Name, v1alpha1.SystemNamespace)
	if lease != nil {
		r.found(nn.Name)
		expires = r.Pulse.Expires(lease)
		if lease.Spec.RenewTime != nil {
			sentence = fmt.Sprintf("The agent of node %s has been silent since %s; look at its pod in %s and at the node.",
				nn.Name, lease.Spec.RenewTime.UTC().Format(time.RFC3339), v1alpha1.SystemNamespace)
		}
	} else {
		expires = r.missingSince(nn.Name).Add(r.LeaseDuration)
	}
	if now.Before(expires) {
		r.note(nn.Name, false)
		return reconcile.Result{RequeueAfter: expires.Sub(now) + 10*time.Millisecond}, nil
	}
	r.note(nn.Name, true)
	have := meta.FindStatusCondition(nn.Status.Conditions, v1alpha1.ConditionReady)
	if have != nil && have.Status == metav1.ConditionUnknown && have.Reason == reasonSilent {
		return reconcile.Result{}, nil
	}
	before := nn.DeepCopy()
	nn.Status.Conditions = conditions.Set(nn.Status.Conditions, metav1.NewTime(now), metav1.Condition{Type: v1alpha1.ConditionReady,
		Status: metav1.ConditionUnknown, Reason: reasonSilent, Message: sentence, ObservedGeneration: nn.Generation})
	err = r.Client.Status().Patch(ctx, nn, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: time.Second}, nil // The agent was writing too; it may be back.
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("say that the agent of node %s is silent: %w", nn.Name, err)
	}
	r.Events.Eventf(nn, nil, corev1.EventTypeWarning, reasonSilent, "WatchAgent", "%s", sentence)
	return reconcile.Result{}, nil
}

func (r *NodeReconciler) lease(ctx context.Context, from client.Reader, node string) (*coordinationv1.Lease, error) {
	var lease coordinationv1.Lease
	err := from.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.AgentLeasePrefix + node}, &lease)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the lease of node %s: %w", node, err)
	}
	return &lease, nil
}

func nodeOfLease(l client.Object) (string, bool) {
	node, ok := strings.CutPrefix(l.GetName(), v1alpha1.AgentLeasePrefix)
	return node, ok && l.GetNamespace() == v1alpha1.SystemNamespace
}

// missingSince returns when something of the node was first seen missing.
func (r *NodeReconciler) missingSince(node string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.missing == nil {
		r.missing = map[string]time.Time{}
	}
	if _, known := r.missing[node]; !known {
		r.missing[node] = r.Now()
	}
	return r.missing[node]
}

func (r *NodeReconciler) found(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.missing, node)
}

func (r *NodeReconciler) note(node string, silent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent == nil {
		r.silent = map[string]bool{}
	}
	delete(r.silent, node)
	if silent {
		r.silent[node] = true
	}
	r.Meters.silent.Set(float64(len(r.silent)))
}

// SetupWithManager says what wakes the reconciler: all that names a node.
func (r *NodeReconciler) SetupWithManager(mgr manager.Manager) error {
	onlyLabels := func(before, after client.Object) bool { return labelsDiffer(before, after) }
	renewed := func(_, _ client.Object) bool { return true }
	never := func(_, _ client.Object) bool { return false }
	self := func(o client.Object) (string, bool) { return o.GetName(), true }
	return ctrl.NewControllerManagedBy(mgr).Named("nodes").WithOptions(retries()).
		Watches(&corev1.Node{}, byNode(self, onlyLabels)).
		Watches(&v1alpha1.NodeNetwork{}, byNode(self, onlyLabels)).
		Watches(&coordinationv1.Lease{}, byNode(nodeOfLease, renewed)).
		Watches(&v1alpha1.IPBlock{}, byNode(func(o client.Object) (string, bool) {
			return r.ifGone(o.(*v1alpha1.IPBlock).Spec.Node)
		}, never)).
		Watches(&v1alpha1.WorkloadEndpoint{}, byNode(func(o client.Object) (string, bool) {
			return r.ifGone(o.(*v1alpha1.WorkloadEndpoint).Spec.Node)
		}, never)).
		Complete(r)
}

// ifGone lets through the nodes that have no Node, so that endpoints of live ones cost nothing.
func (r *NodeReconciler) ifGone(node string) (string, bool) {
	var n corev1.Node
	err := r.Client.Get(context.Background(), client.ObjectKey{Name: node}, &n, client.UnsafeDisableDeepCopy)
	return node, err != nil
}

// byNode queues the node that an object names.
func byNode(node func(client.Object) (string, bool), matters func(before, after client.Object) bool) handler.EventHandler {
	add := func(o client.Object, q queue) {
		if name, ok := node(o); ok {
			q.Add(reconcile.Request{NamespacedName: client.ObjectKey{Name: name}})
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
