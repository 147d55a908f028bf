package blockplan

import (
	"net/netip"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// allowance is how many addresses of a pool a node may still get, in blocks of its own or from other nodes' blocks: as many as pods could
// have in maxBlocksPerNode blocks, less those of the blocks that it has and those that it has borrowed. Whatever a claim asks for, this
// bounds it.
func (p *pool) allowance(has tally) int64 {
	return int64(p.MaxBlocks-has.blocks)*p.perBlock() - has.borrowed
}

// room is the same in blocks. A part of one counts as one.
func (p *pool) room(has tally) int {
	return int((max(p.allowance(has), 0) + p.perBlock() - 1) / p.perBlock())
}

// perBlock is how many addresses of a block pods can have.
func (p *pool) perBlock() int64 {
	return max(v1alpha1.UsableAddresses(netip.PrefixFrom(p.Prefix.Addr(), p.Bits)), 1)
}

// has is what a node has of a pool after this plan.
func (p *planner) has(of *pool, n *node) tally {
	owner := share{n.name, of.Name}
	out := p.kept[owner]
	if t := p.state.shares[owner]; t != nil {
		out.blocks, out.borrowed = out.blocks+t.blocks, out.borrowed+t.borrowed
	}
	return out
}

// keep notes what a node gets of a pool by this plan.
func (p *planner) keep(of *pool, n *node, more tally) {
	owner := share{n.name, of.Name}
	t := p.kept[owner]
	p.kept[owner] = tally{blocks: t.blocks + more.blocks, free: t.free + more.free, borrowed: t.borrowed + more.borrowed}
}
