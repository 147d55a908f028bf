package cluster

import (
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/infrastructure"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// keptChanges is how many changes of blocks the view remembers. Who asks later than that gets all blocks.
const keptChanges = 4096

// BlockChanges is what has become of the blocks of all nodes since a version.
type BlockChanges struct {
	// Version is that of the blocks now.
	Version uint64
	// Whole says that Set has all blocks that there are, and Gone says nothing.
	Whole bool
	Set   []*plan.Block
	Gone  []netip.Prefix
}

// blockLog remembers which blocks have changed last. Entry i made version base+i+1.
type blockLog struct {
	base    uint64
	changed []netip.Prefix
}

func (l *blockLog) version() uint64 { return l.base + uint64(len(l.changed)) }

func (l *blockLog) add(cidr netip.Prefix) {
	l.changed = append(l.changed, cidr)
	if len(l.changed) > keptChanges {
		half := len(l.changed) / 2
		l.base, l.changed = l.base+uint64(half), slices.Clone(l.changed[half:])
	}
}

// restart forgets everything: whatever was known before has to be asked for again.
func (l *blockLog) restart() { l.base, l.changed = l.version()+1, nil }

// since returns the blocks that have changed since a version. It reports false if that is not known any more.
func (l *blockLog) since(version uint64) ([]netip.Prefix, bool) {
	if version < l.base || version > l.version() {
		return nil, false
	}
	return l.changed[version-l.base:], true
}

// BlocksSince returns what has changed of the blocks of all nodes since a version that it has returned before; all of them
// for version 0. The blocks are those of the view: nobody may change one.
func (v *View) BlocksSince(version uint64) BlockChanges {
	v.mu.RLock()
	defer v.mu.RUnlock()
	out := BlockChanges{Version: v.blockLog.version()}
	changed, known := v.blockLog.since(version)
	if !known {
		out.Whole, out.Set = true, make([]*plan.Block, 0, len(v.shown.blocks))
		for _, b := range v.shown.blocks {
			out.Set = append(out.Set, &b.Block)
		}
		return out
	}
	seen := make(map[netip.Prefix]bool, len(changed))
	for _, cidr := range changed {
		if seen[cidr] {
			continue
		}
		seen[cidr] = true
		if b, ok := v.shown.blocks[cidr]; ok {
			out.Set = append(out.Set, &b.Block)
		} else {
			out.Gone = append(out.Gone, cidr)
		}
	}
	return out
}

// NodeNetworks are what the other nodes say of themselves, and this one. It belongs to the view and must not be changed; as
// long as nothing changes, the view returns the same one.
type NodeNetworks struct {
	// Addresses are those of all nodes, sorted.
	Addresses []netip.Addr
	// Infrastructure are these addresses and the subnets that they are in.
	Infrastructure []infrastructure.Network
}

// NodeNetworks returns the addresses and subnets of all nodes.
func (v *View) NodeNetworks() *NodeNetworks {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.nodeNetworks == nil {
		out := &NodeNetworks{}
		for name, networks := range v.shown.networks {
			for _, n := range networks {
				out.Addresses = append(out.Addresses, n.Addr())
				out.Infrastructure = append(out.Infrastructure, infrastructure.NodeAddress(name, n.Addr()), infrastructure.NodeSubnet(name, n))
			}
		}
		slices.SortFunc(out.Addresses, netip.Addr.Compare)
		out.Addresses = slices.Compact(out.Addresses)
		v.nodeNetworks = out
	}
	return v.nodeNetworks
}
