package plan

import (
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/infrastructure"
)

// Changes are what a change of blocks, pods or learned routes changes of a plan.
type Changes struct {
	Routes []RouteChange
	// Neighbours and FDB are new entries, the others are those that nothing needs any more.
	Neighbours, NeighboursGone []Neighbour
	FDB, FDBGone               []FDBEntry
	// Sysctls are all those of pods, if there are others than before.
	Sysctls []Sysctl
	// Firewall is nil if it is the same as before.
	Firewall *Firewall
}

// RouteChange is what is planned for one destination: a route, or none.
type RouteChange struct {
	Dst   netip.Prefix
	Route Route
	// Gone says that no route is planned.
	Gone bool
}

// Empty says whether nothing has changed.
func (c Changes) Empty() bool {
	return len(c.Routes)+len(c.Neighbours)+len(c.NeighboursGone)+len(c.FDB)+len(c.FDBGone)+len(c.Sysctls) == 0 && c.Firewall == nil
}

// SetBlock takes a block that is new or has changed. It reports false for one that was or is this node's own: then all has
// to be planned anew.
func (p *Planner) SetBlock(b *Block) bool {
	b, ok := usable(b)
	if !ok {
		return true
	}
	for _, a := range b.NodeAddresses { // first, so that one that stays does not count as a change
		p.addMember(a, 1)
	}
	if b.Node == p.in.Node || !p.DropBlock(b.CIDR) {
		return false
	}
	p.touchJoined(b.CIDR)
	p.blocks[b.CIDR] = b
	p.touchJoined(b.CIDR)
	p.countBlock(b.Pool, 1)
	n := p.node(b.Node)
	at, _ := slices.BinarySearchFunc(n.blocks, b, compareBlocks)
	n.blocks = slices.Insert(n.blocks, at, b)
	p.touch(n, b.CIDR)
	return true
}

// DropBlock takes that a block is gone. It reports false for one of this node.
func (p *Planner) DropBlock(cidr netip.Prefix) bool {
	for _, own := range p.own {
		if own.CIDR == cidr {
			return false
		}
	}
	b, known := p.blocks[cidr]
	if !known {
		return true
	}
	p.touchJoined(cidr)
	delete(p.blocks, cidr)
	p.touchJoined(cidr)
	p.countBlock(b.Pool, -1)
	for _, a := range b.NodeAddresses {
		p.addMember(a, -1)
	}
	n := p.nodes[b.Node]
	n.blocks = slices.DeleteFunc(n.blocks, func(o *Block) bool { return o.CIDR == cidr })
	p.touch(n, cidr)
	return true
}

// countBlock counts a block of a pool in or out. The filter asks whether there are any.
func (p *Planner) countBlock(pool string, n int) {
	before := p.blocksOf[pool]
	p.blocksOf[pool] = before + n
	doubtful := p.pools[pool].Doubtful
	p.filtered = p.filtered || doubtful && (before == 0 || before+n == 0)
}

// touch notes that a block of a node has come or gone. The node's other blocks may be reached by its first address.
func (p *Planner) touch(n *node, cidr netip.Prefix) {
	p.findVTEPs(n)
	p.dirty[cidr] = true
	p.dirtyNodes[n.name] = true
}

// SetLearned takes what was learned for some destinations; without next hops, there is nothing any more.
func (p *Planner) SetLearned(routes []LearnedRoute) {
	for _, l := range routes {
		if !l.Prefix.IsValid() {
			continue
		}
		dst := l.Prefix.Masked()
		if len(l.NextHops) == 0 {
			p.dropLearned(dst)
		} else {
			p.setLearned(dst, l.NextHops)
		}
		p.dirty[dst] = true
		p.touchBlocks(dst)
	}
}

// enterLearned takes all that was learned. Of two routes to one destination, the first counts.
func (p *Planner) enterLearned(routes []LearnedRoute) {
	for _, l := range routes {
		if !l.Prefix.IsValid() {
			continue
		}
		if dst := l.Prefix.Masked(); !p.isLearned(dst) {
			p.setLearned(dst, l.NextHops)
		}
	}
}

func (p *Planner) isLearned(dst netip.Prefix) bool {
	_, ok := p.learned[dst]
	return ok
}

// SetNodeAddresses takes the addresses of all nodes, in place of those that it had.
func (p *Planner) SetNodeAddresses(addresses []netip.Addr) {
	for _, a := range addresses {
		p.addMember(a, 1)
	}
	for _, a := range p.in.NodeAddresses {
		p.addMember(a, -1)
	}
	p.in.NodeAddresses = addresses
}

// SetInfrastructure takes the networks that nothing of ours may touch. It reports false where that changes what is fixed.
func (p *Planner) SetInfrastructure(networks *infrastructure.Networks) bool {
	changed := func(cidr netip.Prefix) bool {
		return !slices.Equal(p.hits(cidr), hitsOf(networks, cidr))
	}
	for _, b := range p.own {
		if changed(b.CIDR) {
			return false
		}
	}
	for _, pool := range p.pools {
		if changed(pool.CIDR) {
			return false
		}
	}
	for dst := range p.pods {
		if changed(dst) {
			return false
		}
	}
	for cidr, b := range p.blocks {
		if changed(cidr) {
			p.dirty[cidr], p.dirtyNodes[b.Node] = true, true
		}
	}
	p.in.Infrastructure = networks
	return true
}

func hitsOf(networks *infrastructure.Networks, dst netip.Prefix) []infrastructure.Network {
	if networks == nil {
		return nil
	}
	return networks.Hits(dst)
}

// Flush plans what has been touched, and returns what that changes.
func (p *Planner) Flush() Changes {
	for dst := range p.dirty {
		if b, ok := p.blocks[dst]; ok {
			p.dirtyNodes[b.Node] = true
		}
	}
	for name := range p.dirtyNodes {
		p.planNode(name)
	}
	for dst := range p.dirty {
		p.enter(dst, p.decide(dst))
	}
	clear(p.dirty)
	clear(p.dirtyNodes)
	if p.filtered && p.in.Capabilities.NFTables {
		p.fixed.Firewall = p.makeFirewall()
		p.pending.Firewall = &p.fixed.Firewall
	}
	p.filtered = false
	out := p.pending
	p.pending = Changes{}
	out.sort()
	return out
}

// sort also leaves out what the kernel has replaced: one address has one neighbour entry, and one MAC one FDB entry.
func (c *Changes) sort() {
	c.NeighboursGone = slices.DeleteFunc(c.NeighboursGone, func(n Neighbour) bool {
		return slices.ContainsFunc(c.Neighbours, func(o Neighbour) bool { return o.Device == n.Device && o.Address == n.Address })
	})
	c.FDBGone = slices.DeleteFunc(c.FDBGone, func(f FDBEntry) bool {
		return slices.ContainsFunc(c.FDB, func(o FDBEntry) bool { return o.Device == f.Device && o.MAC == f.MAC })
	})
	slices.SortFunc(c.Routes, func(a, b RouteChange) int { return ComparePrefixes(a.Dst, b.Dst) })
	for _, list := range [][]Neighbour{c.Neighbours, c.NeighboursGone} {
		slices.SortFunc(list, compareNeighbours)
	}
	for _, list := range [][]FDBEntry{c.FDB, c.FDBGone} {
		slices.SortFunc(list, compareFDB)
	}
}

// planNode plans all blocks of another node, and what resolves its next hops.
func (p *Planner) planNode(name string) {
	n := p.nodes[name]
	var neighbours []Neighbour
	var fdb []FDBEntry
	for _, b := range n.blocks {
		v := p.decide(b.CIDR)
		p.enter(b.CIDR, v)
		delete(p.dirty, b.CIDR)
		if v.way.neighbour.Device != "" && !slices.Contains(neighbours, v.way.neighbour) {
			neighbours = append(neighbours, v.way.neighbour)
		}
		same := func(e FDBEntry) bool { return e.Device == v.way.fdb.Device && e.MAC == v.way.fdb.MAC }
		if v.way.fdb.Device != "" && !slices.ContainsFunc(fdb, same) {
			fdb = append(fdb, v.way.fdb)
		}
	}
	changes := &p.pending
	if p.building {
		changes = &Changes{}
	}
	recount(p.neighbours, n.neighbours, neighbours, &changes.Neighbours, &changes.NeighboursGone)
	recount(p.fdb, n.fdb, fdb, &changes.FDB, &changes.FDBGone)
	n.neighbours, n.fdb = neighbours, fdb
	if len(n.blocks) == 0 {
		delete(p.nodes, name)
	}
}

// recount replaces entries of a node by others, and notes which ones are new or gone.
func recount[T comparable](all map[T]int, before, after []T, fresh, gone *[]T) {
	for _, e := range after {
		if all[e]++; all[e] == 1 {
			*fresh = append(*fresh, e)
		}
	}
	for _, e := range before {
		if all[e]--; all[e] == 0 {
			delete(all, e)
			if i := slices.Index(*fresh, e); i >= 0 {
				*fresh = slices.Delete(*fresh, i, i+1)
			} else {
				*gone = append(*gone, e)
			}
		}
	}
}

// enter notes what is decided for a destination.
func (p *Planner) enter(dst netip.Prefix, v verdict) {
	if len(v.problems) > 0 {
		p.problems[dst] = v.problems
	} else {
		delete(p.problems, dst)
	}
	if v.refused != "" {
		p.refused[dst] = v.refused
	} else {
		delete(p.refused, dst)
	}
	before, was := p.Planned(dst)
	if was == v.ok && (!was || before.Equal(v.route)) {
		return
	}
	if was {
		p.count(before, -1)
		delete(p.routes, dst)
	}
	if v.ok {
		p.count(v.route, 1)
		p.routes[dst] = p.course(v.route)
	}
	if p.building {
		return
	}
	// The pod is being made or taken away.
	kept := before.Source == RouteSourceEndpoint && p.keep[before.NextHop.Device] || before.Yields() && p.held[dst]
	if v.ok || !kept {
		p.pending.Routes = append(p.pending.Routes, RouteChange{Dst: dst, Route: v.route, Gone: !v.ok})
	}
}

func (p *Planner) count(r Route, n int32) {
	k := RouteCount{Source: r.Source, Protocol: int32(r.Protocol)}
	if p.counts[k] += n; p.counts[k] == 0 {
		delete(p.counts, k)
	}
}
