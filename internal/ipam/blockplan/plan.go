package blockplan

import (
	"cmp"
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Node is what one node is and asks for.
type Node struct {
	Name   string
	Labels map[string]string
	// Present says that its Node object exists. An absent node gets no blocks.
	Present bool
	// Addresses are the node's own, one for each family.
	Addresses []string
	Claims    []v1alpha1.PoolClaim
}

// Input is all that a plan depends on.
type Input struct {
	Ledger *Ledger
	Nodes  []Node
	// Pending are blocks that were just created and that the ledger may not show yet.
	Pending []NewBlock
	// Blocked are prefixes not to give out for now: they turned out to exist, or vanished a moment ago.
	Blocked []netip.Prefix
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
}

// Release is a block to delete. Its node will never use it again.
type Release struct {
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

// Plan is what to do, each list in a fixed order.
type Plan struct {
	Create    []NewBlock
	Release   []Release
	Mend      []Mend
	Shortages []Shortage
	// Ample names the pools that have so many free blocks that nobody needs to save.
	Ample []string
	// More says that the budget ended before the demands did.
	More bool
}

// Make makes a plan.
func Make(in Input) Plan {
	p := planner{in: in, nodes: map[string]*Node{}, released: map[string]map[netip.Prefix]bool{}, free: map[share]int64{}}
	p.budget = in.Budget
	p.readNodes()
	p.walkBlocks()
	p.readPending()
	p.restore()
	for _, pool := range in.Ledger.Pools {
		if pool.GivesOut() {
			p.serve(pool)
		}
	}
	return p.plan
}

type share struct{ node, pool string }

type request struct {
	node             *Node
	waiting, reserve int64
}

type planner struct {
	in       Input
	plan     Plan
	budget   int
	nodes    map[string]*Node
	released map[string]map[netip.Prefix]bool
	free     map[share]int64
	used     []netip.Prefix
}

func (p *planner) readNodes() {
	slices.SortFunc(p.in.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	for i := range p.in.Nodes {
		n := &p.in.Nodes[i]
		p.nodes[n.Name] = n
		for _, d := range n.Claims {
			for _, text := range d.Released {
				prefix, err := netip.ParsePrefix(text)
				if err != nil {
					continue
				}
				if p.released[n.Name] == nil {
					p.released[n.Name] = map[netip.Prefix]bool{}
				}
				p.released[n.Name][prefix.Masked()] = true
				// As long as a node lists it, a new block of this prefix would look released to us.
				p.used = append(p.used, prefix.Masked())
			}
		}
	}
}

func (p *planner) walkBlocks() {
	for _, b := range p.in.Ledger.Blocks {
		p.used = append(p.used, b.Prefix)
		spec := &b.Object.Spec
		if p.released[spec.Node][b.Prefix] {
			if b.InUse == 0 {
				p.plan.Release = append(p.plan.Release, Release{Object: b.Object})
			}
			continue
		}
		if !b.Object.DeletionTimestamp.IsZero() {
			continue
		}
		p.free[share{spec.Node, spec.Pool}] += v1alpha1.UsableAddresses(b.Prefix) - b.InUse
		p.mend(b)
	}
}

func (p *planner) mend(b *Block) {
	addresses := b.Object.Spec.NodeAddresses
	if n := p.nodes[b.Object.Spec.Node]; n != nil && len(n.Addresses) > 0 {
		addresses = n.Addresses
	}
	if !slices.Equal(addresses, b.Object.Spec.NodeAddresses) || !slices.Contains(b.Object.Finalizers, v1alpha1.FinalizerBlock) {
		p.plan.Mend = append(p.plan.Mend, Mend{Object: b.Object, Addresses: addresses})
	}
}

func (p *planner) readPending() {
	p.used = append(p.used, p.in.Blocked...)
	for _, n := range p.in.Pending {
		if p.in.Ledger.Block(n.Prefix) != nil {
			continue
		}
		p.used = append(p.used, n.Prefix)
		p.free[share{n.Node, n.Pool}] += v1alpha1.UsableAddresses(n.Prefix)
	}
}

// restore makes blocks again that vanished while addresses in them were in use. Whatever the pool's condition: the pods run.
func (p *planner) restore() {
	for _, o := range p.in.Ledger.Orphans {
		p.used = append(p.used, o.Prefix)
		pending := slices.ContainsFunc(p.in.Pending, func(n NewBlock) bool { return n.Prefix == o.Prefix })
		if n := p.nodes[o.Node]; n != nil && n.Present && !pending {
			p.plan.Create = append(p.plan.Create, NewBlock{Prefix: o.Prefix, Pool: o.Pool, Node: o.Node, Addresses: n.Addresses})
		}
	}
	SortPrefixes(p.used)
}

// serve gives blocks of one pool, one to each node in turn, first to those where pods wait.
func (p *planner) serve(pool *Pool) {
	requests := p.requests(pool)
	gaps := FindGaps(pool.Prefix, pool.Bits, p.used)
	open := true
	next := func(r *request) bool {
		if p.budget <= 0 {
			p.plan.More = true
			return false
		}
		prefix, ok := gaps.Next()
		if !ok {
			open = false
			return false
		}
		p.budget--
		p.plan.Create = append(p.plan.Create, NewBlock{Prefix: prefix, Pool: pool.Object.Name, Node: r.node.Name, Addresses: r.node.Addresses})
		r.waiting -= pool.PerBlock
		r.reserve -= pool.PerBlock
		return true
	}
	rounds(requests, func(r *request) bool { return r.waiting > 0 }, next)
	if !p.in.Exhausted[pool.Object.Name] && open {
		rounds(requests, func(r *request) bool { return r.reserve > 0 }, next)
	}
	p.report(pool, requests, open, gaps)
}

// rounds asks next for every request that still needs a block, again and again, until none does or next refuses.
func rounds(requests []*request, needs func(*request) bool, next func(*request) bool) {
	for again := true; again; {
		again = false
		for _, r := range requests {
			if !needs(r) {
				continue
			}
			if !next(r) {
				return
			}
			again = true
		}
	}
}

func (p *planner) requests(pool *Pool) []*request {
	matches := Selector(pool.Object.Spec.NodeSelector)
	var out []*request
	for i := range p.in.Nodes {
		n := &p.in.Nodes[i]
		if !n.Present || !matches.Matches(labels.Set(n.Labels)) {
			continue
		}
		for _, d := range n.Claims {
			if d.Pool != pool.Object.Name {
				continue
			}
			free := max(p.free[share{n.Name, d.Pool}], 0)
			r := &request{node: n, waiting: int64(d.Waiting) - free, reserve: int64(d.Wanted) - free}
			if r.waiting > 0 || r.reserve > 0 {
				out = append(out, r)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *request) int { return cmp.Compare(b.waiting, a.waiting) })
	return out
}

func (p *planner) report(pool *Pool, requests []*request, open bool, gaps *Gaps) {
	if !open {
		s := Shortage{Pool: pool.Object.Name}
		for _, r := range requests {
			if r.waiting > 0 {
				s.Waiting += r.waiting
				s.Nodes = append(s.Nodes, r.node.Name)
			}
		}
		slices.Sort(s.Nodes)
		if s.Waiting > 0 {
			p.plan.Shortages = append(p.plan.Shortages, s)
		}
		return
	}
	// Two blocks for every node are more than a storm of requests takes at once.
	for range 2 * len(p.in.Nodes) {
		if _, ok := gaps.Next(); !ok {
			return
		}
	}
	p.plan.Ample = append(p.plan.Ample, pool.Object.Name)
}

// Selector returns what a selector matches: everything where it is not set, nothing where it can't be read.
func Selector(s *metav1.LabelSelector) labels.Selector {
	if s == nil {
		return labels.Everything()
	}
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return parsed
}
