package addressbook

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/ipam/reservation"
)

// State is how far an endpoint has come.
type State int

const (
	// Reserved: its ADD is under way. Its link and route may or may not be there.
	Reserved State = iota
	// Ready: link and route are there. The record is there, or on its way.
	Ready
	// Releasing: its DEL is under way. Link or record may still be there, so the addresses are not free.
	Releasing
)

// String returns the state as people read it.
func (s State) String() string {
	switch s {
	case Reserved:
		return "Reserved"
	case Ready:
		return "Ready"
	case Releasing:
		return "Releasing"
	}
	return "unknown"
}

// Endpoint is one interface of one pod, with its addresses.
type Endpoint struct {
	// Interface is the name of the host end, and the endpoint's key.
	Interface string
	// Namespace, Pod, PodUID, ContainerID, ContainerInterface, Network and NetworkNamespace say whose it is.
	Namespace, Pod, PodUID, ContainerID, ContainerInterface, Network, NetworkNamespace string
	// MAC is the hardware address in the pod.
	MAC string
	// Addresses has one address for each family, Pools the name of each one's pool.
	Addresses []netip.Addr
	Pools     []string
	State     State
	// Since is when the endpoint came into its state. For an adopted endpoint it is when its record was written, so that
	// the newer of two sandboxes of a pod is known after a restart too.
	Since time.Time
}

// Pool is what the book must know of an IPPool.
type Pool struct {
	Name string
	CIDR netip.Prefix
	// Usable is false when the node may take no new address from the pool: it is disabled, overlapping or terminating,
	// or its nodeSelector leaves this node out.
	Usable bool
	// Reserve is false for pools from which addresses are taken only when a pod asks (assignmentMode Manual).
	Reserve bool
	// Exhausted is true when the pool has no block left for a node that asked.
	Exhausted bool
	// Spare is true while other nodes have free addresses of the pool. They give empty blocks back where it is exhausted.
	Spare bool
	// BlockCapacity is the number of addresses that pods can have of one block.
	BlockCapacity int
	// MaxBlocks is the largest number of blocks that the node may have of the pool; 0 for no bound.
	MaxBlocks int
	// Reserved addresses are given to nobody. Pods that have one keep it.
	Reserved *reservation.Set
	// Namespaces bound what one namespace may have. Nil for no limit.
	Namespaces *NamespaceLimits
	// BlockBits is the prefix length of its blocks.
	BlockBits int
	// Travels says that an address that a pod asks for may come from another node's block, or from none.
	Travels bool
}

func (p Pool) equal(o Pool) bool {
	same := p.Reserved.Equal(o.Reserved) && p.Namespaces.Equal(o.Namespaces)
	p.Reserved, o.Reserved, p.Namespaces, o.Namespaces = nil, nil, nil, nil
	return same && p == o
}

// Block is one of the node's own IPBlocks, or a range that it has of another node's.
type Block struct {
	CIDR        netip.Prefix
	Pool        string
	Terminating bool
	// UID is the IPBlock's; "" where it is not known: what an earlier run of the agent held does not say it.
	UID string `json:",omitempty"`
	// Loans are the ranges of the block that other nodes have or are to have.
	Loans []Loan `json:",omitempty"`
	// Loan is the id under which the range is lent to this node; "" for a block of its own.
	Loan string `json:",omitempty"`
	// Fixed says that only pods that ask for an address of the range get one.
	Fixed bool `json:",omitempty"`
}

// Book is the node's address book. It is safe for concurrent use.
type Book struct {
	now     func() time.Time
	reserve int
	linger  time.Duration

	mu        sync.Mutex
	pools     map[string]Pool
	blocks    map[netip.Prefix]*block
	endpoints map[string]*Endpoint
	holders   map[netip.Addr]map[string]struct{} // address to the interfaces that hold it
	waiting   map[string]int                     // pool to waiting pods
	asks      map[netip.Addr]int                 // address to pods that wait for it by name
	// remembered are the addresses that only certain pods get.
	remembered map[netip.Addr]Pod
	given      map[string]Given        // by id: loans whose ranges the node has given up, some before a restart
	released   map[netip.Prefix]string // UIDs of blocks that were given back, some before a restart, until they are gone
	changed    chan struct{}           // closed and replaced when an address may have become free
	demand     func()                  // called, without the lock, when the demand may have changed
}

// Options set a Book's policy.
type Options struct {
	// Now is the clock.
	Now func() time.Time
	// Reserve is the number of addresses that the node keeps free in each pool, ahead of need. At most one block's.
	Reserve int
	// Linger is how long a surplus block stays empty before it is given back.
	Linger time.Duration
	// DemandChanged is called when what the node wants of the controller may have changed. It must not block or call the book.
	DemandChanged func()
}

// New returns an empty book.
func New(o Options) *Book {
	return &Book{
		now: o.Now, reserve: o.Reserve, linger: o.Linger, demand: o.DemandChanged,
		pools:     map[string]Pool{},
		blocks:    map[netip.Prefix]*block{},
		endpoints: map[string]*Endpoint{},
		holders:   map[netip.Addr]map[string]struct{}{},
		waiting:   map[string]int{},
		asks:      map[netip.Addr]int{},
		given:     map[string]Given{},
		released:  map[netip.Prefix]string{},
		changed:   make(chan struct{}),
	}
}

// SetPools replaces what the book knows of the pools.
func (b *Book) SetPools(pools []Pool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := make(map[string]Pool, len(pools))
	for _, p := range pools {
		next[p.Name] = p
	}
	if !maps.EqualFunc(b.pools, next, Pool.equal) {
		b.pools = next
		for _, known := range b.blocks {
			known.setReserved(next[known.pool].Reserved)
		}
		b.wake()
	}
}

// Released is a block that the node has given back for good. Another block that is made later with its CIDR has another UID.
type Released struct {
	CIDR netip.Prefix `json:"cidr"`
	UID  string       `json:"uid"`
}

// SetReleased notes blocks that an earlier run of the agent gave back: they are never used again.
func (b *Book) SetReleased(blocks []Released) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range blocks {
		b.released[r.CIDR] = r.UID
		if known := b.blocks[r.CIDR]; known != nil && known.loan == "" && known.uid == r.UID {
			known.released, known.usable = true, false
		}
	}
}

// SetHeld notes blocks that an earlier run of the agent had. Where the API has them no more, pods may still have addresses
// in them: such a block stays in the book, and in its shares, until its last address has come back. Call it before Adopt
// and SetBlocks.
func (b *Book) SetHeld(blocks []Block) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, in := range blocks {
		if b.blocks[in.CIDR] == nil {
			b.addBlock(in)
		}
	}
}

// addBlock enters a block that serves nobody yet, with the addresses in it that endpoints have.
func (b *Book) addBlock(in Block) *block {
	added := newBlock(in.CIDR, in.Pool, b.now())
	added.loan, added.fixed, added.loans = in.Loan, in.Fixed, in.Loans
	if in.Loan == "" {
		added.keep()
		added.identify(in.UID, b.released)
	} else {
		_, added.released = b.given[in.Loan]
	}
	added.setReserved(b.pools[in.Pool].Reserved)
	added.setRemembered(b.remembered)
	for a := range b.holders {
		if in.CIDR.Contains(a) {
			added.mark(a)
		}
	}
	b.blocks[in.CIDR] = added
	return added
}

// SetBlocks replaces the node's own blocks with those that the API has. A block that is gone takes its free addresses
// with it. One that has addresses in use stays, and serves nobody, until they have come back: the controller learns from
// the node's shares that it may give it to no other node.
func (b *Book) SetBlocks(blocks []Block) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := make(map[netip.Prefix]bool, len(blocks))
	wake := false
	for _, in := range blocks {
		seen[in.CIDR] = true
		known := b.blocks[in.CIDR]
		if known == nil || known.loan != in.Loan {
			known = b.addBlock(in)
			wake = true
		}
		if in.Loan == "" && known.uid != in.UID {
			known.identify(in.UID, b.released)
		}
		known.present, known.pool, known.loans = true, in.Pool, in.Loans
		usable := !in.Terminating && !known.released
		wake = wake || usable && !known.usable
		known.usable = usable
	}
	for cidr, known := range b.blocks {
		if seen[cidr] {
			continue
		}
		known.present, known.usable = false, false
		if known.inUse == 0 {
			b.forget(known)
		}
	}
	b.give()
	if wake {
		b.wake()
	}
}

// forget drops a block that is gone and empty.
func (b *Book) forget(known *block) {
	delete(b.blocks, known.cidr)
	if known.loan == "" && b.released[known.cidr] == known.uid {
		delete(b.released, known.cidr)
	}
}

// Adopt enters an endpoint that exists already: from a record, or from a link of an earlier run. An endpoint that the
// book has keeps its state, and gets the fields that it lacks.
func (b *Book) Adopt(e Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known := b.endpoints[e.Interface]; known != nil {
		if known.MAC == "" {
			known.MAC = e.MAC
		}
		if known.NetworkNamespace == "" {
			known.NetworkNamespace = e.NetworkNamespace
		}
		if known.PodUID == "" {
			known.PodUID = e.PodUID
		}
		sameAddresses := slices.Equal(known.Addresses, e.Addresses)
		if sameAddresses && len(e.Pools) == len(e.Addresses) && (len(known.Pools) != len(known.Addresses) || slices.Contains(known.Pools, "")) {
			known.Pools = slices.Clone(e.Pools)
		}
		return
	}
	b.enter(e)
}

func (b *Book) enter(e Endpoint) {
	e.Addresses, e.Pools = slices.Clone(e.Addresses), slices.Clone(e.Pools)
	if e.Since.IsZero() {
		e.Since = b.now()
	}
	b.endpoints[e.Interface] = &e
	for _, a := range e.Addresses {
		if b.holders[a] == nil {
			b.holders[a] = map[string]struct{}{}
		}
		b.holders[a][e.Interface] = struct{}{}
		for _, known := range b.blocksWith(a) {
			known.mark(a)
		}
	}
}

// SetState moves an endpoint on. It reports whether the book has it.
func (b *Book) SetState(hostInterface string, s State) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.endpoints[hostInterface]
	if e == nil {
		return false
	}
	e.State, e.Since = s, b.now()
	return true
}

// Revive takes an endpoint back whose DEL is under way, with the addresses that it has: its ADD has come again. It reports
// false where the book has no such endpoint.
func (b *Book) Revive(again Endpoint) (Endpoint, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.endpoints[again.Interface]
	if e == nil || e.State != Releasing {
		return Endpoint{}, false
	}
	addresses, pools := e.Addresses, e.Pools
	*e = again
	e.Addresses, e.Pools, e.State, e.Since = addresses, pools, Reserved, b.now()
	return *e, true
}

// Free forgets an endpoint whose DEL is under way. Its addresses can be given out again: call it when neither record nor
// link is left. An endpoint in another state stays.
func (b *Book) Free(hostInterface string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.endpoints[hostInterface]
	if e == nil || e.State != Releasing {
		return
	}
	delete(b.endpoints, hostInterface)
	emptied := len(b.endpoints) == 0
	for _, a := range e.Addresses {
		delete(b.holders[a], hostInterface)
		if len(b.holders[a]) > 0 {
			continue
		}
		delete(b.holders, a)
		for _, known := range b.blocksWith(a) {
			known.unmark(a, b.now())
			emptied = emptied || known.inUse == 0 || known.isAsked(a)
			if known.inUse == 0 && !known.present {
				b.forget(known)
			}
		}
	}
	b.wake()
	if emptied { // a block may be surplus now, or the node drained
		b.demand()
	}
}

// Get returns an endpoint.
func (b *Book) Get(hostInterface string) (Endpoint, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.endpoints[hostInterface]
	if e == nil {
		return Endpoint{}, false
	}
	return *e, true
}

// WaitGone waits until the book does not have an endpoint.
func (b *Book) WaitGone(ctx context.Context, hostInterface string) error {
	for {
		b.mu.Lock()
		_, known := b.endpoints[hostInterface]
		changed := b.changed
		b.mu.Unlock()
		if !known {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Endpoints returns all endpoints, sorted by interface.
func (b *Book) Endpoints() []Endpoint {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Endpoint, 0, len(b.endpoints))
	for _, e := range b.endpoints {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(x, y Endpoint) int { return compare(x.Interface, y.Interface) })
	return out
}

// blocksWith returns the blocks that hold an address: one, but for blocks of another size that are on their way out.
func (b *Book) blocksWith(a netip.Addr) []*block {
	var out []*block
	for cidr, known := range b.blocks {
		if cidr.Contains(a) {
			out = append(out, known)
		}
	}
	return out
}

// Owns reports whether an address lies in a block that the node has or had when its pods started.
func (b *Book) Owns(a netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.blocksWith(a)) > 0
}

// wake lets every waiting pod look again.
func (b *Book) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

func compare(x, y string) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}
