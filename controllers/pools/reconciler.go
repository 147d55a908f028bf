// Package pools keeps the finalizers and statuses of IPPools, and decides when nodes may send with a new encapsulation. Pools, what
// nodes report in their BlockClaims, and the numbers of package blocks come in. It gives no blocks out.
package pools

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

// lookAgain is how often a pool that is not settled is looked at without any event.
const lookAgain = 5 * time.Second

// Blocks knows what is given out of the pools.
type Blocks interface {
	Synced() bool
	Summary(pool string) blockplan.Summary
	// Exhausted returns why a pool is exhausted, or nothing.
	Exhausted(pool string) string
	// Limited returns why nodes that have as many blocks of a pool as they may have need more, or nothing, and how many nodes.
	Limited(pool string) (sentence string, nodes int)
	// AggregatesFull returns why nodes of a group get no more blocks of a pool, or nothing.
	AggregatesFull(pool string) string
	// AtLimit returns the namespaces that have as many addresses of a pool as they may have, or more, in order.
	AtLimit(pool *v1alpha1.IPPool) []blockplan.NamespaceUse
	// Holders names the records of pods that have some addresses: "10.0.0.5 (workloadendpoint default/a-0123456789a)".
	Holders(addresses []netip.Addr) []string
	// WhileStill calls something while no block is being created, if the pool has none.
	WhileStill(pool string, do func() error) (bool, error)
}

// Agents knows which agents live.
type Agents interface {
	Live(node string) bool
	// Joining says whether an agent was heard of first a short time ago.
	Joining(node string) bool
}

// Options are what a Reconciler needs.
type Options struct {
	Client  client.Client
	Live    client.Reader
	Events  events.EventRecorder
	Metrics prometheus.Registerer
	Now     func() time.Time
	Blocks  Blocks
	Agents  Agents
	// Interval is the least time between two statuses while only numbers of addresses change.
	Interval time.Duration
}

// Reconciler keeps pools. Its requests are their names.
type Reconciler struct {
	o      Options
	meters meterSet
	pace   pace

	mu    sync.Mutex
	names map[string]bool // of the pools that there are
	wake  func(pool string)
}

// New returns a Reconciler. SetupWithManager must follow.
func New(o Options) (*Reconciler, error) {
	m, err := newMeters(o.Metrics)
	return &Reconciler{o: o, meters: m, pace: newPace(o.Interval), names: map[string]bool{}}, err
}

// +kubebuilder:rbac:groups=causeway.dev,resources=ippools,verbs=get;list;watch;update;patch
// +kubebuilder:rbac:groups=causeway.dev,resources=ippools/status,verbs=get;update;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch

// Reconcile brings one pool's status up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var object v1alpha1.IPPool
	if err := r.o.Client.Get(ctx, req.NamespacedName, &object); err != nil {
		if apierrors.IsNotFound(err) {
			r.meters.forget(req.Name)
			r.pace.forget(req.Name)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read pool %s: %w", req.Name, err)
	}
	if object.DeletionTimestamp.IsZero() && !slices.Contains(object.Finalizers, v1alpha1.FinalizerPool) {
		return reconcile.Result{}, r.hold(ctx, &object)
	}
	if !r.o.Blocks.Synced() {
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	if wait := r.pace.look(&object, r.o.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	facts, err := r.facts(ctx, &object)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !object.DeletionTimestamp.IsZero() && facts.Blocks == 0 && facts.Allocated == 0 {
		gone, err := r.letGo(ctx, &object)
		if gone || err != nil {
			return reconcile.Result{}, err
		}
	}
	status := Compute(facts)
	r.meters.pool(object.Name, &status, facts.LimitedNodes, len(facts.AtLimit))
	later, err := r.write(ctx, &object, status)
	if err != nil {
		return reconcile.Result{}, err
	}
	if unsettled := status.NodesReady != status.NodesTotal || !object.DeletionTimestamp.IsZero(); unsettled && (later == 0 || later > lookAgain) {
		later = lookAgain
	}
	return reconcile.Result{RequeueAfter: later}, nil
}

// hold adds our finalizer. Without it the pool gives nothing out.
func (r *Reconciler) hold(ctx context.Context, object *v1alpha1.IPPool) error {
	before := object.DeepCopy()
	object.Finalizers = append(object.Finalizers, v1alpha1.FinalizerPool)
	err := r.o.Client.Patch(ctx, object, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("add the finalizer to pool %s: %w", object.Name, err)
	}
	return nil
}

// letGo removes our finalizer from a deleted pool that nothing is left of. No block is created meanwhile, and the API server
// is asked once more, since another leader may have been at work.
func (r *Reconciler) letGo(ctx context.Context, object *v1alpha1.IPPool) (bool, error) {
	if !slices.Contains(object.Finalizers, v1alpha1.FinalizerPool) {
		return true, nil
	}
	left := false
	still, err := r.o.Blocks.WhileStill(object.Name, func() error {
		var blocks v1alpha1.IPBlockList
		if err := r.o.Live.List(ctx, &blocks); err != nil {
			return fmt.Errorf("list the blocks of pool %s: %w", object.Name, err)
		}
		left = slices.ContainsFunc(blocks.Items, func(b v1alpha1.IPBlock) bool { return b.Spec.Pool == object.Name })
		if left {
			return nil
		}
		before := object.DeepCopy()
		object.Finalizers = slices.DeleteFunc(object.Finalizers, func(f string) bool { return f == v1alpha1.FinalizerPool })
		err := r.o.Client.Patch(ctx, object, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("take the finalizer off pool %s: %w", object.Name, err)
		}
		return nil
	})
	return still && !left, err
}

// facts gathers what a status depends on.
func (r *Reconciler) facts(ctx context.Context, object *v1alpha1.IPPool) (Facts, error) {
	f := Facts{Object: object, Summary: r.o.Blocks.Summary(object.Name), Exhausted: r.o.Blocks.Exhausted(object.Name), Now: metav1.NewTime(r.o.Now())}
	f.Limited, f.LimitedNodes = r.o.Blocks.Limited(object.Name)
	f.AggregatesFull = r.o.Blocks.AggregatesFull(object.Name)
	f.AtLimit = r.o.Blocks.AtLimit(object)
	f.ReservedHolders = r.o.Blocks.Holders(f.ReservedInUse)
	var networks v1alpha1.NodeNetworkList
	var claims v1alpha1.BlockClaimList
	var nodes corev1.NodeList
	for _, l := range []client.ObjectList{&networks, &claims, &nodes} {
		if err := r.o.Client.List(ctx, l, client.UnsafeDisableDeepCopy); err != nil {
			return f, fmt.Errorf("list %T: %w", l, err)
		}
	}
	reports := make(map[string]*v1alpha1.BlockClaim, len(claims.Items))
	for i := range claims.Items {
		reports[claims.Items[i].Name] = &claims.Items[i]
	}
	able := make(map[string][]v1alpha1.Encapsulation, len(networks.Items))
	for i := range networks.Items {
		able[networks.Items[i].Name] = networks.Items[i].Status.Encapsulations
	}
	for i := range nodes.Items {
		name := nodes.Items[i].Name
		if !r.o.Agents.Live(name) {
			f.Silent++
			continue
		}
		f.Nodes = append(f.Nodes, nodeOf(object, name, able[name], reports[name], r.o.Agents.Joining(name)))
	}
	slices.SortFunc(f.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return f, nil
}

// nodeOf reads what a node says of a pool. What it said of an older pool of the same name does not count.
func nodeOf(object *v1alpha1.IPPool, name string, able []v1alpha1.Encapsulation, claim *v1alpha1.BlockClaim, joining bool) Node {
	n := Node{Name: name, Encapsulations: able, Joining: joining}
	if claim == nil {
		return n
	}
	for _, p := range claim.Status.Pools {
		if p.Pool == object.Name && p.PoolUID == string(object.UID) {
			n.ObservedGeneration, n.Sends, n.Joining = p.ObservedGeneration, p.Encapsulation, false
		}
	}
	return n
}

// write writes a status that differs, for exactly the spec that it was computed from. It returns after which time to look again, if
// what differs can wait.
func (r *Reconciler) write(ctx context.Context, object *v1alpha1.IPPool, status v1alpha1.IPPoolStatus) (time.Duration, error) {
	if wait := r.pace.write(object.Name, object.Status, status, r.o.Now()); wait != 0 {
		return max(wait, 0), nil
	}
	before := object.DeepCopy()
	object.Status = status
	err := r.o.Client.Status().Patch(ctx, object, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		r.pace.failed(object.Name)
	}
	if apierrors.IsConflict(err) {
		return lookAgain, nil // The cache is behind; the pool's next event brings us back.
	}
	if err != nil {
		return 0, fmt.Errorf("write the status of pool %s: %w", object.Name, err)
	}
	for _, c := range Happened(before.Status.Conditions, status.Conditions, v1alpha1.ConditionOverlapping, v1alpha1.ConditionConflicting, v1alpha1.ConditionExhausted,
		v1alpha1.ConditionNodesAtLimit, v1alpha1.ConditionAggregatesFull) {
		r.o.Events.Eventf(object, nil, corev1.EventTypeWarning, c.Type, "GiveOutAddresses", "%s", c.Message)
	}
	return 0, nil
}
