package plan

import (
	"net/netip"
	"slices"
)

// A node announces neighbouring blocks as one prefix. For the plan, such a learned prefix stands for the blocks: each of them keeps a route of its
// own, so the kernel's routes stay as they are while the announced prefixes change. What is believed of a block is believed of a
// prefix that consists of blocks of one node, and of nothing else.

// joined returns the blocks that a prefix consists of, if it has several and all belong to one node and one pool.
func (p *Planner) joined(dst netip.Prefix) ([]Block, bool) {
	inPool := false
	for _, pool := range p.pools {
		inPool = inPool || inside(dst, pool.CIDR)
	}
	if !inPool {
		return nil, false
	}
	blocks, whole := p.appendBlocks(nil, dst)
	if !whole || len(blocks) < 2 || !inside(dst, p.pools[blocks[0].Pool].CIDR) {
		return nil, false
	}
	return blocks, true
}

// appendBlocks appends the blocks that fill a prefix. It reports false where something is missing, or where they differ in node or pool.
func (p *Planner) appendBlocks(blocks []Block, dst netip.Prefix) ([]Block, bool) {
	if b, ok := p.blocks[dst]; ok && b.Lender == "" {
		like := len(blocks) == 0 || blocks[0].Node == b.Node && blocks[0].Pool == b.Pool
		return append(blocks, *b), like
	}
	if dst.IsSingleIP() {
		return blocks, false
	}
	lower := netip.PrefixFrom(dst.Addr(), dst.Bits()+1)
	blocks, whole := p.appendBlocks(blocks, lower)
	if !whole {
		return blocks, false
	}
	return p.appendBlocks(blocks, upperHalf(dst))
}

func upperHalf(p netip.Prefix) netip.Prefix {
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.Bits()+1)
}

// learnedOver returns the next hops of the longest learned prefix that consists of a block and others of its node.
func (p *Planner) learnedOver(b Block) ([]netip.Addr, bool) {
	if b.Lender != "" {
		return nil, false // it is no longer with the node of the block around it
	}
	for bits := b.CIDR.Bits() - 1; bits > 0; bits-- {
		if hops, over, ok := p.learnedAt(b.CIDR.Addr(), bits); ok {
			if blocks, joined := p.joined(over); joined && slices.ContainsFunc(blocks, func(o Block) bool { return o.CIDR == b.CIDR }) {
				return hops, true
			}
		}
	}
	return nil, false
}

// learnedAt returns the learned prefix of a length that an address lies in.
func (p *Planner) learnedAt(a netip.Addr, bits int) ([]netip.Addr, netip.Prefix, bool) {
	if p.lengths[lengthOf(a, bits)] == 0 {
		return nil, netip.Prefix{}, false
	}
	over, err := a.Prefix(bits)
	hops, ok := p.learned[over]
	return hops, over, ok && err == nil
}

// touchJoined notes that learned prefixes over a block may mean something else, and so may the routes of their blocks. Call it before and after
// the block changes.
func (p *Planner) touchJoined(cidr netip.Prefix) {
	for bits := cidr.Bits(); bits > 0; bits-- {
		if _, over, ok := p.learnedAt(cidr.Addr(), bits); ok {
			p.dirty[over] = true
			p.touchBlocks(over)
		}
	}
}

// touchBlocks notes that the routes of the blocks that a prefix consists of may change.
func (p *Planner) touchBlocks(dst netip.Prefix) {
	blocks, _ := p.joined(dst)
	for _, b := range blocks {
		p.dirty[b.CIDR] = true
	}
}

// length is a prefix length of a family.
type length struct {
	v4   bool
	bits int
}

func lengthOf(a netip.Addr, bits int) length { return length{a.Is4(), bits} }

// setLearned notes what was learned for a destination.
func (p *Planner) setLearned(dst netip.Prefix, hops []netip.Addr) {
	if !p.isLearned(dst) {
		p.lengths[lengthOf(dst.Addr(), dst.Bits())]++
	}
	p.learned[dst] = hops
}

// dropLearned notes that nothing is learned for a destination any more.
func (p *Planner) dropLearned(dst netip.Prefix) {
	if !p.isLearned(dst) {
		return
	}
	delete(p.learned, dst)
	at := lengthOf(dst.Addr(), dst.Bits())
	if p.lengths[at]--; p.lengths[at] == 0 {
		delete(p.lengths, at)
	}
}
