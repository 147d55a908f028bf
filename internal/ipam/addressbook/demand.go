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
	Held     []netip.Prefix
	Released []Released
	// Asks are the addresses that pods wait for by name and that the node does not have, Given the loans whose ranges it has given up.
	Asks  []netip.Addr
	Given []Given
}

// Shares returns the node's share of every pool, sorted by name, and gives back surplus blocks on the way: a block that
// is listed as released is never used again. again is how long until a block may become surplus; 0 for never.
func (b *Book) Shares() (shares []Share, again time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.give()
	for _, pool := range b.pools {
		s := Share{Pool: pool.Name, Waiting: b.waiting[pool.Name], MaxBlocks: pool.MaxBlocks}
		if pool.Usable {
			s.Wanted = b.wanted(pool) + s.Waiting
			s.Asks = b.asksOf(pool)
		}
		blocks := b.blocksOf(pool.Name)
		for _, known := range blocks {
			if known.fixed {
				b.returnFixed(known)
			} else if known.usable {
				s.Free += known.free()
			}
		}
		hurry := !pool.Usable || pool.Exhausted
		spare := s.Free
		for i, known := range slices.Backward(blocks) {
			enough := spare-known.capacity() >= s.Wanted && (i > 0 || hurry || !pool.Reserve)
			if known.loan != "" { // no reserve is kept of what is lent: it goes back unless a pod waits
				enough = spare-known.capacity() >= s.Waiting
			}
			lends := known.lent != nil || known.fixed
			named := known.uid != "" || known.loan != "" // what has no name can't be given back; it goes when the API does not show it
			surplus := named && known.inUse == 0 && !known.released && !lends && (!known.usable || enough)
			if !surplus {
				continue
			}
			serves := known.usable && known.free() > 0 // else it is of no use to pods that any address will do for
			if left := b.linger - now.Sub(known.emptyAt); serves && !hurry && left > 0 {
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
			b.giveBack(known)
		}
		for _, known := range blocks {
			switch {
			case !known.released:
				s.Held = append(s.Held, known.cidr)
			case known.loan == "":
				s.Released = append(s.Released, Released{known.cidr, known.uid})
			}
		}
		s.Given = b.givenOf(func(g Given) bool { return g.Pool == pool.Name })
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
			if known.pool == name && known.usable && !known.fixed {
				free += known.free()
			}
		}
		if free < b.wanted(b.pools[name]) {
			return false
		}
	}
	return true
}
