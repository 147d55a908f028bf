package blockplan

import (
	"maps"
	"net/netip"
	"slices"
	"sort"

	"go4.org/netipx"
)

// largestRoom is how many blocks, as a power of two, a node's first block has room for: with blocks of 64 addresses, as many as a node with 250
// pods needs.
const largestRoom = 2

// offer hands out the free blocks of a pool, or of the aggregates of one group of nodes, each once. A node's blocks come to lie beside each
// other where that is possible, because routers then need one route for several.
type offer struct {
	pool  *pool
	taken *taken
	// areas are where the blocks lie, all of one length. more returns another one when they are full; nil where there is none.
	areas map[netip.Prefix]bool
	more  func() (netip.Prefix, bool)
	// walks go through the rooms in which nobody has a block, the largest rooms first, at last through single blocks.
	walks []*walk
	// back are blocks that somebody could not take.
	back []netip.Prefix
	// empty says that there is no block for anybody.
	empty bool
}

func newOffer(pool *pool, taken *taken, areas []netip.Prefix, more func() (netip.Prefix, bool)) *offer {
	o := &offer{pool: pool, taken: taken, areas: map[netip.Prefix]bool{}, more: more}
	o.begin(areas)
	return o
}

// begin walks through areas, after all that was there before.
func (o *offer) begin(areas []netip.Prefix) {
	for _, a := range areas {
		o.areas[a] = true
	}
	o.walks = nil
	for room := largestRoom; room >= 0; room-- {
		if 1<<room <= o.pool.MaxBlocks {
			o.walks = append(o.walks, &walk{bits: o.pool.Bits - room, areas: areas, used: o.taken.before})
		}
	}
}

// take returns a block for a node: one beside those that it has, else the first of a room. It is never one that the node has just
// released, so that its addresses rest before the node uses them again.
func (o *offer) take(r *request) (netip.Prefix, bool) {
	if !r.ownKnown {
		r.own, r.ownKnown = o.ownOf(r.node), true
	}
	block, ok := o.beside(r)
	if !ok {
		block, ok = o.elsewhere(r.node.released)
	}
	if ok {
		o.taken.given = insert(o.taken.given, block)
		r.own = insert(r.own, block)
	}
	return block, ok
}

// ownOf returns the blocks of a node beside which it can have others, in order.
func (o *offer) ownOf(n *node) []netip.Prefix {
	var own []netip.Prefix
	for prefix, b := range n.blocks {
		if b.Pool == o.pool.Name && prefix.Bits() == o.pool.Bits && !coveredBy(o.taken.before, prefix) {
			own = append(own, prefix)
		}
	}
	SortPrefixes(own)
	return own
}

// beside returns a free block out of the smallest prefix around a block of the node in which nobody else has anything.
func (o *offer) beside(r *request) (netip.Prefix, bool) {
	for around := r.own; len(around) > 0; {
		var wider []netip.Prefix
		for _, p := range around {
			next, err := p.Addr().Prefix(p.Bits() - 1)
			done := len(wider) > 0 && wider[len(wider)-1] == next
			if err != nil || done || !o.inArea(next) || o.taken.in(next) > countIn(r.own, next) {
				continue
			}
			for gaps := FindGaps(next, o.pool.Bits, r.own); ; {
				block, ok := gaps.Next()
				if !ok {
					break
				}
				if o.usable(block) && r.node.released[block] == "" {
					return block, true
				}
			}
			wider = append(wider, next)
		}
		around = wider
	}
	return netip.Prefix{}, false
}

// elsewhere returns the first block of the lowest of the largest rooms.
func (o *offer) elsewhere(released map[netip.Prefix]string) (netip.Prefix, bool) {
	o.back = slices.DeleteFunc(o.back, o.taken.isGiven)
	if i := slices.IndexFunc(o.back, func(p netip.Prefix) bool { return released[p] == "" }); i >= 0 {
		return o.back[i], true
	}
	for {
		for _, w := range o.walks {
			for room, ok := w.next(); ok; room, ok = w.next() {
				if block, ok := o.firstOf(room, released); ok {
					return block, true
				}
			}
		}
		if o.more == nil {
			break
		}
		area, ok := o.more()
		if !ok {
			break
		}
		o.begin([]netip.Prefix{area})
	}
	o.empty = len(o.back) == 0
	return netip.Prefix{}, false
}

// firstOf returns the lowest block of a room that the node can have, if nothing of the room was given meanwhile.
func (o *offer) firstOf(room netip.Prefix, released map[netip.Prefix]string) (netip.Prefix, bool) {
	if o.taken.isGiven(room) {
		return netip.Prefix{}, false
	}
	for blocks := FindGaps(room, o.pool.Bits, nil); ; {
		block, ok := blocks.Next()
		switch {
		case !ok:
			return netip.Prefix{}, false
		case !o.usable(block):
		case released[block] == "":
			return block, true
		case room == block:
			o.back = append(o.back, block)
		}
	}
}

// has says whether as many blocks are left, for whomever.
func (o *offer) has(n int) bool {
	all := &walk{bits: o.pool.Bits, areas: slices.SortedFunc(maps.Keys(o.areas), ComparePrefixes), used: o.taken.before}
	for n > 0 {
		block, ok := all.next()
		if !ok {
			return false
		}
		if !o.taken.isGiven(block) && o.usable(block) {
			n--
		}
	}
	return true
}

// usable says whether any pod can have an address of a block: what is neither reserved nor remembered for a pod may be the node's own address alone.
func (o *offer) usable(block netip.Prefix) bool {
	return o.pool.reserved.Usable(block, block.Bits()) > o.taken.remembered(block)
}

func (o *offer) inArea(p netip.Prefix) bool {
	for area := range o.areas { // all have the same length
		within, err := p.Addr().Prefix(area.Bits())
		return err == nil && p.Bits() >= area.Bits() && o.areas[within]
	}
	return false
}

// walk goes through the free rooms of one size, area by area.
type walk struct {
	bits  int
	areas []netip.Prefix
	used  []netip.Prefix
	now   *Gaps
}

func (w *walk) next() (netip.Prefix, bool) {
	for {
		if w.now != nil {
			if room, ok := w.now.Next(); ok {
				return room, true
			}
		}
		if len(w.areas) == 0 {
			return netip.Prefix{}, false
		}
		w.now, w.areas = FindGaps(w.areas[0], w.bits, w.used), w.areas[1:]
	}
}

// taken are prefixes that nobody gets: those from before a plan, and those that the plan gives. Both are sorted.
type taken struct {
	before, given []netip.Prefix
	// remembered returns how many addresses of a free block are remembered for pods.
	remembered func(netip.Prefix) int64
}

// in returns how many of them lie in a prefix.
func (t *taken) in(p netip.Prefix) int { return countIn(t.before, p) + countIn(t.given, p) }

// isGiven says whether the plan has given a prefix or a part of it.
func (t *taken) isGiven(p netip.Prefix) bool { return countIn(t.given, p) > 0 }

// countIn returns how many of a sorted list lie in a prefix.
func countIn(sorted []netip.Prefix, p netip.Prefix) int {
	from, _ := slices.BinarySearchFunc(sorted, p, ComparePrefixes)
	last := netipx.PrefixLastIP(p)
	return sort.Search(len(sorted)-from, func(i int) bool { return last.Less(sorted[from+i].Addr()) })
}

func insert(sorted []netip.Prefix, p netip.Prefix) []netip.Prefix {
	at, _ := slices.BinarySearchFunc(sorted, p, ComparePrefixes)
	return slices.Insert(sorted, at, p)
}
