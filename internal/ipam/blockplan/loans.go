package blockplan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// maxLoans is the most that the API takes of one block, maxAsks of one node's claim to a pool.
const (
	maxLoans = 256
	maxAsks  = 64
)

// Loan is a range of a block that another node than the block's has, or is to have.
type Loan struct {
	Prefix netip.Prefix
	Node   string
	// Addresses are those of the node that the loan shows.
	Addresses []string
	// Fixed says that only pods that ask for an address of the range get one, Granted that the node has the range.
	Fixed, Granted bool
	ID             string
}

func (l Loan) equal(o Loan) bool {
	same := l.Prefix == o.Prefix && l.Node == o.Node && l.ID == o.ID && slices.Equal(l.Addresses, o.Addresses)
	return same && l.Fixed == o.Fixed && l.Granted == o.Granted
}

// LoansOf reads the loans of a block.
func LoansOf(o *v1alpha1.IPBlock) []Loan {
	var out []Loan
	for _, l := range o.Spec.Lent {
		if p, err := netip.ParsePrefix(l.CIDR); err == nil { // the API admits no other
			out = append(out, Loan{Prefix: p.Masked(), Node: l.Node, Addresses: l.NodeAddresses, Fixed: l.Fixed, Granted: l.Granted, ID: l.ID})
		}
	}
	return out
}

// ObjectLoans writes loans as a block's spec has them.
func ObjectLoans(loans []Loan) []v1alpha1.Loan {
	var out []v1alpha1.Loan
	for _, l := range loans {
		out = append(out, v1alpha1.Loan{CIDR: l.Prefix.String(), Node: l.Node, NodeAddresses: l.Addresses, Fixed: l.Fixed, Granted: l.Granted, ID: l.ID})
	}
	return out
}

// Lending is a block whose loans change.
type Lending struct {
	Object *v1alpha1.IPBlock
	Loans  []Loan
}

// ask is an address that a node's pods wait for.
type ask struct {
	node *node
	pool string
}

// lend brings the loans of blocks up to date with what nodes ask for and give up.
func (p *planner) lend() {
	asks := p.asks()
	for prefix, b := range p.state.lending {
		p.loans[prefix] = p.settle(b, asks)
	}
	for _, a := range slices.SortedFunc(maps.Keys(asks), netip.Addr.Compare) {
		if !p.state.inUse(netip.PrefixFrom(a, a.BitLen())) {
			p.travel(a, asks[a])
		}
	}
}

// writeLoans puts the blocks whose loans change into the plan.
func (p *planner) writeLoans() {
	p.forgetAsked()
	next := p.loans
	for _, prefix := range slices.SortedFunc(maps.Keys(next), ComparePrefixes) {
		b := p.state.blocks[prefix]
		if b.Object == nil || slices.EqualFunc(b.Loans, next[prefix], Loan.equal) {
			continue
		}
		if p.budget <= 0 {
			p.plan.More = true
			return
		}
		p.budget--
		p.plan.Lend = append(p.plan.Lend, Lending{Object: b.Object, Loans: next[prefix]})
	}
}

// asks returns who gets each address that nodes ask for: one who waits for it to be granted or has it, else the first by name.
func (p *planner) asks() map[netip.Addr]ask {
	out := map[netip.Addr]ask{}
	for nodeName := range p.state.asking {
		n := p.state.nodes[nodeName]
		for a, poolName := range n.asks {
			have, taken := out[a]
			if !p.mayAsk(n, a, poolName) || taken && p.before(have.node, n, a) {
				continue
			}
			out[a] = ask{node: n, pool: poolName}
		}
	}
	return out
}

func (p *planner) before(x, y *node, a netip.Addr) bool {
	if l, lent := p.state.loanOf(a); lent && (l.Node == x.name || l.Node == y.name) {
		return l.Node == x.name
	}
	return x.name < y.name
}

// mayAsk says whether a node may have an address of a pool by name.
func (p *planner) mayAsk(n *node, a netip.Addr, poolName string) bool {
	pool := p.state.pools[poolName]
	if pool == nil || !n.present || len(n.addresses) == 0 || !pool.Open || len(pool.older) > 0 || p.state.refused(pool) {
		return false
	}
	_, remembered := p.state.remembered[a]
	travels := pool.Travels || pool.Sticky && remembered
	return travels && pool.Prefix.Contains(a) && pool.Nodes.Matches(n.labels) && !pool.reserved.Contains(a)
}

// settle grants the loans that the lender has given up for, and ends those that nobody needs.
func (p *planner) settle(b *block, asks map[netip.Addr]ask) []Loan {
	var out []Loan
	lender := p.state.nodes[b.Node]
	for _, l := range b.Loans {
		borrower := p.state.nodes[l.Node]
		asked := asks[l.Prefix.Addr()].node
		if !l.Fixed {
			asked = nil
		}
		needless := l.Fixed && (asked == nil || asked.name != l.Node) || !l.Fixed && !l.Granted && p.inVain(b, l) || p.state.releasedBy(b)
		switch {
		case !l.Granted && needless:
			continue // Nobody has it yet: the lender keeps the range.
		case !l.Granted && lender != nil && lender.given[l.ID]:
			l.Granted = true
		case l.Granted && borrower != nil && borrower.given[l.ID] && !p.state.inUse(l.Prefix):
			if asked == nil || asked.name == b.Node || b.Object == nil {
				continue
			}
			if to := p.state.pools[b.Pool]; asked.name != l.Node {
				if to == nil || to.allowance(p.has(to, asked)) <= 0 {
					continue
				}
				p.keep(to, asked, tally{borrowed: size(l.Prefix)})
			}
			// Nobody has the range, so the next node can have it at once.
			l = Loan{Prefix: l.Prefix, Node: asked.name, Fixed: true, Granted: true, ID: nextID(b.Object, out)}
		}
		if n := p.state.nodes[l.Node]; n != nil && len(n.addresses) > 0 {
			l.Addresses = n.addresses
		}
		out = append(out, l)
	}
	return out
}

// travel sees to it that an address comes to the node that asks for it: as a loan, or by a block around an address that lies in none.
func (p *planner) travel(a netip.Addr, to ask) {
	pool := p.state.pools[to.pool]
	prefix, err := a.Prefix(pool.Bits)
	if err != nil || a == prefix.Addr() && !prefix.IsSingleIP() {
		return
	}
	b := p.state.blocks[prefix]
	if b == nil {
		p.makeAround(a, prefix, pool, to.node)
		return
	}
	loans := p.loansOf(b)
	i := slices.IndexFunc(loans, func(l Loan) bool { return l.Prefix.Contains(a) })
	closed := b.Object == nil || b.Terminating || p.state.releasedBy(b) || b.Node == to.node.name || prefix.IsSingleIP() || len(loans) >= maxLoans
	switch {
	case i >= 0 && loans[i].Granted && !loans[i].Fixed && loans[i].Node != to.node.name:
		p.stuck(a, to.node, "it lies in a range that another node has borrowed and uses for other pods")
		return
	case i >= 0 || closed:
		return
	case pool.allowance(p.has(pool, to.node)) <= 0:
		p.stuck(a, to.node, atMost(to.node))
		return
	}
	p.keep(pool, to.node, tally{borrowed: 1})
	p.loans[prefix] = append(slices.Clone(loans), Loan{Prefix: netip.PrefixFrom(a, a.BitLen()), Node: to.node.name, Addresses: to.node.addresses, Fixed: true, ID: nextID(b.Object, loans)})
}

// makeAround gives a node the block around an address that lies in none.
func (p *planner) makeAround(a netip.Addr, prefix netip.Prefix, pool *pool, n *node) {
	if p.budget <= 0 {
		p.plan.More = true
		return
	}
	overlaps := func(o netip.Prefix) bool { return o.Overlaps(prefix) }
	taken := slices.ContainsFunc(p.reserved, overlaps) || slices.ContainsFunc(pool.withheld, overlaps) || overlapsAny(p.state.used.walk(), prefix)
	full := pool.room(p.has(pool, n)) <= 0
	if full {
		p.stuck(a, n, atMost(n))
	}
	if taken || full || n.released[prefix] != "" {
		return
	}
	p.budget--
	p.reserved = append(p.reserved, prefix)
	p.keep(pool, n, tally{blocks: 1})
	p.plan.Create = append(p.plan.Create, NewBlock{Prefix: prefix, Pool: pool.Name, Node: n.name, Addresses: n.addresses})
}

// nextID is the id of a loan that comes with the next change of a block, after those that the change has already. Only one change can be
// the next, so no other loan has the id.
func nextID(b *v1alpha1.IPBlock, loans []Loan) string {
	change := fmt.Sprintf("%s.%d.", b.UID, b.Generation+1)
	n := 0
	for _, l := range loans {
		if strings.HasPrefix(l.ID, change) {
			n++
		}
	}
	return change + strconv.Itoa(n)
}

// inUse says whether a record shows an address of a range in use.
func (s *State) inUse(p netip.Prefix) bool {
	found := false
	s.pieces(p, func(netip.Addr) { found = true })
	return found
}

// loanOf returns the loan that an address is in.
func (s *State) loanOf(a netip.Addr) (Loan, bool) {
	for _, b := range s.cover(a) {
		if i := slices.IndexFunc(b.Loans, func(l Loan) bool { return l.Prefix.Contains(a) }); i >= 0 {
			return b.Loans[i], true
		}
	}
	return Loan{}, false
}

// restored are the loans of a block that is made again: those that it had, and one for each address that a record shows in use elsewhere.
func (p *planner) restored(o orphan) []Loan {
	loans := slices.DeleteFunc(slices.Clone(o.loans), func(l Loan) bool { return !l.Granted })
	p.state.pieces(o.prefix, func(a netip.Addr) {
		h := p.state.addresses[a].first
		lent := slices.ContainsFunc(loans, func(l Loan) bool { return l.Prefix.Contains(a) })
		n := p.state.nodes[h.node.Value()]
		if lent || n == nil || n.name == o.node || len(loans) >= maxLoans || o.prefix.IsSingleIP() {
			return
		}
		loans = append(loans, Loan{Prefix: netip.PrefixFrom(a, a.BitLen()), Node: n.name, Addresses: n.addresses, Fixed: true, Granted: true,
			ID: fmt.Sprintf("%x.1.%d", p.turn.Now.UnixNano(), len(loans))})
	})
	return loans
}

// noteAsks notes what a node asks for and has given up.
func (s *State) noteAsks(n *node, claims []v1alpha1.PoolClaim) {
	n.asks, n.given = nil, nil
	for _, c := range claims {
		for _, text := range c.Asks[:min(len(c.Asks), maxAsks)] {
			if a, err := netip.ParseAddr(text); err == nil {
				if n.asks == nil {
					n.asks = map[netip.Addr]string{}
				}
				n.asks[a] = c.Pool
			}
		}
		for _, g := range c.Given {
			if n.given == nil {
				n.given = map[string]bool{}
			}
			n.given[strings.Clone(g.ID)] = true
		}
	}
	if len(n.asks) > 0 {
		s.asking[n.name] = struct{}{}
	} else {
		delete(s.asking, n.name)
	}
}

// countLoans brings up to date what follows from the loans of a block that has come (1) or gone (-1).
func (s *State) countLoans(b *block, by int) {
	if len(b.Loans) == 0 {
		return
	}
	if by > 0 {
		s.lending[b.Prefix] = b
	} else {
		delete(s.lending, b.Prefix)
	}
	for i, l := range b.Loans {
		owner := share{l.Node, b.Pool}
		t := s.tallyOf(l.Node, b.Pool)
		t.borrowed += int64(by) * size(l.Prefix)
		if t.blocks == 0 && t.borrowed == 0 {
			delete(s.shares, owner)
		}
		if by < 0 && i < len(b.lentFree) {
			t.free -= b.lentFree[i]
		}
		n := s.nodeOf(l.Node)
		n.borrows += by
		s.reneed(l.Node, b.Pool)
		s.restray(l.Node)
		s.forgetIfEmpty(l.Node)
	}
	if by < 0 {
		b.lentFree = nil
	}
}

// lentFree is how many addresses of a block are lent, or asked for, and not in use.
func (s *State) lentFree(b *block) (free int64) {
	for _, l := range b.Loans {
		free += s.sizeOf(b.Pool, l.Prefix)
		s.pieces(l.Prefix, func(netip.Addr) { free-- })
	}
	return max(free, 0)
}

// sizeOf is how many addresses of a range pods can have. A range has no address for tunnels.
func (s *State) sizeOf(poolName string, of netip.Prefix) int64 {
	n := s.usable(poolName, of)
	if !of.IsSingleIP() {
		n++
	}
	return n
}

// LoansTo returns the blocks that lend something to a node, without these loans.
func (s *State) LoansTo(nodeName string) (out []Lending) {
	for _, prefix := range slices.SortedFunc(maps.Keys(s.lending), ComparePrefixes) {
		b := s.lending[prefix]
		rest := slices.DeleteFunc(slices.Clone(b.Loans), func(l Loan) bool { return l.Node == nodeName })
		if len(rest) < len(b.Loans) && b.Object != nil {
			out = append(out, Lending{Object: b.Object, Loans: rest})
		}
	}
	return out
}
