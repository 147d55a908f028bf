// Package blocks gives blocks of pools to nodes, takes released ones back, and keeps the others in order. What the watches show
// comes in, one change at a time; package blockplan decides; IPBlocks are created, changed and deleted. It writes nothing else.
package blocks

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
)

const (
	// atOnce bounds one round, so that a pod that begins to wait meanwhile is seen soon.
	atOnce = 64
	// memory is how long a name is left alone that turned out to exist; the watch should show it by then.
	memory = 30 * time.Second
	// quarantine is how long a vanished block is given to nobody else, so that endpoints in it show up first.
	quarantine = 5 * time.Second
	// syncPause is the time between two looks whether the watches have shown everything.
	syncPause = 20 * time.Millisecond
)

// Options are what a Reconciler needs.
type Options struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Live asks the API server.
	Live client.Reader
	// Endpoints are the WorkloadEndpoints. They do not go through the cache: of each, a few words are kept.
	Endpoints EndpointSource
	Metrics   prometheus.Registerer
	Now       func() time.Time
	// PoolChanged is told which pools' numbers or conflicts may have changed. It must not block.
	PoolChanged func(pool string)
	// Recorded is told of each record that comes or goes, with the pod's name where it is of the interface that Kubernetes shows. It must not
	// block or call the Reconciler.
	Recorded func(record types.NamespacedName, pod string, endpoint blockplan.Endpoint, there bool)
	// Stuck is told, again and again, of addresses that are remembered for a pod and can't come to the node that asks for them. It must not block.
	Stuck func([]blockplan.Stuck)
	// Stray is told, again and again, of nodes that have blocks or endpoints but no Node. It must not block.
	Stray func(node string)
}

// EndpointSource reads WorkloadEndpoints from the API server.
type EndpointSource interface {
	// ListEndpoints calls each for every endpoint that is there now, with its name, namespace, pod, interface, node, addresses and pools at least, and
	// returns the version of what it has read. each must not keep what it is given. If there is an error, some may be missing.
	ListEndpoints(ctx context.Context, each func(*v1alpha1.WorkloadEndpoint)) (version string, err error)
	// WatchEndpoints tells of changes.
	WatchEndpoints(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// Reconciler plans and carries out, one round at a time. There is one queue item for all.
type Reconciler struct {
	o      Options
	meters meterSet

	// synced are the watches that must have shown everything before the first round.
	synced []cache.InformerSynced

	// round is held while blocks are created, so that no pool goes away under them.
	round     turn
	shortages shortages
	limits    shortages // of what one node may have
	full      shortages // of what the prefixes of one group of nodes hold
	adopted   bool

	mu        sync.Mutex // of what follows
	state     *blockplan.State
	endpoints *endpoints
	queue     workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// New returns a Reconciler. SetupWithManager must follow.
func New(o Options) (*Reconciler, error) {
	m, err := newMeters(o.Metrics)
	if err != nil {
		return nil, err
	}
	return &Reconciler{o: o, meters: m, state: blockplan.New(), round: newTurn()}, nil
}

// +kubebuilder:rbac:groups=causeway.dev,resources=ippools;ipreservations;stickyaddresses;nodenetworks;blockclaims;workloadendpoints,verbs=get;list;watch
// +kubebuilder:rbac:groups=causeway.dev,resources=ipblocks,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=servicecidrs,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch,namespace=default

// Reconcile runs one round.
func (r *Reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if !r.Synced() {
		return reconcile.Result{RequeueAfter: syncPause}, nil
	}
	r.round.Lock()
	defer r.round.Unlock()
	if err := r.adopt(ctx); err != nil {
		return reconcile.Result{}, err
	}
	now := r.o.Now()
	plan, strays := r.plan(now)
	for _, s := range plan.Shortages {
		r.meters.failures.WithLabelValues(s.Pool).Inc()
	}
	for _, pool := range slices.Concat(r.shortages.update(now, r.isPool, exhausted(plan), plan.Ample), r.limits.update(now, r.isPool, limited(plan), nil),
		r.full.update(now, r.isPool, fullAggregates(plan), nil)) {
		r.o.PoolChanged(pool)
	}
	r.o.Stuck(plan.Stuck)
	for _, node := range strays {
		r.o.Stray(node)
	}
	errs := errors.Join(r.create(ctx, plan.Create), r.release(ctx, plan.Release), r.mend(ctx, plan.Mend), r.lend(ctx, plan.Lend))
	if errs != nil {
		return reconcile.Result{}, errs
	}
	return reconcile.Result{RequeueAfter: r.next(plan)}, nil
}

func (r *Reconciler) plan(now time.Time) (blockplan.Plan, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Plan(blockplan.Turn{Now: now, Exhausted: r.shortages.names(), Budget: atOnce}), r.state.Strays()
}

func (r *Reconciler) isPool(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.HasPool(name)
}

func (r *Reconciler) next(plan blockplan.Plan) time.Duration {
	switch {
	case plan.More:
		return time.Millisecond
	case len(plan.Shortages) > 0 || plan.Again || len(plan.Release) > 0:
		return time.Second
	case len(r.shortages.names()) > 0 || len(r.limits.names()) > 0 || len(r.full.names()) > 0:
		return 5 * time.Second
	}
	return 0
}

// adopt takes over, once, what an earlier leader wrote into the pools' statuses.
func (r *Reconciler) adopt(ctx context.Context) error {
	if r.adopted {
		return nil
	}
	var pools v1alpha1.IPPoolList
	if err := r.o.Client.List(ctx, &pools, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list pools: %w", err)
	}
	remembered := map[string]*shortages{v1alpha1.ConditionExhausted: &r.shortages, v1alpha1.ConditionNodesAtLimit: &r.limits, v1alpha1.ConditionAggregatesFull: &r.full}
	for i := range pools.Items {
		for kind, into := range remembered {
			c := meta.FindStatusCondition(pools.Items[i].Status.Conditions, kind)
			if c != nil && c.Status == "True" {
				into.adopt(pools.Items[i].Name, c.Message, r.o.Now())
			}
		}
	}
	r.adopted = true
	return nil
}

// Summary returns what is known of a pool.
func (r *Reconciler) Summary(pool string) blockplan.Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Summary(pool)
}

// Holders names the records of pods that have some addresses: "10.0.0.5 (workloadendpoint default/a-0123456789a)".
func (r *Reconciler) Holders(addresses []netip.Addr) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.endpoints.holders(addresses)
}

// Record names the record of the pod that has an address.
func (r *Reconciler) Record(a netip.Addr) (types.NamespacedName, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, one := range r.endpoints.known {
		if one.Has(a) {
			return name, true
		}
	}
	return types.NamespacedName{}, false
}

// IsInUse says whether a record shows an address in use.
func (r *Reconciler) IsInUse(a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.IsInUse(a)
}

// Owns says whether an address lies in a block, or a range, that a node has of a pool.
func (r *Reconciler) Owns(node, pool string, a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Owns(node, pool, a)
}

// InUse returns a few of the addresses of a set that pods have, and how many there are.
func (r *Reconciler) InUse(set *reservation.Set) ([]netip.Addr, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v4, n4 := r.state.InUse(set, netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	v6, n6 := r.state.InUse(set, netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	return append(v4, v6...), n4 + n6
}

// Exhausted returns why a pool is exhausted, or nothing.
func (r *Reconciler) Exhausted(pool string) string {
	sentence, _ := r.shortages.of(pool)
	return sentence
}

// Limited returns why nodes that have as many blocks of a pool as they may have need more, or nothing, and how many nodes.
func (r *Reconciler) Limited(pool string) (string, int) { return r.limits.of(pool) }

// AggregatesFull returns why nodes of a group get no more blocks of a pool, or nothing.
func (r *Reconciler) AggregatesFull(pool string) string {
	sentence, _ := r.full.of(pool)
	return sentence
}

// AtLimit returns the namespaces that have as many addresses of a pool as they may have, or more, in order.
func (r *Reconciler) AtLimit(pool *v1alpha1.IPPool) []blockplan.NamespaceUse {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.AtLimit(pool)
}

// Synced says whether all watches have shown everything once, so that summaries are whole.
func (r *Reconciler) Synced() bool {
	for _, synced := range r.synced {
		if !synced() {
			return false
		}
	}
	return true
}

// WhileStill calls something while no block is being created, if a pool has no block that this process knows of.
func (r *Reconciler) WhileStill(pool string, do func() error) (bool, error) {
	r.round.Lock()
	defer r.round.Unlock()
	if r.Summary(pool).Blocks > 0 {
		return false, nil
	}
	return true, do()
}

// HasLeft says whether blocks or endpoints of a node are there.
func (r *Reconciler) HasLeft(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.HasLeft(node)
}
