package controllers

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

const (
	// blocksAtOnce bounds one round, so that a pod that begins to wait meanwhile is seen soon.
	blocksAtOnce = 64
	// requestsAtOnce is the number of API requests in flight.
	requestsAtOnce = 8
	// memory is how long something is remembered that the cache should show by then.
	memory = 30 * time.Second
	// quarantine is how long a vanished block is given to nobody, so that endpoints in it show up first.
	quarantine = 5 * time.Second
)

// BlockReconciler gives blocks to nodes, takes released ones back, and keeps the others in order. There is one queue item
// for all: a round plans from the whole cache, in a few milliseconds, and applies.
type BlockReconciler struct {
	Client  client.Client
	Live    client.Reader
	Meters  *meters
	Now     func() time.Time
	Changed chan poolEvent

	// round is held while blocks are created, so that no pool goes away under them.
	round     sync.Mutex
	shortages shortages
	adopted   bool
	pending   map[netip.Prefix]created
	blocked   map[netip.Prefix]time.Time
	known     map[netip.Prefix]bool
	letGo     map[netip.Prefix]bool
}

type created struct {
	block blockplan.NewBlock
	at    time.Time
}

// +kubebuilder:rbac:groups=causeway.dev,resources=ippools;nodenetworks;blockclaims;workloadendpoints,verbs=get;list;watch
// +kubebuilder:rbac:groups=causeway.dev,resources=ipblocks,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch

// Reconcile runs one round.
func (r *BlockReconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	r.round.Lock()
	defer r.round.Unlock()
	state, err := r.read(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := r.Now()
	r.remember(now, state.ledger)
	plan := blockplan.Make(blockplan.Input{Ledger: state.ledger, Nodes: state.nodes, Pending: r.pendingBlocks(),
		Blocked: r.blockedPrefixes(), Exhausted: r.shortages.Names(), Budget: blocksAtOnce})
	for _, s := range plan.Shortages {
		r.Meters.failures.WithLabelValues(s.Pool).Inc()
	}
	r.announce(ctx, r.shortages.Update(now, state.ledger, plan))
	errs := errors.Join(r.create(ctx, plan.Create), r.release(ctx, plan.Release), r.mend(ctx, plan.Mend))
	if errs != nil {
		return reconcile.Result{}, errs
	}
	return reconcile.Result{RequeueAfter: r.next(plan)}, nil
}

// hasPending says whether blocks of a pool were created that the cache may not show yet. The caller holds round.
func (r *BlockReconciler) hasPending(pool string) bool {
	for _, p := range r.pending {
		if p.block.Pool == pool && r.Now().Sub(p.at) < memory {
			return true
		}
	}
	return false
}

func (r *BlockReconciler) next(plan blockplan.Plan) time.Duration {
	switch {
	case plan.More:
		return time.Millisecond
	case len(plan.Shortages) > 0 || len(r.blocked) > 0 || len(plan.Release) > 0:
		return time.Second
	case len(r.shortages.Names()) > 0 || len(r.pending) > 0:
		return 5 * time.Second
	}
	return 0
}

// announce tells the pools' reconciler; it looks at every pool from time to time anyway if the queue is full.
func (r *BlockReconciler) announce(ctx context.Context, pools []string) {
	for _, name := range pools {
		p := &v1alpha1.IPPool{}
		p.Name = name
		select {
		case r.Changed <- poolEvent{Object: p}:
		default:
			log.FromContext(ctx).V(1).Info("pool event dropped", "pool", name)
		}
	}
}

// remember brings what this process knows beyond the cache up to date.
func (r *BlockReconciler) remember(now time.Time, ledger *blockplan.Ledger) {
	if !r.adopted {
		r.adopted = true
		for _, p := range ledger.Pools {
			if c := meta.FindStatusCondition(p.Object.Status.Conditions, v1alpha1.ConditionExhausted); c != nil && c.Status == "True" {
				r.shortages.Adopt(p.Object.Name, c.Message, now)
			}
		}
	}
	if r.pending == nil {
		r.pending, r.blocked, r.letGo = map[netip.Prefix]created{}, map[netip.Prefix]time.Time{}, map[netip.Prefix]bool{}
	}
	for prefix, p := range r.pending {
		if ledger.Block(prefix) != nil || now.Sub(p.at) > memory {
			delete(r.pending, prefix)
		}
	}
	known := make(map[netip.Prefix]bool, len(ledger.Blocks))
	for _, b := range ledger.Blocks {
		known[b.Prefix] = true
	}
	for prefix := range r.known {
		if known[prefix] {
			continue
		}
		// A block that we let go was emptied by its node first; only others vanish by surprise.
		if !r.letGo[prefix] {
			r.blocked[prefix] = now.Add(quarantine)
		}
		delete(r.letGo, prefix)
	}
	r.known = known
	for prefix, until := range r.blocked {
		if now.After(until) || ledger.Block(prefix) != nil {
			delete(r.blocked, prefix)
		}
	}
}

func (r *BlockReconciler) pendingBlocks() []blockplan.NewBlock {
	var out []blockplan.NewBlock
	for _, p := range r.pending {
		out = append(out, p.block)
	}
	return out
}

func (r *BlockReconciler) blockedPrefixes() []netip.Prefix {
	var out []netip.Prefix
	for p := range r.blocked {
		out = append(out, p)
	}
	return out
}

type clusterState struct {
	ledger *blockplan.Ledger
	nodes  []blockplan.Node
}

// read takes the state from the cache.
func (r *BlockReconciler) read(ctx context.Context) (clusterState, error) {
	var pools v1alpha1.IPPoolList
	var blocks v1alpha1.IPBlockList
	var endpoints v1alpha1.WorkloadEndpointList
	var networks v1alpha1.NodeNetworkList
	var claims v1alpha1.BlockClaimList
	var nodes corev1.NodeList
	if err := listAll(ctx, r.Client, &pools, &blocks, &endpoints, &networks, &claims, &nodes); err != nil {
		return clusterState{}, err
	}
	present := map[string]*corev1.Node{}
	for i := range nodes.Items {
		present[nodes.Items[i].Name] = &nodes.Items[i]
	}
	asked := map[string][]v1alpha1.PoolClaim{}
	for i := range claims.Items {
		asked[claims.Items[i].Name] = claims.Items[i].Spec.Pools
	}
	s := clusterState{ledger: blockplan.Read(pools.Items, blocks.Items, endpoints.Items)}
	for i := range networks.Items {
		nn := &networks.Items[i]
		node := blockplan.Node{Name: nn.Name, Addresses: addressesOf(nn), Claims: asked[nn.Name]}
		if n := present[nn.Name]; n != nil {
			node.Present, node.Labels = true, n.Labels
		}
		s.nodes = append(s.nodes, node)
	}
	return s, nil
}

// addressesOf returns a node's own addresses, IPv4 first.
func addressesOf(nn *v1alpha1.NodeNetwork) []string {
	var addrs []netip.Addr
	for _, a := range nn.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			addrs = append(addrs, addr)
		} else if p, err := netip.ParsePrefix(a.Address); err == nil {
			addrs = append(addrs, p.Addr())
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	var out []string
	for _, a := range addrs {
		if len(out) < 2 {
			out = append(out, a.String())
		}
	}
	return out
}
