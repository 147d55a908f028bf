package addressbook

import (
	"net/netip"
	"slices"
)

// Loan is a range of one of the node's blocks that another node has or is to have.
type Loan struct {
	CIDR netip.Prefix
	// ID tells it from all other loans, of the same range too.
	ID string
	// Granted says that the other node has the range. Before, this node is asked to give it up.
	Granted bool
}

// Given is a loan whose range the node has given up for good: as the one that lends it, or as the one that had it.
type Given struct {
	CIDR netip.Prefix `json:"cidr"`
	Pool string       `json:"pool"`
	ID   string       `json:"id"`
}

// SetGiven notes loans that an earlier run gave up. Their ranges are not used until EndLoans says that the loans are over.
func (b *Book) SetGiven(given []Given) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range given {
		b.given[g.ID] = g
	}
	b.markLent()
}

// Given returns the loans that the node has given up, sorted.
func (b *Book) Given() []Given {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.givenOf(func(Given) bool { return true })
}

// EndLoans notes that loans are over: a range that the node had lent is its own again.
func (b *Book) EndLoans(ids []string) {
	if len(ids) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		delete(b.given, id)
	}
	b.markLent()
	b.wake()
}

func (b *Book) givenOf(wanted func(Given) bool) (out []Given) {
	for _, g := range b.given {
		if wanted(g) {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(x, y Given) int {
		if c := x.CIDR.Compare(y.CIDR); c != 0 {
			return c
		}
		return compare(x.ID, y.ID)
	})
	return out
}

// give gives up the ranges that the controller asks for, where no pod has an address of them.
func (b *Book) give() {
	for _, known := range b.blocks {
		for _, l := range known.loans {
			_, given := b.given[l.ID]
			if !given && (l.Granted || !known.released && known.vacant(l.CIDR)) {
				b.given[l.ID] = Given{CIDR: l.CIDR, Pool: known.pool, ID: l.ID}
			}
		}
	}
	b.markLent()
}

// markLent brings up to date which addresses of blocks are lent.
func (b *Book) markLent() {
	for _, known := range b.blocks {
		known.lent = nil
		if known.loan != "" {
			continue // what the node gave up of a loan to it is the whole of it
		}
		for _, g := range b.given {
			if known.cidr.Bits() < g.CIDR.Bits() && known.cidr.Contains(g.CIDR.Addr()) {
				known.lend(g.CIDR)
			}
		}
	}
}

// isAsked reports whether the controller asks for the range of an address.
func (b *block) isAsked(a netip.Addr) bool {
	return slices.ContainsFunc(b.loans, func(l Loan) bool { return !l.Granted && l.CIDR.Contains(a) })
}

// lend notes that a range is not the node's to give out.
func (b *block) lend(cidr netip.Prefix) {
	if b.lent == nil {
		b.lent = make([]uint64, len(b.used))
	}
	for i := range b.span(cidr) {
		b.lent[i/64] |= 1 << (i % 64)
	}
}

// span calls something for the index of each address of a range of the block.
func (b *block) span(cidr netip.Prefix) func(func(int) bool) {
	first := indexOf(b.cidr.Addr(), cidr.Addr())
	last := min(first+1<<min(cidr.Addr().BitLen()-cidr.Bits(), maxBlockBits), b.size)
	return func(yield func(int) bool) {
		for i := max(first, 0); i < last; i++ {
			if !yield(i) {
				return
			}
		}
	}
}

// vacant reports whether no pod has an address of a range. The address for the node's tunnels is never vacant.
func (b *block) vacant(cidr netip.Prefix) bool {
	for i := range b.span(cidr) {
		if b.used[i/64]&(1<<(i%64)) != 0 {
			return false
		}
	}
	return true
}

// isLent reports whether an address is another node's.
func (b *block) isLent(a netip.Addr) bool {
	i := indexOf(b.cidr.Addr(), a)
	return i >= 0 && i < b.size && b.lentWord(i/64)&(1<<(i%64)) != 0
}

// ask notes that a pod waits for addresses by name (1), or no longer does (-1).
func (b *Book) ask(addresses []netip.Addr, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range addresses {
		if b.asks[a] += n; b.asks[a] <= 0 {
			delete(b.asks, a)
		}
	}
}

// asksOf returns the addresses of a pool that pods wait for by name and that the node does not have.
func (b *Book) asksOf(pool Pool) (out []netip.Addr) {
	if !pool.Travels {
		return nil
	}
	for a := range b.asks {
		if pool.CIDR.Contains(a) && !slices.ContainsFunc(b.blocksWith(a), func(known *block) bool { return known.usable && !known.isLent(a) }) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// returnFixed gives back what the node was lent for a pod that is gone.
func (b *Book) returnFixed(known *block) {
	wanted := false
	for a := range b.asks {
		wanted = wanted || known.cidr.Contains(a)
	}
	if known.inUse == 0 && !known.released && (!known.usable || !wanted) {
		b.giveBack(known)
	}
}

// giveBack gives a block up for good, or the range that the node was lent.
func (b *Book) giveBack(known *block) {
	known.released, known.usable = true, false
	if known.loan == "" {
		b.released[known.cidr] = known.uid
		return
	}
	b.given[known.loan] = Given{CIDR: known.cidr, Pool: known.pool, ID: known.loan}
}

// lentWord is one word of the addresses that are lent.
func (b *block) lentWord(word int) uint64 {
	if b.lent == nil {
		return 0
	}
	return b.lent[word]
}
