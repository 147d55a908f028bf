package blockplan

import (
	"cmp"
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"go4.org/netipx"
)

const (
	// answer is how long a node has to give up a range before another node is asked, and patience how long it is not asked again then: it may
	// have pods there that no record shows yet, or its agent is away.
	answer   = 2 * time.Second
	patience = 10 * time.Second
	// mostLenders is how many nodes are considered at a time.
	mostLenders = 64
)

// lendRanges lends addresses to nodes on which pods wait for a pool that has no block left: nodes with free addresses are asked to give up
// ranges of their blocks, as large as what is waited for, from as few nodes as possible.
func (p *planner) lendRanges(pool *pool, requests []*request) {
	var lenders []*node
	for again := true; again; {
		again = false
		for _, r := range requests {
			if r.waiting <= 0 || r.room <= 0 || pool.allowance(p.has(pool, r.node)) <= 0 {
				continue
			}
			if lenders == nil {
				if lenders = p.lenders(pool); len(lenders) == 0 {
					return
				}
			}
			again = p.lendOne(pool, lenders, r) || again
		}
	}
}

// lenders returns the nodes that have free addresses of a pool and no pod that waits for one, those with most first.
func (p *planner) lenders(pool *pool) []*node {
	type lender struct {
		*node
		free int64
	}
	var found []lender
	for key, t := range p.state.shares {
		n := p.state.nodes[key.node]
		if key.pool != pool.Name || t.free <= 0 || t.blocks == 0 || n == nil || !n.present || n.claims[pool.Name].waiting > 0 || p.turn.Now.Before(p.state.unwilling[key.node]) {
			continue
		}
		found = append(found, lender{n, t.free})
	}
	slices.SortFunc(found, func(a, b lender) int { return cmp.Or(cmp.Compare(b.free, a.free), cmp.Compare(a.name, b.name)) })
	out := make([]*node, 0, mostLenders)
	for _, l := range found[:min(len(found), mostLenders)] {
		out = append(out, l.node)
	}
	return out
}

// lendOne lends a node the largest range that is not more than it waits for.
func (p *planner) lendOne(pool *pool, lenders []*node, r *request) bool {
	for hostBits := bits.Len64(uint64(min(r.waiting, pool.allowance(p.has(pool, r.node))))) - 1; hostBits >= 0; hostBits-- {
		length := pool.Prefix.Addr().BitLen() - hostBits
		for _, lender := range lenders {
			if lender == r.node || !pool.sameGroup(lender, r.node) {
				continue
			}
			for _, block := range slices.SortedFunc(maps.Keys(lender.blocks), ComparePrefixes) {
				b := lender.blocks[block]
				if length <= block.Bits() || !p.lends(pool, b) {
					continue
				}
				if part, ok := p.takeRange(b, length); ok {
					loans := p.loansOf(b)
					p.loans[block] = append(slices.Clone(loans), Loan{Prefix: part, Node: r.node.name, Addresses: r.node.addresses, ID: nextID(b.Object, loans)})
					r.waiting -= p.state.sizeOf(pool.Name, part)
					p.keep(pool, r.node, tally{borrowed: size(part)})
					return true
				}
			}
		}
	}
	return false
}

// lends says whether something of a block can be lent.
func (p *planner) lends(pool *pool, b *block) bool {
	return b.Pool == pool.Name && b.Object != nil && !b.Terminating && !p.state.releasedBy(b) && len(p.loansOf(b)) < maxLoans
}

// loansOf returns the loans that a block has after this plan.
func (p *planner) loansOf(b *block) []Loan {
	if next, planned := p.loans[b.Prefix]; planned {
		return next
	}
	return b.Loans
}

// takeRange takes the last range of a length out of what the node of a block could lend: what no record shows in use, and what is neither
// reserved nor lent nor the address for the node's tunnels.
func (p *planner) takeRange(b *block, length int) (netip.Prefix, bool) {
	rest, known := p.rest[b.Prefix]
	if !known {
		var left netipx.IPSetBuilder
		left.AddPrefix(b.Prefix)
		left.Remove(b.Prefix.Addr())
		p.state.pieces(b.Prefix, left.Remove)
		for _, a := range b.remembered { // an address in a range that is lent can't travel
			left.Remove(a)
		}
		for _, l := range p.loansOf(b) {
			left.RemovePrefix(l.Prefix)
		}
		for _, r := range p.state.pools[b.Pool].reserved.In(b.Prefix) {
			left.RemoveRange(r)
		}
		set, _ := left.IPSet() // only invalid prefixes are an error
		rest = set.Prefixes()
		p.rest[b.Prefix] = rest
	}
	for i, whole := range slices.Backward(rest) {
		if whole.Bits() > length {
			continue
		}
		part, _ := netipx.PrefixLastIP(whole).Prefix(length)
		var left netipx.IPSetBuilder
		left.AddPrefix(whole)
		left.RemovePrefix(part)
		set, _ := left.IPSet()
		p.rest[b.Prefix] = slices.Replace(slices.Clone(rest), i, i+1, set.Prefixes()...)
		return part, true
	}
	return netip.Prefix{}, false
}

// sameGroup says whether two nodes may lend to each other: routers announce one prefix for a group of nodes.
func (p *pool) sameGroup(a, b *node) bool {
	return p.Aggregation.Bits == 0 || a.labels[p.Aggregation.Label] == b.labels[p.Aggregation.Label]
}

// inVain says whether a range that is not granted yet is no longer asked for: no pod waits on the node that was to have it, or the lender does not
// give it up. The latter is left alone for a while.
func (p *planner) inVain(b *block, l Loan) bool {
	borrower := p.state.nodes[l.Node]
	if borrower == nil || borrower.claims[b.Pool].waiting == 0 {
		return true
	}
	since, known := p.state.askedAt[l.ID]
	if !known {
		since = p.turn.Now
		p.state.askedAt[l.ID] = since
	}
	late := p.turn.Now.Sub(since) >= answer
	if late {
		p.state.unwilling[b.Node] = p.turn.Now.Add(patience)
	}
	return late
}

// forgetAsked forgets since when ranges are asked for that are granted or not asked for any more, and who was unwilling long ago.
func (p *planner) forgetAsked() {
	open := map[string]bool{}
	for _, loans := range p.loans {
		for _, l := range loans {
			open[l.ID] = !l.Fixed && !l.Granted
		}
	}
	maps.DeleteFunc(p.state.askedAt, func(id string, _ time.Time) bool { return !open[id] })
	maps.DeleteFunc(p.state.unwilling, func(_ string, until time.Time) bool { return p.turn.Now.After(until) })
}

// recountLoans brings up to date what nodes have free of ranges that they have, or are to have, of a block.
func (s *State) recountLoans(b *block) {
	if len(b.Loans) == 0 {
		return
	}
	if b.lentFree == nil {
		b.lentFree = make([]int64, len(b.Loans))
	}
	for i, l := range b.Loans {
		var free int64
		if n := s.nodes[l.Node]; !l.Fixed && !b.Terminating && (n == nil || !n.given[l.ID]) {
			free = s.sizeOf(b.Pool, l.Prefix)
			s.pieces(l.Prefix, func(netip.Addr) { free-- })
			free = max(free-s.expected(b.remembered, l.Prefix.Contains), 0)
		}
		s.tallyOf(l.Node, b.Pool).free += free - b.lentFree[i]
		b.lentFree[i] = free
		s.reneed(l.Node, b.Pool)
	}
}

// recountLoansTo does so for all that a node has borrowed: what it has given up has changed.
func (s *State) recountLoansTo(n *node) {
	if n.borrows == 0 {
		return
	}
	for _, b := range s.lending {
		if slices.ContainsFunc(b.Loans, func(l Loan) bool { return l.Node == n.name }) {
			s.recountLoans(b)
		}
	}
}

func size(p netip.Prefix) int64 { return 1 << min(p.Addr().BitLen()-p.Bits(), 62) }
