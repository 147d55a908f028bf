package blockplan

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Turn is what a plan depends on besides the state.
type Turn struct {
	Now time.Time
	// Exhausted names the pools that serve only nodes with waiting pods.
	Exhausted map[string]bool
	// Budget is the largest number of blocks to create in one go.
	Budget int
}

// NewBlock is a block to create.
type NewBlock struct {
	Prefix    netip.Prefix
	Pool      string
	Node      string
	Addresses []string
	// Loans are those of a block that is made again.
	Loans []Loan
}

// Release is a block to delete. Its node will never use it again.
type Release struct {
	Prefix netip.Prefix
	Object *v1alpha1.IPBlock
}

// Mend is a block whose node addresses or finalizer are out of date.
type Mend struct {
	Object    *v1alpha1.IPBlock
	Addresses []string
}

// Shortage is a pool that could not serve waiting pods.
type Shortage struct {
	Pool    string
	Waiting int64
	Nodes   []string
}

// Limit is a pool of which some nodes with waiting pods have as many blocks as one node may have.
type Limit struct {
	Pool string
	// Most is the number of blocks that one node may have.
	Most    int
	Waiting int64
	Nodes   []string
}

// FullAggregate is a pool with free blocks, but none for a group of nodes: its prefixes are full, and all others belong to other groups.
type FullAggregate struct {
	Pool    string
	Waiting int64
	Nodes   []string
}

// Plan is what to do, each list in a fixed order.
type Plan struct {
	Create    []NewBlock
	Release   []Release
	Mend      []Mend
	Lend      []Lending
	Shortages []Shortage
	Limits    []Limit
	Full      []FullAggregate
	Stuck     []Stuck
	// Ample names the exhausted pools that have so many free blocks again that nobody needs to save.
	Ample []string
	// More says that the budget ended before the demands did.
	More bool
	// Again says that a plan some time later may differ although nothing has changed.
	Again bool
}

// Plan makes a plan.
func (s *State) Plan(turn Turn) Plan {
	s.expire(turn.Now)
	s.settleConflicts()
	p := planner{state: s, turn: turn, budget: turn.Budget, kept: map[share]tally{}, loans: map[netip.Prefix][]Loan{}, rest: map[netip.Prefix][]netip.Prefix{}}
	p.release()
	p.mend()
	p.restore()
	p.lend()
	for _, pool := range s.order {
		if pool.Open && len(pool.older) == 0 && !s.refused(pool) {
			p.serve(pool)
			p.limit(pool)
		}
	}
	p.writeLoans()
	p.plan.Again = len(s.vanished)+len(s.blocked)+len(s.pending)+len(s.askedAt) > 0
	return p.plan
}

// request is what one node needs of one pool.
type request struct {
	node             *node
	waiting, reserve int64
	// room is the number of blocks that it may still have.
	room int
	// own are the blocks that it has of the pool, with those that the plan gives it, once ownKnown is set.
	own      []netip.Prefix
	ownKnown bool
}

type planner struct {
	state  *State
	turn   Turn
	plan   Plan
	budget int
	// reserved are prefixes that nobody gets, besides those of blocks; kept is what is kept for, or given to, whom by this plan.
	reserved []netip.Prefix
	kept     map[share]tally
	// loans are what is lent of blocks after this plan, rest what nodes could lend of blocks.
	loans map[netip.Prefix][]Loan
	rest  map[netip.Prefix][]netip.Prefix
}

func (p *planner) release() {
	for prefix, b := range p.state.releasable {
		p.plan.Release = append(p.plan.Release, Release{Prefix: prefix, Object: b.Object})
	}
	slices.SortFunc(p.plan.Release, func(a, b Release) int { return ComparePrefixes(a.Prefix, b.Prefix) })
}

func (p *planner) mend() {
	sorted := make([]*block, 0, len(p.state.unkempt))
	for _, b := range p.state.unkempt {
		sorted = append(sorted, b)
	}
	slices.SortFunc(sorted, func(a, b *block) int { return ComparePrefixes(a.Prefix, b.Prefix) })
	for _, b := range sorted {
		p.plan.Mend = append(p.plan.Mend, Mend{Object: b.Object, Addresses: p.state.addressesFor(b)})
	}
}

// restore makes blocks again that vanished while their nodes used them. Whatever the pool's condition: the pods run.
func (p *planner) restore() {
	for b := range p.state.blocked {
		p.reserved = append(p.reserved, b)
	}
	for _, o := range p.state.orphans() {
		p.reserved = append(p.reserved, o.prefix)
		owner := share{o.node, o.pool}
		p.kept[owner] = tally{blocks: p.kept[owner].blocks + 1, free: p.kept[owner].free + v1alpha1.UsableAddresses(o.prefix)}
		n := p.state.nodes[o.node]
		if !o.restore || n == nil || !n.present {
			continue
		}
		if p.budget <= 0 {
			p.plan.More = true
			continue
		}
		p.budget--
		p.plan.Create = append(p.plan.Create, NewBlock{Prefix: o.prefix, Pool: o.pool, Node: o.node, Addresses: n.addresses, Loans: p.restored(o)})
	}
}

// serve gives blocks of one pool, one to each node in turn, first to those where pods wait.
func (p *planner) serve(pool *pool) {
	exhausted := p.turn.Exhausted[pool.Name]
	if len(pool.needs) == 0 && !exhausted {
		return
	}
	requests := make([]*request, 0, len(pool.needs))
	for _, r := range pool.needs {
		kept := p.kept[share{r.node.name, pool.Name}]
		r.waiting, r.reserve, r.room = r.waiting-kept.free, r.reserve-kept.free, pool.room(p.has(pool, r.node))
		requests = append(requests, &r)
	}
	slices.SortFunc(requests, func(a, b *request) int {
		return cmp.Or(cmp.Compare(b.waiting, a.waiting), cmp.Compare(a.node.name, b.node.name))
	})
	used := &taken{remembered: p.state.remembers, before: p.state.used.with(slices.Concat(p.reserved, pool.withheld, pool.wholly()))}
	o := newOffer(pool, used, []netip.Prefix{pool.Prefix.Masked()}, nil)
	offerTo := func(*request) *offer { return o }
	if pool.Aggregation.Bits > 0 {
		offerTo = p.aggregates(pool, used).offerTo
	}
	give := func(r *request) bool {
		if p.budget <= 0 {
			p.plan.More = true
			return false
		}
		prefix, ok := offerTo(r).take(r)
		if !ok {
			if o.empty {
				return false // it may still borrow
			}
			r.room = 0
			return true
		}
		p.budget--
		p.plan.Create = append(p.plan.Create, NewBlock{Prefix: prefix, Pool: pool.Name, Node: r.node.name, Addresses: r.node.addresses})
		perBlock := pool.reserved.Usable(prefix, pool.Bits) - p.state.remembers(prefix)
		r.waiting, r.reserve, r.room = r.waiting-perBlock, r.reserve-perBlock, r.room-1
		p.keep(pool, r.node, tally{blocks: 1})
		return true
	}
	rounds(requests, func(r *request) bool { return r.room > 0 && r.waiting > 0 }, give)
	if !exhausted && !o.empty {
		rounds(requests, func(r *request) bool { return r.room > 0 && r.reserve > 0 }, give)
	}
	if pool.Aggregation.Bits > 0 {
		p.full(pool, requests, offerTo, o)
	}
	if o.empty {
		p.lendRanges(pool, requests)
	}
	p.report(pool, requests, o, exhausted)
}

// limit says who waits in vain because the node may have no more blocks.
func (p *planner) limit(pool *pool) {
	if len(pool.atLimit) == 0 {
		return
	}
	l := Limit{Pool: pool.Name, Most: pool.MaxBlocks, Nodes: slices.Sorted(maps.Keys(pool.atLimit))}
	for _, waiting := range pool.atLimit {
		l.Waiting += waiting
	}
	p.plan.Limits = append(p.plan.Limits, l)
}

// rounds asks give for every request that still needs a block, again and again, until none does or give refuses.
func rounds(requests []*request, needs func(*request) bool, give func(*request) bool) {
	for again := true; again; {
		again = false
		for _, r := range requests {
			if !needs(r) {
				continue
			}
			if !give(r) {
				return
			}
			again = true
		}
	}
}

// report says who waits for a pool that is empty, or that an exhausted pool has plenty again.
func (p *planner) report(pool *pool, requests []*request, o *offer, exhausted bool) {
	if o.empty {
		s := Shortage{Pool: pool.Name}
		for _, r := range requests {
			if r.waiting > 0 {
				s.Waiting += r.waiting
				s.Nodes = append(s.Nodes, r.node.name)
			}
		}
		slices.Sort(s.Nodes)
		if s.Waiting > 0 {
			p.plan.Shortages = append(p.plan.Shortages, s)
		}
		return
	}
	if !exhausted {
		return
	}
	// Two blocks for every node are more than a storm of requests takes at once.
	if o.has(2 * p.state.presentNodes()) {
		p.plan.Ample = append(p.plan.Ample, pool.Name)
	}
}
