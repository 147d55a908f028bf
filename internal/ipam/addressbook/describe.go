package addressbook

import (
	"net/netip"
	"slices"
)

// BlockState is one block of the node, as people and checkpoints see it.
type BlockState struct {
	CIDR netip.Prefix
	Pool string
	// UID is the IPBlock's; "" where the API has not shown it yet.
	UID string
	// Present is false where the API does not have the block any more.
	Present bool
	// Usable blocks serve new pods.
	Usable bool
	// Released blocks are never used again.
	Released bool
	// Capacity is how many addresses pods can be given, InUse how many they have: reserved ones too.
	Capacity, InUse int
	// Available is how many addresses can be given out now.
	Available int
	// Kept is the address that is kept for the node's tunnels. It is invalid where no address is kept.
	Kept netip.Addr
	// Free are the addresses that can be given out now, as ranges, Reserved those that nobody has and nobody is given.
	Free, Reserved []Range
	// Lent are the addresses that the node has given up for others, and Loan the id under which the whole range is lent to this node.
	Lent []Range
	Loan string
	// Fixed ranges serve only pods that ask for an address of them.
	Fixed bool
	// Remembered are the addresses that nobody has and that only certain pods get.
	Remembered []Range
}

// Range is a range of addresses, both ends included.
type Range struct {
	First, Last netip.Addr
}

// Description is the whole book at one moment.
type Description struct {
	Blocks []BlockState
	// Endpoints are sorted by their first address.
	Endpoints []Endpoint
	// Waiting is how many pods wait for an address, by pool.
	Waiting map[string]int
}

// Describe returns the whole book.
func (b *Book) Describe() Description {
	d := Description{Blocks: b.Blocks(), Endpoints: b.Endpoints(), Waiting: map[string]int{}}
	b.mu.Lock()
	for pool, n := range b.waiting {
		d.Waiting[pool] = n
	}
	b.mu.Unlock()
	slices.SortStableFunc(d.Endpoints, func(x, y Endpoint) int {
		return slices.CompareFunc(x.Addresses, y.Addresses, netip.Addr.Compare)
	})
	return d
}

// Blocks returns the node's blocks, sorted.
func (b *Book) Blocks() []BlockState {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]BlockState, 0, len(b.blocks))
	for _, known := range b.blocks {
		s := BlockState{
			CIDR: known.cidr, Pool: known.pool, UID: known.uid, Present: known.present, Usable: known.usable, Released: known.released,
			Capacity: known.capacity(), InUse: known.inUse, Available: known.free(),
			Free:     known.ranges(func(word int) uint64 { return ^known.taken(word) }),
			Reserved: known.ranges(func(word int) uint64 { return known.withheld(word) &^ known.used[word] &^ known.lentWord(word) }),
			Lent:     known.ranges(known.lentWord), Loan: known.loan, Fixed: known.fixed, Remembered: known.ranges(known.expected),
		}
		if known.kept {
			s.Kept = known.cidr.Addr()
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y BlockState) int { return x.CIDR.Compare(y.CIDR) })
	return out
}

// ranges returns the addresses whose bits are set in what each word gives.
func (b *block) ranges(bits func(word int) uint64) []Range {
	var out []Range
	first := -1 // of the range that is open
	for i := range b.size + 1 {
		set := i < b.size && bits(i/64)&(1<<(i%64)) != 0
		switch {
		case set && first < 0:
			first = i
		case !set && first >= 0:
			out = append(out, Range{addrAt(b.cidr.Addr(), first), addrAt(b.cidr.Addr(), i-1)})
			first = -1
		}
	}
	return out
}
