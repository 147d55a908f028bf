// Package blockplan decides which node gets which block of which pool, and which blocks go. Its State is told of every change
// to pools, blocks, nodes, claims and endpoints, one at a time, and keeps counts up to date; so a plan costs as much as there is
// to do, not as much as there is. It does no I/O, and it believes claims and records only within bounds.
package blockplan

import (
	"maps"
	"net/netip"
	"slices"
	"time"
	"unique"

	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/infrastructure"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// Block is what a plan needs of an IPBlock.
type Block struct {
	Prefix      netip.Prefix
	Pool, Node  string
	Terminating bool
	// Addresses are those of the node that the block shows.
	Addresses []string
	// Held says that our finalizer is on the block.
	Held bool
	// Loans are the ranges of it that other nodes have or are to have.
	Loans []Loan
	// Object is the block in the API. One that was just created has none yet.
	Object *v1alpha1.IPBlock
}

// vanished is a block that went although its node had not released it.
type vanished struct {
	pool, node string
	loans      []Loan
	until      time.Time
}

type name = unique.Handle[string]

type share struct{ node, pool string }

// tally is what a node has of a pool.
type tally struct {
	blocks int
	free   int64
	// borrowed is the number of addresses that it has, or is to have, of blocks of others.
	borrowed int64
}

// numbers are a pool's, whether its object is known or not.
type numbers struct{ blocks, allocated, remembered int64 }

// State is all that a plan depends on. The zero value is not usable; call New.
type State struct {
	pools map[string]*pool
	// order is the pools by age, then name.
	order   []*pool
	numbers map[string]*numbers

	nodes  map[string]*node
	shares map[share]*tally

	blocks  map[netip.Prefix]*block
	lengths [2]map[int]int // how many blocks there are of each prefix length, for IPv4 and IPv6
	used    prefixes
	// releasable and unkempt are the blocks that can go and those that need a new address or finalizer.
	releasable, unkempt map[netip.Prefix]*block

	// lending are the blocks with loans, asking the nodes that ask for addresses.
	lending map[netip.Prefix]*block
	asking  map[string]struct{}
	// askedAt is when nodes were asked to give ranges up, by the loan's id, unwilling the nodes that did not, with the time until which nobody
	// asks them again.
	askedAt   map[string]time.Time
	unwilling map[string]time.Time

	addresses map[netip.Addr]holders
	perNode   map[name]int
	census    census

	// loose are addresses in use that no block covers, heldBy the blocks that claims say are theirs, vacant those of them that
	// don't exist.
	loose    map[netip.Addr]struct{}
	heldBy   map[netip.Prefix][]string
	vacant   map[netip.Prefix]struct{}
	vanished map[netip.Prefix]vanished
	blocked  map[netip.Prefix]time.Time
	// pending are blocks that were created and that the API does not show yet; letGo those that this process has deleted.
	pending  map[netip.Prefix]*block
	letGo    map[netip.Prefix]bool
	orphaned []orphan
	// orphansStale says that orphaned must be computed again.
	orphansStale bool

	// strays are names of nodes that have blocks or endpoints, but no Node.
	strays map[string]struct{}

	reservations map[string]*reservation.Set // by the IPReservation's name

	// memories are the addresses that are remembered for pods, remembered the pods by the address.
	memories   map[types.NamespacedName][]sticky.Address
	remembered map[netip.Addr][]expectation

	fixed        []infrastructure.Network
	conflictsOld bool
}

// block is a Block with its counts.
type block struct {
	Block
	inUse, free int64
	// lentFree is what borrowers have free of each loan from which any pod may have an address.
	lentFree []int64
	// remembered are the addresses of it that are remembered for pods.
	remembered []netip.Addr
	madeAt     time.Time // zero where the API shows it
}

// New returns an empty state.
func New() *State {
	return &State{
		pools: map[string]*pool{}, numbers: map[string]*numbers{}, nodes: map[string]*node{}, shares: map[share]*tally{},
		blocks: map[netip.Prefix]*block{}, lengths: [2]map[int]int{{}, {}}, used: newPrefixes(),
		lending: map[netip.Prefix]*block{}, asking: map[string]struct{}{}, askedAt: map[string]time.Time{}, unwilling: map[string]time.Time{}, releasable: map[netip.Prefix]*block{}, unkempt: map[netip.Prefix]*block{},
		addresses: map[netip.Addr]holders{}, perNode: map[name]int{}, census: census{}, loose: map[netip.Addr]struct{}{},
		heldBy: map[netip.Prefix][]string{}, vacant: map[netip.Prefix]struct{}{}, vanished: map[netip.Prefix]vanished{},
		blocked: map[netip.Prefix]time.Time{}, pending: map[netip.Prefix]*block{}, letGo: map[netip.Prefix]bool{},
		strays: map[string]struct{}{}, reservations: map[string]*reservation.Set{},
		memories: map[types.NamespacedName][]sticky.Address{}, remembered: map[netip.Addr][]expectation{},
	}
}

// SetBlock notes a block that the API shows.
func (s *State) SetBlock(b Block) {
	delete(s.vanished, b.Prefix)
	delete(s.blocked, b.Prefix)
	delete(s.pending, b.Prefix)
	s.put(&block{Block: b})
}

// Created notes a block that was just created and that the API may show later.
func (s *State) Created(n NewBlock, now time.Time) {
	if s.blocks[n.Prefix] != nil {
		return
	}
	b := &block{Block: Block{Prefix: n.Prefix, Pool: n.Pool, Node: n.Node, Addresses: n.Addresses, Loans: n.Loans, Held: true}, madeAt: now}
	s.pending[n.Prefix] = b
	s.put(b)
}

// Refused keeps a prefix from being given out for a while: the API says that a block of this name exists already.
func (s *State) Refused(p netip.Prefix, until time.Time) {
	s.blocked[p] = until
	s.orphansStale = true
}

// LetGo notes that a block is being deleted because its node has released it.
func (s *State) LetGo(p netip.Prefix) { s.letGo[p] = true }

// DropBlock notes that a block is gone. One that its node had not released is kept for this node until a time has passed, so
// that endpoints in it show up first.
func (s *State) DropBlock(p netip.Prefix, until time.Time) {
	b := s.blocks[p]
	if b == nil {
		return
	}
	s.remove(b)
	if !s.releasedBy(b) && !s.letGo[p] {
		s.vanished[p] = vanished{pool: b.Pool, node: b.Node, loans: b.Loans, until: until}
	}
	delete(s.letGo, p)
	delete(s.pending, p)
	s.orphansStale = true
}

func (s *State) put(b *block) {
	if have := s.blocks[b.Prefix]; have != nil {
		s.remove(have)
	}
	s.blocks[b.Prefix] = b
	s.lengths[family(b.Prefix)][b.Prefix.Bits()]++
	s.used.add(b.Prefix)
	s.pieces(b.Prefix, func(a netip.Addr) {
		b.inUse++
		delete(s.loose, a)
	})
	b.remembered = s.rememberedIn(b.Prefix)
	s.countNamespaces(b, 1)
	delete(s.vacant, b.Prefix)
	s.numbersOf(b.Pool).blocks++
	s.tallyOf(b.Node, b.Pool).blocks++
	s.nodeOf(b.Node).blocks[b.Prefix] = b
	s.countLoans(b, 1)
	s.orphansStale = s.orphansStale || s.hasOrphans()
	s.recount(b)
	s.restray(b.Node)
}

func (s *State) remove(b *block) {
	delete(s.blocks, b.Prefix)
	if lengths := s.lengths[family(b.Prefix)]; lengths[b.Prefix.Bits()] > 1 {
		lengths[b.Prefix.Bits()]--
	} else {
		delete(lengths, b.Prefix.Bits())
	}
	s.used.remove(b.Prefix)
	s.countNamespaces(b, -1)
	s.countLoans(b, -1)
	s.pieces(b.Prefix, func(a netip.Addr) {
		if len(s.cover(a)) == 0 {
			s.loose[a] = struct{}{}
		}
	})
	if len(s.heldBy[b.Prefix]) > 0 {
		s.vacant[b.Prefix] = struct{}{}
	}
	s.numbersOf(b.Pool).blocks--
	t := s.tallyOf(b.Node, b.Pool)
	t.blocks--
	t.free -= b.free
	if t.blocks == 0 && t.borrowed == 0 {
		delete(s.shares, share{b.Node, b.Pool})
	}
	delete(s.releasable, b.Prefix)
	delete(s.unkempt, b.Prefix)
	delete(s.nodeOf(b.Node).blocks, b.Prefix)
	s.orphansStale = s.orphansStale || s.hasOrphans()
	s.reneed(b.Node, b.Pool)
	s.restray(b.Node)
	s.forgetIfEmpty(b.Node)
}

// recount brings all that follows from a block's counts and its node's claim up to date.
func (s *State) recount(b *block) {
	released, free := s.releasedBy(b), int64(0)
	if !released && !b.Terminating {
		expected := s.expected(b.remembered, func(a netip.Addr) bool { return !b.isLent(a) })
		free = max(s.usable(b.Pool, b.Prefix)-b.inUse-s.lentFree(b)-expected, 0)
	}
	s.tallyOf(b.Node, b.Pool).free += free - b.free
	b.free = free
	include(s.releasable, b, released && b.inUse == 0 && len(b.Loans) == 0 && b.Object != nil)
	s.recountLoans(b)
	include(s.unkempt, b, !released && !b.Terminating && b.Object != nil && s.needsMending(b))
	s.reneed(b.Node, b.Pool)
}

func include(set map[netip.Prefix]*block, b *block, in bool) {
	if in {
		set[b.Prefix] = b
	} else {
		delete(set, b.Prefix)
	}
}

func (s *State) needsMending(b *block) bool {
	return !b.Held || !slices.Equal(s.addressesFor(b), b.Addresses)
}

// addressesFor are those that a block should show. They are never blanked.
func (s *State) addressesFor(b *block) []string {
	if n := s.nodes[b.Node]; n != nil && len(n.addresses) > 0 {
		return n.addresses
	}
	return b.Addresses
}

// releasedBy says whether the block's own node has released it: this one, not one that had its CIDR before. What other nodes list
// does not matter.
func (s *State) releasedBy(b *block) bool {
	n := s.nodes[b.Node]
	return n != nil && b.Object != nil && n.released[b.Prefix] == string(b.Object.UID) && b.Object.UID != ""
}

// cover returns the blocks that an address lies in. There should be one at most.
func (s *State) cover(a netip.Addr) (out []*block) {
	for bits := range s.lengths[familyOf(a)] {
		if p, err := a.Prefix(bits); err == nil {
			if b := s.blocks[p]; b != nil {
				out = append(out, b)
			}
		}
	}
	return out
}

// BlocksOf returns the blocks of a node that the API shows, in order.
func (s *State) BlocksOf(nodeName string) []*v1alpha1.IPBlock {
	n := s.nodes[nodeName]
	if n == nil {
		return nil
	}
	var out []*v1alpha1.IPBlock
	for _, p := range slices.SortedFunc(maps.Keys(n.blocks), ComparePrefixes) {
		if o := n.blocks[p].Object; o != nil {
			out = append(out, o)
		}
	}
	return out
}

func (s *State) numbersOf(pool string) *numbers {
	n := s.numbers[pool]
	if n == nil {
		n = &numbers{}
		s.numbers[pool] = n
	}
	return n
}

func (s *State) tallyOf(node, pool string) *tally {
	t := s.shares[share{node, pool}]
	if t == nil {
		t = &tally{}
		s.shares[share{node, pool}] = t
	}
	return t
}

func family(p netip.Prefix) int { return familyOf(p.Addr()) }

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}
