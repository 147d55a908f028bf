package bgp

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

// Cache is what CachedObjects need of the caches of the API.
type Cache interface {
	List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error
	GetInformer(ctx context.Context, obj client.Object, opts ...cache.InformerGetOption) (cache.Informer, error)
}

// CachedObjects reads API objects from caches, and says when one that BGP uses has changed in a part that BGP uses.
type CachedObjects struct {
	node      string
	cache     Cache
	passwords *Passwords
	blocks    func() []bgpplan.Block // of this node, sorted
	loop      Waker

	watched map[string]bool // kinds that are watched from their first use on

	mu       sync.Mutex
	told     []bgpplan.Block // the blocks when BlocksChanged was called last
	cordoned bool
	// addresses are the last that each node said, by the NodeNetwork's UID: see lastAddresses.
	addresses map[string][]v1alpha1.NodeAddress
}

// Waker is told of changes. Loop is one.
type Waker interface {
	Wake()
	PodsChanged()
}

// NewCachedObjects returns the objects that a node's plan is made of. blocks returns what the node has of blocks, in the same order each
// time. Call Watch before the caches are started.
func NewCachedObjects(node string, c Cache, p *Passwords, blocks func() []bgpplan.Block) *CachedObjects {
	return &CachedObjects{node: node, cache: c, passwords: p, blocks: blocks, watched: map[string]bool{}, addresses: map[string][]v1alpha1.NodeAddress{}}
}

// Watch names the kinds that every plan needs, and what of them.
func (o *CachedObjects) Watch(ctx context.Context, w Waker) error {
	o.loop = w
	spec := func(before, after client.Object) bool { return before.GetGeneration() != after.GetGeneration() }
	for _, k := range []struct {
		object  client.Object
		differs func(before, after client.Object) bool
		use     func(o client.Object, gone bool)
	}{
		{&v1alpha1.BGPConfiguration{}, spec, nil},
		{&v1alpha1.BGPPeer{}, spec, nil},
		{&v1alpha1.BGPFilter{}, spec, nil},
		{&v1alpha1.IPPool{}, spec, nil},
		{&v1alpha1.NodeNetwork{}, peerFactsDiffer, nil},
		{&corev1.Node{}, func(client.Object, client.Object) bool { return true }, o.useNode},
	} {
		use := k.use
		if use == nil {
			use = func(client.Object, bool) { w.Wake() }
		}
		if err := o.handle(ctx, k.object, k.differs, use); err != nil {
			return err
		}
	}
	return nil
}

// handle calls use for objects that come, change or go.
func (o *CachedObjects) handle(ctx context.Context, object client.Object, differs func(before, after client.Object) bool, use func(client.Object, bool)) error {
	informer, err := o.cache.GetInformer(ctx, object)
	if err != nil {
		return fmt.Errorf("watch %T: %w", object, err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(a any) {
			if after, ok := a.(client.Object); ok {
				use(after, false)
			}
		},
		UpdateFunc: func(b, a any) {
			before, ok := b.(client.Object)
			after, alsoOK := a.(client.Object)
			if ok && alsoOK && differs(before, after) {
				use(after, false)
			}
		},
		DeleteFunc: func(b any) {
			if tombstone, ok := b.(toolscache.DeletedFinalStateUnknown); ok {
				b = tombstone.Obj
			}
			if before, ok := b.(client.Object); ok {
				use(before, true)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch %T: %w", object, err)
	}
	return nil
}

// peerFactsDiffer compares what sessions need of a NodeNetwork.
func peerFactsDiffer(before, after client.Object) bool {
	b, ok := before.(*v1alpha1.NodeNetwork)
	a, alsoOK := after.(*v1alpha1.NodeNetwork)
	return !ok || !alsoOK || b.Generation != a.Generation || !maps.Equal(b.Labels, a.Labels) || !slices.Equal(b.Status.Addresses, a.Status.Addresses)
}

// BlocksChanged says that the blocks of this node, or the ranges that it has of those of others, may be different ones.
func (o *CachedObjects) BlocksChanged() {
	now := o.blocks()
	o.mu.Lock()
	same := slices.Equal(o.told, now)
	o.told = now
	o.mu.Unlock()
	if !same {
		o.loop.Wake()
	}
}

// useNode keeps whether the own Node is cordoned. The cache has no other.
func (o *CachedObjects) useNode(object client.Object, gone bool) {
	n, ok := object.(*corev1.Node)
	if !ok || n.Name != o.node {
		return
	}
	cordoned := n.Spec.Unschedulable && !gone
	o.mu.Lock()
	differs := o.cordoned != cordoned
	o.cordoned = cordoned
	o.mu.Unlock()
	if differs {
		o.loop.PodsChanged()
	}
}

// Wait implements Objects.
func (o *CachedObjects) Wait() { o.passwords.Wait() }

// Cordoned implements Objects.
func (o *CachedObjects) Cordoned(context.Context) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cordoned
}

// Read implements Objects.
func (o *CachedObjects) Read(ctx context.Context) (bgpplan.Input, error) {
	in := bgpplan.Input{Node: o.node}
	var configurations v1alpha1.BGPConfigurationList
	var peers v1alpha1.BGPPeerList
	var filters v1alpha1.BGPFilterList
	var nodes v1alpha1.NodeNetworkList
	var pools v1alpha1.IPPoolList
	for _, list := range []client.ObjectList{&configurations, &peers, &filters, &nodes, &pools} {
		if err := o.cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return in, fmt.Errorf("list %T: %w", list, err)
		}
	}
	for i := range configurations.Items {
		if configurations.Items[i].Name == "default" {
			in.Configuration = &configurations.Items[i]
		}
	}
	in.Peers, in.Filters, in.NodeNetworks = peers.Items, filters.Items, o.lastAddresses(nodes.Items)
	for _, p := range pools.Items {
		if cidr, err := netip.ParsePrefix(p.Spec.CIDR); err == nil { // the API admits no other
			in.Pools = append(in.Pools, bgpplan.Pool{Name: p.Name, CIDR: cidr, Export: !p.Spec.DisableBGPExport})
		}
	}
	in.Blocks = o.blocks()
	if err := o.readServices(ctx, &in); err != nil {
		return in, err
	}
	var err error
	in.Passwords, err = o.passwords.Read(ctx, bgpplan.SecretsOf(in), o.loop.Wake)
	return in, err
}

// lastAddresses gives a node that says no addresses the last ones that it said. A node that lives has addresses: an agent
// that can't see its own for a moment must not end its sessions on both sides.
func (o *CachedObjects) lastAddresses(nodes []v1alpha1.NodeNetwork) []v1alpha1.NodeNetwork {
	kept := make(map[string][]v1alpha1.NodeAddress, len(nodes))
	for i := range nodes {
		n := &nodes[i] // the list is our own, what it points to is not
		uid := string(n.UID)
		if len(n.Status.Addresses) == 0 {
			n.Status.Addresses = o.addresses[uid]
		}
		kept[uid] = n.Status.Addresses
	}
	o.addresses = kept
	return nodes
}

// readServices watches Services only where their addresses are announced.
func (o *CachedObjects) readServices(ctx context.Context, in *bgpplan.Input) error {
	c := in.Configuration
	if c == nil || len(c.Spec.ServiceClusterIPs)+len(c.Spec.ServiceExternalIPs)+len(c.Spec.ServiceLoadBalancerIPs) == 0 {
		return nil
	}
	var services corev1.ServiceList
	var endpoints discoveryv1.EndpointSliceList
	if err := o.follow(ctx, &corev1.Service{}, &services); err != nil {
		return err
	}
	if err := o.follow(ctx, &discoveryv1.EndpointSlice{}, &endpoints); err != nil {
		return err
	}
	in.Services, in.EndpointSlices = services.Items, endpoints.Items
	return nil
}

// follow lists a kind from the cache, and watches it from its first use on.
func (o *CachedObjects) follow(ctx context.Context, object client.Object, list client.ObjectList) error {
	kind := fmt.Sprintf("%T", object)
	if !o.watched[kind] {
		differs := func(before, after client.Object) bool { return !equality.Semantic.DeepEqual(before, after) }
		if err := o.handle(ctx, object, differs, func(client.Object, bool) { o.loop.Wake() }); err != nil {
			return err
		}
		o.watched[kind] = true
	}
	if err := o.cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list %s: %w", kind, err)
	}
	return nil
}
