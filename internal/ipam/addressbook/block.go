package addressbook

import (
	"math/bits"
	"net/netip"
	"time"

	"github.com/causeway-net/causeway/internal/ipam/reservation"
)

// maxBlockBits bounds a block to 2^16 addresses, more than the API allows (2^12), whatever comes in.
const maxBlockBits = 16

// block is the free list of one prefix. Bit i is set when address i can't be given out.
type block struct {
	cidr     netip.Prefix
	pool     string
	uid      string // the IPBlock's; "" where the API has not shown it yet
	used     []uint64
	reserved []uint64 // bit i is set when address i is given to nobody; nil for none
	lent     []uint64 // bit i is set when address i is another node's; nil for none
	// remembered has bit i set when only a certain pod gets address i; nil for none.
	remembered []uint64
	kept       bool   // the first address is kept for the node's tunnels
	loan       string // the id under which this is lent to the node; "" for a block of its own
	fixed      bool   // only pods that ask for an address of it get one
	loans      []Loan // of the block to other nodes
	size       int
	inUse      int // used, without the kept first address
	next       int
	usable     bool      // false: no new address from here (terminating, released, or not in the API)
	released   bool      // given back for good
	present    bool      // the API has it
	emptyAt    time.Time // since when nothing is in use
}

func newBlock(cidr netip.Prefix, pool string, now time.Time) *block {
	hostBits := min(cidr.Addr().BitLen()-cidr.Bits(), maxBlockBits)
	size := 1 << hostBits
	b := &block{cidr: cidr, pool: pool, size: size, used: make([]uint64, (size+63)/64), emptyAt: now}
	if rest := size % 64; rest != 0 {
		b.used[len(b.used)-1] = ^uint64(0) << rest
	}
	return b
}

// identify notes which IPBlock this is. released are the UIDs of the blocks that were given back: one that was made anew with the
// CIDR of such a block serves pods at once.
func (b *block) identify(uid string, released map[netip.Prefix]string) {
	if gone := b.uid; gone != "" && released[b.cidr] == gone {
		delete(released, b.cidr)
	}
	b.uid = uid
	b.released = uid != "" && released[b.cidr] == uid
}

// keep keeps the first address for the node's tunnels. A range that was lent has none.
func (b *block) keep() {
	if b.size > 1 {
		b.kept = true
		b.used[0] |= 1
		b.next = 1
	}
}

// setReserved notes which addresses are given to nobody. Pods that have one keep it.
func (b *block) setReserved(set *reservation.Set) {
	b.reserved = nil
	for _, r := range set.In(b.cidr) {
		if b.reserved == nil {
			b.reserved = make([]uint64, len(b.used))
		}
		first := indexOf(b.cidr.Addr(), r.From())
		last := min(indexOf(b.cidr.Addr(), r.To()), b.size-1)
		for i := max(first, 0); i <= last; i++ {
			b.reserved[i/64] |= 1 << (i % 64)
		}
	}
}

// taken is one word of the addresses that can't be given out.
func (b *block) taken(word int) uint64 {
	return b.used[word] | b.withheld(word) | b.expected(word)
}

// withheld is one word of the addresses that are reserved or lent.
func (b *block) withheld(word int) uint64 {
	if b.reserved == nil {
		return b.lentWord(word)
	}
	return b.reserved[word] | b.lentWord(word)
}

// capacity is the number of addresses that pods can be given.
func (b *block) capacity() int {
	n := b.size
	for word := range b.used {
		n -= bits.OnesCount64(b.withheld(word) | b.expected(word))
	}
	if b.kept && b.withheld(0)&1 == 0 {
		n-- // the tunnels' address
	}
	return n
}

// free is the number of addresses that can be given out now.
func (b *block) free() int {
	n := 0
	for word := range b.used {
		n += bits.OnesCount64(^b.taken(word))
	}
	return n
}

// take marks the next free address after the one that was given last, so that an address rests before it is used again.
func (b *block) take() (netip.Addr, bool) {
	words := len(b.used)
	for i := range words + 1 {
		w := (b.next/64 + i) % words
		free := ^b.taken(w)
		if i == 0 {
			free &= ^uint64(0) << (b.next % 64)
		}
		if free == 0 {
			continue
		}
		index := w*64 + bits.TrailingZeros64(free)
		b.used[w] |= 1 << (index % 64)
		b.inUse++
		b.next = (index + 1) % b.size
		return addrAt(b.cidr.Addr(), index), true
	}
	return netip.Addr{}, false
}

// mark notes that an address is in use. The kept first address counts for nothing.
func (b *block) mark(a netip.Addr) {
	index := indexOf(b.cidr.Addr(), a)
	if index < 0 || index >= b.size || b.used[index/64]&(1<<(index%64)) != 0 {
		return
	}
	b.used[index/64] |= 1 << (index % 64)
	b.inUse++
}

// unmark gives an address back.
func (b *block) unmark(a netip.Addr, now time.Time) {
	index := indexOf(b.cidr.Addr(), a)
	if index < 0 || index >= b.size || (index == 0 && b.kept) || b.used[index/64]&(1<<(index%64)) == 0 {
		return
	}
	b.used[index/64] &^= 1 << (index % 64)
	b.inUse--
	if b.inUse == 0 {
		b.emptyAt = now
	}
}

// addrAt returns the address index places after base. Only the low 16 bits change, since blocks are aligned.
func addrAt(base netip.Addr, index int) netip.Addr {
	raw := base.As16()
	low := int(raw[14])<<8 | int(raw[15]) + index
	raw[14], raw[15] = byte(low>>8), byte(low)
	a := netip.AddrFrom16(raw)
	if base.Is4() {
		return a.Unmap()
	}
	return a
}

// indexOf is the reverse of addrAt for addresses of the same block.
func indexOf(base, a netip.Addr) int {
	b, c := base.As16(), a.As16()
	return (int(c[14])<<8 | int(c[15])) - (int(b[14])<<8 | int(b[15]))
}
