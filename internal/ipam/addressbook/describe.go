package addressbook

import (
	"net/netip"
	"slices"
)

// BlockState is one block of the node, as people and checkpoints see it.
type BlockState struct {
	CIDR netip.Prefix
	Pool string
	// Present is false where the API does not have the block any more.
	Present bool
	// Usable blocks serve new pods.
	Usable bool
	// Released blocks are never used again.
	Released bool
	// Capacity is how many addresses pods can have, InUse how many they have.
	Capacity, InUse int
}

// Blocks returns the node's blocks, sorted.
func (b *Book) Blocks() []BlockState {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]BlockState, 0, len(b.blocks))
	for _, known := range b.blocks {
		out = append(out, BlockState{
			CIDR: known.cidr, Pool: known.pool, Present: known.present, Usable: known.usable, Released: known.released,
			Capacity: known.capacity(), InUse: known.inUse,
		})
	}
	slices.SortFunc(out, func(x, y BlockState) int { return x.CIDR.Compare(y.CIDR) })
	return out
}
