// Package nodes keeps one NodeNetwork for each Node, says when a node's agent is silent, and cleans up after Nodes that are gone.
// Nodes, leases and what bears a node's name come in. It gives no blocks out.
package nodes

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/conditions"
	"github.com/causeway-net/causeway/controllers/internal/meters"
)

// reasonSilent is the reason of a NodeNetwork's Ready condition whose agent does not renew its lease.
const reasonSilent = "AgentSilent"

// pauseForConflict is the time to the next try when somebody else has written an object meanwhile.
const pauseForConflict = time.Second

// annotationNode is on NodeNetworks whose Node this controller has seen, with its UID. One without it was made by a person, perhaps
// before its Node, and is never deleted.
const annotationNode = "causeway.dev/node-uid"

// Blocks are what other parts keep of nodes.
type Blocks interface {
	// HasLeft says whether blocks or endpoints of a node are there.
	HasLeft(node string) bool
	// DeleteAll deletes the blocks of a node that is gone.
	DeleteAll(ctx context.Context, node string) error
}

// Options are what a Reconciler needs.
type Options struct {
	Client  client.Client
	Live    client.Reader
	Events  events.EventRecorder
	Metrics prometheus.Registerer
	Now     func() time.Time
	Blocks  Blocks
	// LeaseDuration is how long a missing agent or Node is waited for where no Lease says it.
	LeaseDuration time.Duration
	// LivenessChanged is told that some agent has died or come to life. It must not block.
	LivenessChanged func()
}

// Reconciler looks after nodes. Its requests are node names, of Nodes that exist or not.
type Reconciler struct {
	o     Options
	pulse *Pulse
	gauge prometheus.Gauge

	mu      sync.Mutex
	missing map[string]time.Time // node -> since when its Node, or its lease, is missing
	agents  map[string]liveness
	strays  func(node string) // queues a node that has no Node
}

// liveness is how an agent was at the last look.
type liveness int

const (
	unheard liveness = iota + 1 // it has no lease yet
	live
	silent
)

// New returns a Reconciler. SetupWithManager must follow.
func New(o Options) (*Reconciler, error) {
	gauge, err := meters.Register(o.Metrics, prometheus.NewGauge(prometheus.GaugeOpts{Name: "causeway_agents_silent",
		Help: "Nodes whose agent has not renewed its Lease in time."}), nil)
	return &Reconciler{o: o, pulse: NewPulse(o.Now, o.LeaseDuration), gauge: gauge, missing: map[string]time.Time{}, agents: map[string]liveness{}}, err
}

// Pulse says which agents live.
func (r *Reconciler) Pulse() *Pulse { return r.pulse }

// +kubebuilder:rbac:groups=causeway.dev,resources=nodenetworks,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups=causeway.dev,resources=nodenetworks/status,verbs=get;update;patch
// +kubebuilder:rbac:groups=causeway.dev,resources=workloadendpoints;blockclaims;bgpnodestates,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;list;watch;create;update;patch;delete,namespace=causeway-system

// Reconcile looks after one node.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var node corev1.Node
	err := r.o.Client.Get(ctx, req.NamespacedName, &node)
	if apierrors.IsNotFound(err) {
		r.noteGone(req.Name)
		return r.departed(ctx, req.Name)
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("read node %s: %w", req.Name, err)
	}
	nn, err := r.ensure(ctx, &node)
	if err != nil {
		return reconcile.Result{}, err
	}
	again, err := r.liftTaint(ctx, &node, nn)
	if err != nil {
		return reconcile.Result{}, err
	}
	result, err := r.listen(ctx, nn)
	if again && err == nil {
		result.RequeueAfter = pauseForConflict
	}
	return result, err
}

// ensure makes the node's NodeNetwork, gives it the Node's labels, and marks it as that Node's.
func (r *Reconciler) ensure(ctx context.Context, node *corev1.Node) (*v1alpha1.NodeNetwork, error) {
	var nn v1alpha1.NodeNetwork
	err := r.o.Client.Get(ctx, client.ObjectKeyFromObject(node), &nn)
	before := nn.DeepCopy()
	nn.Labels = maps.Clone(node.Labels)
	metav1.SetMetaDataAnnotation(&nn.ObjectMeta, annotationNode, string(node.UID))
	switch {
	case apierrors.IsNotFound(err):
		nn.Name = node.Name
		if err := r.o.Client.Create(ctx, &nn); err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("create NodeNetwork %s: %w", node.Name, err)
		}
	case err != nil:
		return nil, fmt.Errorf("read NodeNetwork %s: %w", node.Name, err)
	case !maps.Equal(nn.Labels, before.Labels) || !maps.Equal(nn.Annotations, before.Annotations):
		if err := r.o.Client.Patch(ctx, &nn, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("give NodeNetwork %s its Node's labels: %w", node.Name, err)
		}
	}
	return &nn, nil
}

// listen says in the NodeNetwork when the agent's lease has run out.
func (r *Reconciler) listen(ctx context.Context, nn *v1alpha1.NodeNetwork) (reconcile.Result, error) {
	expires, leased := r.pulse.Expires(nn.Name)
	if leased {
		r.found(nn.Name)
	} else {
		expires = r.missingSince(nn.Name).Add(r.o.LeaseDuration)
	}
	now := r.o.Now()
	if now.Before(expires) {
		state := unheard
		if leased {
			state = live
		}
		r.note(nn.Name, state)
		return reconcile.Result{RequeueAfter: expires.Sub(now) + 10*time.Millisecond}, nil
	}
	r.note(nn.Name, silent)
	have := meta.FindStatusCondition(nn.Status.Conditions, v1alpha1.ConditionReady)
	if have != nil && have.Status == metav1.ConditionUnknown && have.Reason == reasonSilent {
		return reconcile.Result{}, nil
	}
	sentence := fmt.Sprintf("The agent of node %s has never renewed its lease; look at its pod in %s.", nn.Name, v1alpha1.SystemNamespace)
	if leased {
		sentence = fmt.Sprintf("The agent of node %s has not renewed its lease in time; look at its pod in %s and at the node.", nn.Name, v1alpha1.SystemNamespace)
	}
	before := nn.DeepCopy()
	nn.Status.Conditions = conditions.Set(nn.Status.Conditions, metav1.NewTime(now), metav1.Condition{Type: v1alpha1.ConditionReady,
		Status: metav1.ConditionUnknown, Reason: reasonSilent, Message: sentence, ObservedGeneration: nn.Generation})
	err := r.o.Client.Status().Patch(ctx, nn, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: pauseForConflict}, nil // The agent was writing too; it may be back.
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("say that the agent of node %s is silent: %w", nn.Name, err)
	}
	r.o.Events.Eventf(nn, nil, corev1.EventTypeWarning, reasonSilent, "WatchAgent", "%s", sentence)
	return reconcile.Result{}, nil
}

// lease reads an agent's lease from the API server; nil where there is none.
func (r *Reconciler) lease(ctx context.Context, node string) (*coordinationv1.Lease, error) {
	var lease coordinationv1.Lease
	err := r.o.Live.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.AgentLeasePrefix + node}, &lease)
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
func (r *Reconciler) missingSince(node string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.missing[node]; !known {
		r.missing[node] = r.o.Now()
	}
	return r.missing[node]
}

func (r *Reconciler) found(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.missing, node)
}

// note remembers how an agent is, and tells of a change.
func (r *Reconciler) note(node string, now liveness) {
	r.mu.Lock()
	was := r.agents[node]
	r.agents[node] = now
	r.count()
	r.mu.Unlock()
	if was != now {
		r.o.LivenessChanged()
	}
}

func (r *Reconciler) noteGone(node string) {
	r.mu.Lock()
	_, known := r.agents[node]
	delete(r.agents, node)
	r.count()
	r.mu.Unlock()
	if known {
		r.o.LivenessChanged()
	}
}

func (r *Reconciler) count() {
	n := 0
	for _, state := range r.agents {
		if state == silent {
			n++
		}
	}
	r.gauge.Set(float64(n))
}

func (r *Reconciler) isLive(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.agents[node] == live
}
