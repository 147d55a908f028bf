package cluster

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/causeway-net/causeway/internal/ipam/reservation"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// Change says what of the view has changed. Several can come together.
type Change uint

const (
	// PoolRoutes: what routing needs of a pool.
	PoolRoutes Change = 1 << iota
	// PoolUse: who may take addresses of a pool, and whether it has any.
	PoolUse
	// PoolCounters: how many addresses of a pool are in use.
	PoolCounters
	// OwnBlocks: the blocks of this node.
	OwnBlocks
	// OtherBlocks: the blocks of other nodes.
	OtherBlocks
	// Addresses: the addresses of nodes.
	Addresses
	// OwnNode: this node's Node.
	OwnNode
	// Namespaces: the labels of a namespace, or the pools that it names.
	Namespaces
	// Remembered: the addresses that are remembered for pods.
	Remembered

	everything = PoolRoutes | PoolUse | PoolCounters | OwnBlocks | OtherBlocks | Addresses | OwnNode | Namespaces | Remembered
)

// Origin says where a view comes from.
type Origin int

const (
	// Nowhere: nothing is known yet.
	Nowhere Origin = iota
	// Saved: the view is the last one of an earlier run.
	Saved
	// Live: the API server has told all there is.
	Live
)

// contents is what a view shows.
type contents struct {
	pools      map[string]Pool
	blocks     map[netip.Prefix]*Block
	lent       map[netip.Prefix][]netip.Prefix // block to the ranges of it that other nodes have
	networks   map[string][]netip.Prefix       // addresses, with the lengths of their subnets
	namespaces map[string]Namespace
	// reservations are the addresses that no pod gets, by the IPReservation's name.
	reservations map[string]*reservation.Set
	// remembered are the addresses that are remembered for pods of StatefulSets.
	remembered map[types.NamespacedName][]sticky.Address
	node       *Node
}

func newContents() *contents {
	return &contents{
		pools: map[string]Pool{}, blocks: map[netip.Prefix]*Block{}, lent: map[netip.Prefix][]netip.Prefix{}, networks: map[string][]netip.Prefix{}, namespaces: map[string]Namespace{},
		reservations: map[string]*reservation.Set{}, remembered: map[types.NamespacedName][]sticky.Address{},
	}
}

// View shows the cluster as values. It is safe for concurrent use; what it returns belongs to it and must not be changed.
// Until the API server has told all there is, it shows the checkpoint of an earlier run, if there is one.
type View struct {
	node    string
	changed func(Change)

	mu      sync.RWMutex
	origin  Origin
	shown   *contents // what callers see
	live    *contents // what the API server tells; the same as shown from Live on
	version uint64    // grows with each change of what is shown, namespaces and counters included

	blockLog     blockLog
	nodeNetworks *NodeNetworks // of shown; nil when out of date

	synced []toolscache.InformerSynced // set by Follow
}

// NewView returns an empty view of a node's agent. changed is told what changes. It must not block.
func NewView(node string, changed func(Change)) *View {
	live := newContents()
	return &View{node: node, changed: changed, shown: newContents(), live: live, blockLog: blockLog{base: 1}}
}

// Origin says where the view comes from.
func (v *View) Origin() Origin {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.origin
}

// Version grows with every change of what the view shows.
func (v *View) Version() uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.version
}

// Pools returns the pools, sorted by name.
func (v *View) Pools() []Pool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	out := make([]Pool, 0, len(v.shown.pools))
	for _, name := range slices.Sorted(maps.Keys(v.shown.pools)) {
		out = append(out, v.shown.pools[name])
	}
	return out
}

// Block returns one block.
func (v *View) Block(cidr netip.Prefix) (Block, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if b, ok := v.shown.blocks[cidr]; ok {
		return *b, true
	}
	return Block{}, false
}

// NodeWith returns the node that may give an address to a pod: the one that has borrowed it, else that of its block. It returns ""
// where no block holds the address. It looks at every block.
func (v *View) NodeWith(a netip.Addr) string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	node, bits := "", -1
	for cidr, b := range v.shown.blocks {
		if cidr.Bits() > bits && cidr.Contains(a) {
			node, bits = b.Node, cidr.Bits()
		}
	}
	return node
}

// OwnBlocks returns the blocks of this node, and the ranges that it has of those of others.
func (v *View) OwnBlocks() []Block {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var out []Block
	for _, b := range v.shown.blocks {
		if b.Node == v.node {
			out = append(out, *b)
		}
	}
	slices.SortFunc(out, func(a, b Block) int { return a.CIDR.Compare(b.CIDR) })
	return out
}

// Node returns this node's Node. It reports false where there is none.
func (v *View) Node() (Node, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.shown.node == nil {
		return Node{}, false
	}
	return *v.shown.node, true
}

// Namespace returns what is known of a namespace.
func (v *View) Namespace(name string) (Namespace, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	n, ok := v.shown.namespaces[name]
	return n, ok
}

// Reserved returns the addresses that IPReservations keep from all pods.
func (v *View) Reserved() *reservation.Set {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return reservation.Union(slices.Collect(maps.Values(v.shown.reservations))...)
}

// Remembered returns the addresses that are remembered for pods.
func (v *View) Remembered() map[types.NamespacedName][]sticky.Address {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return maps.Clone(v.shown.remembered)
}

// goLive shows what the API server has told from now on.
func (v *View) goLive() {
	v.mu.Lock()
	v.shown, v.origin = v.live, Live
	v.forget(everything)
	v.mu.Unlock()
	v.changed(everything)
}

// change applies what the API server tells. f says what has changed of what listeners use; 0 for nothing.
func (v *View) change(f func(*contents) Change) {
	v.mu.Lock()
	changed := f(v.live)
	live := v.origin == Live
	if live {
		v.forget(changed)
	}
	v.mu.Unlock()
	if live && changed != 0 {
		v.changed(changed)
	}
}

// forget drops lists that were made before a change.
func (v *View) forget(c Change) {
	v.version++
	if c == everything {
		v.blockLog.restart()
	}
	if c&Addresses != 0 {
		v.nodeNetworks = nil
	}
}

func (v *View) setPool(p Pool) {
	v.change(func(c *contents) Change {
		name := p.Route.Name
		before, known := c.pools[name]
		c.pools[name] = p
		var out Change
		if !known || !p.routesLike(before) {
			out |= PoolRoutes
		}
		if !known || !p.servesLike(before) {
			out |= PoolUse
		}
		if out == 0 {
			out = PoolCounters
		}
		return out
	})
}

func (v *View) dropPool(name string) {
	v.change(func(c *contents) Change {
		if _, known := c.pools[name]; !known {
			return 0
		}
		delete(c.pools, name)
		return PoolRoutes | PoolUse
	})
}

// setBlock notes a block, and the ranges of it that other nodes have. Where they say what the view shows already, k is made to point there.
func (v *View) setBlock(k *keptBlock) {
	v.change(func(c *contents) Change {
		out := v.put(c, &k.block)
		next := make([]netip.Prefix, 0, len(k.lent))
		for _, l := range k.lent {
			next = append(next, l.CIDR)
		}
		cidr := k.block.CIDR
		for _, before := range c.lent[cidr] {
			if !slices.Contains(next, before) {
				out |= v.remove(c, before)
			}
		}
		for i := range k.lent {
			out |= v.put(c, &k.lent[i])
		}
		if c.lent[cidr] = next; len(next) == 0 {
			delete(c.lent, cidr)
		}
		return out
	})
}

func (v *View) dropBlock(cidr netip.Prefix) {
	v.change(func(c *contents) Change {
		out := v.remove(c, cidr)
		for _, lent := range c.lent[cidr] {
			out |= v.remove(c, lent)
		}
		delete(c.lent, cidr)
		return out
	})
}

func (v *View) put(c *contents, at **Block) Change {
	b := *at
	before, known := c.blocks[b.CIDR]
	if known && b.equal(before) {
		*at = before
		return 0
	}
	c.blocks[b.CIDR] = b
	v.blockLog.add(b.CIDR)
	out := v.whose(b)
	if known {
		out |= v.whose(before)
	}
	return out
}

func (v *View) remove(c *contents, cidr netip.Prefix) Change {
	before, known := c.blocks[cidr]
	if !known {
		return 0
	}
	delete(c.blocks, cidr)
	v.blockLog.add(cidr)
	return v.whose(before)
}

func (v *View) whose(b *Block) Change {
	if b.Node == v.node {
		return OwnBlocks
	}
	return OtherBlocks
}

// setNetwork notes a node's addresses; none for a node that is gone or has not told any.
func (v *View) setNetwork(node string, addresses []netip.Prefix) {
	v.change(func(c *contents) Change {
		if slices.Equal(c.networks[node], addresses) {
			return 0
		}
		c.networks[node] = addresses
		if len(addresses) == 0 {
			delete(c.networks, node)
		}
		return Addresses
	})
}

func (v *View) setNode(n *Node) {
	v.change(func(c *contents) Change {
		if (n == nil) == (c.node == nil) && (n == nil || n.equal(*c.node)) {
			return 0
		}
		c.node = n
		return OwnNode
	})
}

// setReservation notes what an IPReservation reserves; nil for one that is gone.
func (v *View) setReservation(name string, s *reservation.Set) {
	v.change(func(c *contents) Change {
		if s.Equal(c.reservations[name]) {
			return 0
		}
		c.reservations[name] = s
		if s == nil {
			delete(c.reservations, name)
		}
		return PoolUse
	})
}

// setRemembered notes what is remembered for a pod; nil for nothing.
func (v *View) setRemembered(pod types.NamespacedName, addresses []sticky.Address) {
	v.change(func(c *contents) Change {
		if slices.Equal(c.remembered[pod], addresses) {
			return 0
		}
		c.remembered[pod] = addresses
		if len(addresses) == 0 {
			delete(c.remembered, pod)
		}
		return Remembered
	})
}

func (v *View) setNamespace(name string, n Namespace) {
	v.change(func(c *contents) Change {
		before, known := c.namespaces[name]
		if known && maps.Equal(before.Annotations, n.Annotations) && maps.Equal(before.Labels, n.Labels) {
			return 0
		}
		c.namespaces[name] = n
		return Namespaces
	})
}

func (v *View) dropNamespace(name string) {
	v.change(func(c *contents) Change {
		delete(c.namespaces, name)
		return Namespaces
	})
}
