package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/poolstatus"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

// lookAgain is how often a pool that is not settled is looked at without any event.
const lookAgain = 5 * time.Second

// PoolReconciler keeps the pools' finalizer and status.
type PoolReconciler struct {
	Client   client.Client
	Live     client.Reader
	Events   events.EventRecorder
	Meters   *meters
	Now      func() time.Time
	Pulse    *pulse
	Blocks   *BlockReconciler
	Interval time.Duration

	mu     sync.Mutex
	looked map[string]time.Time
}

// +kubebuilder:rbac:groups=causeway.dev,resources=ippools,verbs=get;list;watch;update;patch
// +kubebuilder:rbac:groups=causeway.dev,resources=ippools/status,verbs=get;update;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch

// Reconcile brings one pool's status up to date, at most once an interval while only numbers change.
func (r *PoolReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var object v1alpha1.IPPool
	if err := r.Client.Get(ctx, req.NamespacedName, &object); err != nil {
		if apierrors.IsNotFound(err) {
			r.Meters.forget(req.Name)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read pool %s: %w", req.Name, err)
	}
	if object.DeletionTimestamp.IsZero() && !slices.Contains(object.Finalizers, v1alpha1.FinalizerPool) {
		return reconcile.Result{}, r.hold(ctx, &object)
	}
	if wait := r.tooSoon(&object); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	facts, err := r.facts(ctx, &object)
	if err != nil || facts.Pool == nil {
		return reconcile.Result{}, err
	}
	if !object.DeletionTimestamp.IsZero() && facts.Pool.Blocks == 0 && facts.Pool.Allocated == 0 {
		gone, err := r.letGo(ctx, &object)
		if gone || err != nil {
			return reconcile.Result{}, err
		}
	}
	status := poolstatus.Compute(facts)
	r.Meters.pool(object.Name, &status)
	if err := r.write(ctx, &object, status); err != nil {
		return reconcile.Result{}, err
	}
	if status.NodesReady != status.NodesTotal || !object.DeletionTimestamp.IsZero() {
		return reconcile.Result{RequeueAfter: lookAgain}, nil
	}
	return reconcile.Result{}, nil
}

func (r *PoolReconciler) tooSoon(object *v1alpha1.IPPool) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.looked == nil {
		r.looked = map[string]time.Time{}
	}
	now := r.Now()
	interval := r.Interval
	if object.Status.Encapsulation != object.Spec.Encapsulation || object.Status.NodesReady != object.Status.NodesTotal {
		interval /= 50 // nodes wait for each other: every step of a mode change counts
	}
	wait := interval - now.Sub(r.looked[object.Name])
	if wait > 0 && object.Status.ObservedGeneration == object.Generation {
		return wait
	}
	r.looked[object.Name] = now
	return 0
}

// hold adds our finalizer. Without it the pool gives nothing out.
func (r *PoolReconciler) hold(ctx context.Context, object *v1alpha1.IPPool) error {
	before := object.DeepCopy()
	object.Finalizers = append(object.Finalizers, v1alpha1.FinalizerPool)
	err := r.Client.Patch(ctx, object, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("add the finalizer to pool %s: %w", object.Name, err)
	}
	return nil
}

// letGo removes our finalizer from a deleted pool that nothing is left of. No round of blocks runs meanwhile, and the API
// server is asked once more, since another leader may have been at work.
func (r *PoolReconciler) letGo(ctx context.Context, object *v1alpha1.IPPool) (bool, error) {
	if !slices.Contains(object.Finalizers, v1alpha1.FinalizerPool) {
		return true, nil
	}
	r.Blocks.round.Lock()
	defer r.Blocks.round.Unlock()
	if r.Blocks.hasPending(object.Name) {
		return false, nil
	}
	var blocks v1alpha1.IPBlockList
	if err := r.Live.List(ctx, &blocks); err != nil {
		return false, fmt.Errorf("list the blocks of pool %s: %w", object.Name, err)
	}
	for i := range blocks.Items {
		if blocks.Items[i].Spec.Pool == object.Name {
			return false, nil
		}
	}
	before := object.DeepCopy()
	object.Finalizers = slices.DeleteFunc(object.Finalizers, func(f string) bool { return f == v1alpha1.FinalizerPool })
	err := r.Client.Patch(ctx, object, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("take the finalizer off pool %s: %w", object.Name, err)
	}
	return true, nil
}

func (r *PoolReconciler) facts(ctx context.Context, object *v1alpha1.IPPool) (poolstatus.Facts, error) {
	var pools v1alpha1.IPPoolList
	var blocks v1alpha1.IPBlockList
	var endpoints v1alpha1.WorkloadEndpointList
	if err := listAll(ctx, r.Client, &pools, &blocks, &endpoints); err != nil {
		return poolstatus.Facts{}, err
	}
	// What we have just changed counts, not what the cache still shows.
	items := slices.Clone(pools.Items)
	for i := range items {
		if items[i].UID == object.UID {
			items[i] = *object
		}
	}
	ledger := blockplan.Read(items, blocks.Items, endpoints.Items)
	nodes, err := r.liveNodes(ctx, object)
	return poolstatus.Facts{Pool: ledger.Pool(object.Name), Nodes: nodes,
		Exhausted: r.Blocks.shortages.Sentence(object.Name), Now: metav1.NewTime(r.Now())}, err
}

// liveNodes are the nodes whose agent renews its lease.
func (r *PoolReconciler) liveNodes(ctx context.Context, pool *v1alpha1.IPPool) ([]poolstatus.Node, error) {
	var networks v1alpha1.NodeNetworkList
	var claims v1alpha1.BlockClaimList
	var leases coordinationv1.LeaseList
	var nodes corev1.NodeList
	if err := listAll(ctx, r.Client, &networks, &claims, &leases, &nodes); err != nil {
		return nil, err
	}
	present, live := map[string]bool{}, map[string]bool{}
	for i := range nodes.Items {
		present[nodes.Items[i].Name] = true
	}
	reports := map[string][]v1alpha1.PoolReport{}
	for i := range claims.Items {
		reports[claims.Items[i].Name] = claims.Items[i].Status.Pools
	}
	now := r.Now()
	for i := range leases.Items {
		if node, ok := nodeOfLease(&leases.Items[i]); ok {
			live[node] = r.Pulse.Expires(&leases.Items[i]).After(now)
		}
	}
	var out []poolstatus.Node
	for i := range networks.Items {
		nn := &networks.Items[i]
		if !present[nn.Name] || !live[nn.Name] {
			continue
		}
		n := poolstatus.Node{Name: nn.Name, Encapsulations: nn.Status.Encapsulations}
		for _, p := range reports[nn.Name] {
			if p.Pool == pool.Name && p.PoolUID == string(pool.UID) {
				n.ObservedGeneration, n.Sends = p.ObservedGeneration, p.Encapsulation
			}
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b poolstatus.Node) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// write writes a status that differs, for exactly the spec that it was computed from.
func (r *PoolReconciler) write(ctx context.Context, object *v1alpha1.IPPool, status v1alpha1.IPPoolStatus) error {
	if equality.Semantic.DeepEqual(object.Status, status) {
		return nil
	}
	before := object.DeepCopy()
	object.Status = status
	err := r.Client.Status().Patch(ctx, object, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		r.forgetLook(object.Name)
	}
	if apierrors.IsConflict(err) {
		return nil // The cache is behind; the pool's next event brings us back.
	}
	if err != nil {
		return fmt.Errorf("write the status of pool %s: %w", object.Name, err)
	}
	for _, c := range poolstatus.Happened(before.Status.Conditions, status.Conditions, v1alpha1.ConditionOverlapping, v1alpha1.ConditionExhausted) {
		r.Events.Eventf(object, nil, corev1.EventTypeWarning, c.Type, "GiveOutAddresses", "%s", c.Message)
	}
	return nil
}

func (r *PoolReconciler) forgetLook(pool string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.looked, pool)
}

// SetupWithManager says what wakes the reconciler.
func (r *PoolReconciler) SetupWithManager(mgr manager.Manager) error {
	all := func() []reconcile.Request {
		var pools v1alpha1.IPPoolList
		if err := listAll(context.Background(), r.Client, &pools); err != nil {
			return nil // The cache is not up yet; every pool's own first event comes with it.
		}
		var out []reconcile.Request
		for i := range pools.Items {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&pools.Items[i])})
		}
		return out
	}
	const soon = 20 * time.Millisecond
	return ctrl.NewControllerManagedBy(mgr).Named("pools").
		WithOptions(retries()).
		For(&v1alpha1.IPPool{}).
		Watches(&v1alpha1.IPPool{}, onChange(all, soon, func(before, after client.Object) bool { return before.GetGeneration() != after.GetGeneration() })).
		Watches(&v1alpha1.IPBlock{}, byPool(soon)).
		Watches(&v1alpha1.WorkloadEndpoint{}, byPool(soon)).
		Watches(&v1alpha1.NodeNetwork{}, onChange(all, soon, func(before, after client.Object) bool {
			return !slices.Equal(before.(*v1alpha1.NodeNetwork).Status.Encapsulations, after.(*v1alpha1.NodeNetwork).Status.Encapsulations)
		})).
		Watches(&v1alpha1.BlockClaim{}, reportedPools(soon)).
		Watches(&coordinationv1.Lease{}, onChange(all, soon, func(_, _ client.Object) bool { return false })).
		Watches(&corev1.Node{}, onChange(all, soon, func(_, _ client.Object) bool { return false })).
		WatchesRawSource(source.Channel(r.Blocks.Changed, handler.TypedFuncs[*v1alpha1.IPPool, reconcile.Request]{
			GenericFunc: func(_ context.Context, e poolEvent, q queue) {
				q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.Object)})
			},
		})).
		Complete(r)
}

// byPool queues the pools that a block or an endpoint names.
func byPool(delay time.Duration) handler.EventHandler {
	add := func(o client.Object, q queue) {
		var names []string
		switch o := o.(type) {
		case *v1alpha1.IPBlock:
			names = []string{o.Spec.Pool}
		case *v1alpha1.WorkloadEndpoint:
			names = o.Spec.Pools
		}
		for _, name := range names {
			q.AddAfter(reconcile.Request{NamespacedName: client.ObjectKey{Name: name}}, delay)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(e.Object, q) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(e.Object, q) },
	}
}

// reportedPools queues the pools of which a node says something else than before. How many addresses it has free matters to nobody here.
func reportedPools(delay time.Duration) handler.EventHandler {
	add := func(q queue, before, after []v1alpha1.PoolReport) {
		for _, pool := range changedReports(before, after) {
			q.AddAfter(reconcile.Request{NamespacedName: client.ObjectKey{Name: pool}}, delay)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			add(q, nil, e.Object.(*v1alpha1.BlockClaim).Status.Pools)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			add(q, e.Object.(*v1alpha1.BlockClaim).Status.Pools, nil)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			add(q, e.ObjectOld.(*v1alpha1.BlockClaim).Status.Pools, e.ObjectNew.(*v1alpha1.BlockClaim).Status.Pools)
		},
	}
}

// changedReports returns the names of the pools of which two reports of a node differ in more than counters.
func changedReports(before, after []v1alpha1.PoolReport) []string {
	said := map[string]v1alpha1.PoolReport{}
	for _, p := range before {
		p.Free = 0
		said[p.Pool] = p
	}
	var out []string
	for _, p := range after {
		p.Free = 0
		if said[p.Pool] != p {
			out = append(out, p.Pool)
		}
		delete(said, p.Pool)
	}
	for pool := range said {
		out = append(out, pool)
	}
	return out
}
