package addressbook

import (
	"net/netip"
	"slices"
	"time"
)

// Share is the node's part of one pool, as it tells the controller.
type Share struct {
	Pool                  string
	Free, Wanted, Waiting int
	// MaxBlocks is the largest number of blocks that the node may have; 0 for no bound.
	MaxBlocks int
	// Held are the blocks that the node has and has not released, Released those that it never takes an address from again.
	Held, Released []netip.Prefix
}

// Shares returns the node's share of every pool, sorted by name, and gives back surplus blocks on the way: a block that
// is listed as released is never used again. again is how long until a block may become surplus; 0 for never.
func (b *Book) Shares() (shares []Share, again time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for _, pool := range b.pools {
		s := Share{Pool: pool.Name, Waiting: b.waiting[pool.Name], MaxBlocks: pool.MaxBlocks}
		if pool.Usable {
			s.Wanted = b.wanted(pool) + s.Waiting
		}
		blocks := b.blocksOf(pool.Name)
		for _, known := range blocks {
			if known.usable {
				s.Free += known.free()
			}
		}
		hurry := !pool.Usable || pool.Exhausted
		spare := s.Free
		for i, known := range slices.Backward(blocks) {
			surplus := known.inUse == 0 && !known.released && (!known.usable || spare-known.capacity() >= s.Wanted && (i > 0 || hurry || !pool.Reserve))
			if !surplus {
				continue
			}
			if left := b.linger - now.Sub(known.emptyAt); known.usable && !hurry && left > 0 {
				if again == 0 || left < again {
					again = left
				}
				spare -= known.capacity()
				continue
			}
			if known.usable {
				spare -= known.capacity()
				s.Free -= known.capacity()
			}
			known.released, known.usable = true, false
			b.released[known.cidr] = true
		}
		for _, known := range blocks {
			if known.released {
				s.Released = append(s.Released, known.cidr)
			} else {
				s.Held = append(s.Held, known.cidr)
			}
		}
		shares = append(shares, s)
	}
	slices.SortFunc(shares, func(x, y Share) int { return compare(x.Pool, y.Pool) })
	return shares, again
}

// wanted is the number of free addresses that the node keeps ahead of need.
func (b *Book) wanted(pool Pool) int {
	if !pool.Reserve || pool.Exhausted {
		return 0
	}
	return min(b.reserve, pool.BlockCapacity)
}

// reservesFull reports whether the pools' reserves are full.
func (b *Book) reservesFull(pools []string) bool {
	for _, name := range pools {
		free := 0
		for _, known := range b.blocks {
			if known.pool == name && known.usable {
				free += known.free()
			}
		}
		if free < b.wanted(b.pools[name]) {
			return false
		}
	}
	return true
}
