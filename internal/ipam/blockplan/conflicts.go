package blockplan

import (
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/infrastructure"
)

// conflicts are what a pool has in common with the infrastructure.
type conflicts struct {
	// hits are for people.
	hits []infrastructure.Network
	// sure says that a hit is such that an unused pool gives nothing out.
	sure bool
	// withheld are prefixes that no block of a used pool may touch.
	withheld []netip.Prefix
}

// SetInfrastructure notes what is known apart from the nodes: the API server's addresses and the Service ranges.
func (s *State) SetInfrastructure(networks []infrastructure.Network) {
	s.fixed, s.conflictsOld = networks, true
}

// refused says that a pool gives nothing out because of its conflicts. One that has given blocks out before a conflict came goes on
// with the blocks that the conflict does not touch.
func (s *State) refused(p *pool) bool { return p.sure && s.numbersOf(p.Name).blocks == 0 }

// report is one network that a node says it is connected to.
type report struct {
	reporters int
	// likely says that it goes with an address that the Node object shows.
	likely bool
}

// noteConflicts makes settleConflicts look again if what a node stands on concerns a pool.
func (s *State) noteConflicts(n *node) {
	concerns := func(p netip.Prefix) bool {
		return slices.ContainsFunc(s.order, func(pool *pool) bool { return pool.Prefix.Overlaps(p) })
	}
	host := func(a netip.Addr) bool { return concerns(netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())) }
	s.conflictsOld = s.conflictsOld || slices.ContainsFunc(n.kubelet, host) || slices.ContainsFunc(n.facts.Addresses, host) ||
		slices.ContainsFunc(n.facts.Subnets, concerns)
}

// settleConflicts compares all pools with the infrastructure, if either has changed.
func (s *State) settleConflicts() {
	if !s.conflictsOld {
		return
	}
	s.conflictsOld = false
	networks := slices.Clone(s.fixed)
	certain, worst := map[netip.Prefix]bool{}, map[netip.Prefix]bool{}
	for _, n := range s.fixed {
		certain[n.Prefix], worst[n.Prefix] = true, true
	}
	reports := map[netip.Prefix]report{}
	for _, n := range s.nodes {
		networks = append(networks, s.networksOf(n, certain, reports)...)
	}
	all := infrastructure.Of(networks...)
	for _, p := range s.order {
		p.conflicts = conflicts{hits: onePerPrefix(all.Hits(p.Prefix))}
		// People read the first names only.
		slices.SortStableFunc(p.hits, func(a, b infrastructure.Network) int { return order(worst[a.Prefix]) - order(worst[b.Prefix]) })
		for _, hit := range p.hits {
			p.judge(hit.Prefix, certain[hit.Prefix], reports[hit.Prefix])
		}
	}
}

// networksOf returns what a node stands on. What its Node object shows is certain; what only its agent reports is a report.
func (s *State) networksOf(n *node, certain map[netip.Prefix]bool, reports map[netip.Prefix]report) (out []infrastructure.Network) {
	if !n.present {
		return nil
	}
	for _, a := range n.kubelet {
		network := infrastructure.NodeAddress(n.name, a)
		certain[network.Prefix] = true
		out = append(out, network)
	}
	note := func(network infrastructure.Network, likely bool) {
		r := reports[network.Prefix]
		reports[network.Prefix] = report{reporters: r.reporters + 1, likely: r.likely || likely}
		out = append(out, network)
	}
	for _, a := range n.facts.Addresses {
		note(infrastructure.NodeAddress(n.name, a), len(n.kubelet) == 0 || slices.Contains(n.kubelet, a))
	}
	for _, p := range n.facts.Subnets {
		note(infrastructure.NodeSubnet(n.name, p), len(n.kubelet) == 0 || slices.ContainsFunc(n.kubelet, p.Contains))
	}
	return out
}

// judge bounds what one node can do to a pool by reporting a network that it does not have: alone, it can keep a pool in use from
// giving out as many blocks as it could have had itself, and no more.
func (p *pool) judge(network netip.Prefix, certain bool, r report) {
	if certain || r.likely {
		p.sure = true
	}
	larger := max(network.Bits(), p.Prefix.Bits()) // the prefix length of what both share
	touched := p.Bits - larger                     // as a power of two
	if certain || r.reporters > 1 || touched <= 0 || touched < 31 && 1<<touched <= p.MaxBlocks {
		p.withheld = append(p.withheld, network)
	}
}

func order(first bool) int {
	if first {
		return 0
	}
	return 1
}

// onePerPrefix keeps the first of several networks with the same prefix: nodes of one subnet all report it.
func onePerPrefix(hits []infrastructure.Network) []infrastructure.Network {
	return slices.CompactFunc(hits, func(a, b infrastructure.Network) bool { return a.Prefix == b.Prefix })
}
