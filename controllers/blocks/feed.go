package blocks

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/internal/follow"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

const (
	now = 0
	// gather lets the endpoints and blocks of a storm come together for one round. Nodes that need a block at once say so.
	gather = 100 * time.Millisecond
	// The pauses between failed rounds are short: after the API server was away, pods wait for us.
	firstPause, longestPause = 10 * time.Millisecond, 3 * time.Second
)

// SetupWithManager says what changes the state, and when a round follows. The state is kept by a controller that does not lead,
// too, so that it can go on at once.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr manager.Manager) error {
	for _, watch := range []func(context.Context, cache.Cache) error{
		watched(r, r.pool), watched(r, r.reservation), watched(r, r.sticky), watched(r, r.block), watched(r, r.node), watched(r, r.network), watched(r, r.claim), r.followInfrastructure,
	} {
		if err := watch(ctx, mgr.GetCache()); err != nil {
			return err
		}
	}
	r.endpoints = newEndpoints(r)
	r.synced = append(r.synced, r.endpoints.hasSynced)
	if err := mgr.Add(r.endpoints); err != nil {
		return fmt.Errorf("add the watch of WorkloadEndpoints: %w", err)
	}
	started := source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		r.mu.Lock()
		r.queue = q
		r.mu.Unlock()
		q.Add(theRound)
		return nil
	})
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstPause, longestPause)
	return ctrl.NewControllerManagedBy(mgr).Named("blocks").WithOptions(controller.Options{RateLimiter: limiter}).
		WatchesRawSource(started).Complete(r)
}

// theRound is the only queue item.
var theRound = reconcile.Request{NamespacedName: client.ObjectKey{Name: "round"}}

// wake starts a round after a while. The caller holds mu. A controller that does not lead has no queue.
func (r *Reconciler) wake(after time.Duration) {
	if r.queue != nil {
		r.queue.AddAfter(theRound, after)
	}
}

// watched calls something, with mu held, for each change of a kind: with the object before and after it, or nil.
func watched[T any, P interface {
	*T
	client.Object
}](r *Reconciler, change func(before, after P)) func(context.Context, cache.Cache) error {
	locked := func(before, after P) {
		r.mu.Lock()
		defer r.mu.Unlock()
		change(before, after)
	}
	return func(ctx context.Context, c cache.Cache) error {
		synced, err := follow.Changes(ctx, c, locked)
		if err != nil {
			return err
		}
		r.synced = append(r.synced, synced)
		return nil
	}
}

func (r *Reconciler) pool(before, after *v1alpha1.IPPool) {
	if after == nil {
		r.state.DropPool(before.Name)
		r.meters.forget(before.Name)
		r.poolsChanged()
		r.wake(now)
		return
	}
	same := before != nil && before.UID == after.UID && before.Generation == after.Generation && slices.Equal(before.Finalizers, after.Finalizers) &&
		before.DeletionTimestamp.IsZero() == after.DeletionTimestamp.IsZero()
	p, err := blockplan.PoolOf(after)
	if same || err != nil { // The API server lets no other in.
		return
	}
	r.state.SetPool(p)
	r.poolsChanged()
	r.wake(now)
}

func (r *Reconciler) reservation(before, after *v1alpha1.IPReservation) {
	switch {
	case after == nil:
		r.state.SetReservation(before.Name, nil)
	case before == nil || !slices.Equal(before.Spec.Addresses, after.Spec.Addresses):
		set, _ := reservation.Parse(after.Spec.Addresses, netip.Prefix{}) // its status says what is wrong
		r.state.SetReservation(after.Name, set)
	default:
		return
	}
	r.poolsChanged()
	r.wake(now)
}

func (r *Reconciler) sticky(before, after *v1alpha1.StickyAddress) {
	named := after
	var next []sticky.Address
	if after == nil {
		named = before
	} else {
		next = sticky.Read(after).Addresses
	}
	r.state.SetRemembered(client.ObjectKeyFromObject(named), next)
	for _, pool := range named.Spec.Pools {
		r.o.PoolChanged(pool)
	}
	r.wake(gather)
}

func (r *Reconciler) block(before, after *v1alpha1.IPBlock) {
	named := after
	if after == nil {
		named = before
	}
	prefix, err := netip.ParsePrefix(named.Spec.CIDR)
	if err != nil {
		return // The API server lets none in.
	}
	if after == nil {
		r.state.DropBlock(prefix.Masked(), r.o.Now().Add(quarantine))
	} else {
		r.state.SetBlock(blockplan.Block{Prefix: prefix.Masked(), Pool: after.Spec.Pool, Node: after.Spec.Node, Addresses: after.Spec.NodeAddresses,
			Terminating: !after.DeletionTimestamp.IsZero(), Held: slices.Contains(after.Finalizers, v1alpha1.FinalizerBlock), Loans: blockplan.LoansOf(after), Object: after})
	}
	if before == nil || after == nil {
		r.o.PoolChanged(named.Spec.Pool)
	}
	r.wake(gather / 2)
}

func (r *Reconciler) node(before, after *corev1.Node) {
	switch {
	case after == nil:
		r.state.DropNode(before.Name)
		r.poolsChanged()
	case before == nil || !maps.Equal(before.Labels, after.Labels) || !slices.Equal(addressesOf(before), addressesOf(after)):
		r.state.SetNode(after.Name, after.Labels, addressesOf(after))
		r.poolsChanged()
	default:
		return
	}
	r.wake(now)
}

func addressesOf(n *corev1.Node) (out []netip.Addr) {
	for _, a := range n.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			out = append(out, addr.Unmap())
		}
	}
	return out
}

func (r *Reconciler) network(before, after *v1alpha1.NodeNetwork) {
	switch {
	case after == nil:
		r.state.SetFacts(before.Name, blockplan.Facts{})
	case before == nil || !slices.Equal(before.Status.Addresses, after.Status.Addresses):
		r.state.SetFacts(after.Name, factsOf(after))
	default:
		return
	}
	r.poolsChanged()
	r.wake(now)
}

func factsOf(n *v1alpha1.NodeNetwork) (f blockplan.Facts) {
	for _, a := range n.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			f.Addresses = append(f.Addresses, addr.Unmap())
		}
		if p, err := netip.ParsePrefix(a.Subnet); err == nil {
			f.Subnets = append(f.Subnets, p.Masked())
		}
	}
	return f
}

func (r *Reconciler) claim(before, after *v1alpha1.BlockClaim) {
	switch {
	case after == nil:
		r.state.SetClaim(before.Name, nil)
	case before == nil || !equality.Semantic.DeepEqual(before.Spec, after.Spec):
		r.state.SetClaim(after.Name, after.Spec.Pools)
	default:
		return
	}
	r.wake(now)
}

// poolsChanged tells of all pools: what they overlap and conflict with may have changed.
func (r *Reconciler) poolsChanged() {
	for _, name := range r.state.PoolNames() {
		r.o.PoolChanged(name)
	}
}

// followInfrastructure watches what pools must not touch, apart from the nodes.
func (r *Reconciler) followInfrastructure(ctx context.Context, c cache.Cache) error {
	parts := &fixed{}
	changed := func() {
		r.state.SetInfrastructure(parts.networks())
		r.poolsChanged()
		r.wake(now)
	}
	slices := watched(r, func(before, after *discoveryv1.EndpointSlice) {
		parts.setSlice(before, after)
		changed()
	})
	ranges := watched(r, func(before, after *networkingv1.ServiceCIDR) {
		parts.setRange(before, after)
		changed()
	})
	if err := slices(ctx, c); err != nil {
		return err
	}
	return ranges(ctx, c)
}
