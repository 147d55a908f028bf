package blockplan

import (
	"maps"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Facts are what a node's agent reports of the underlay.
type Facts struct {
	Addresses []netip.Addr
	Subnets   []netip.Prefix
}

// node is all that is known by a node's name.
type node struct {
	name    string
	present bool
	labels  labels.Set
	// kubelet are the addresses that the Node object shows.
	kubelet []netip.Addr
	facts   Facts
	// addresses are those that its blocks show: one of each family, IPv4 first.
	addresses []string
	claims    map[string]claim
	released  map[netip.Prefix]string // blocks that the node has given back, with their UIDs
	blocks    map[netip.Prefix]*block
	// asks are the addresses that its pods wait for by name, with their pools; given the loans that it has given up; borrows the number of
	// ranges that it has, or is to have, of blocks of others.
	asks    map[netip.Addr]string
	given   map[string]bool
	borrows int
}

type claim struct {
	wanted, waiting int64
	held            []netip.Prefix
}

func (s *State) nodeOf(nodeName string) *node {
	n := s.nodes[nodeName]
	if n == nil {
		n = &node{name: nodeName, blocks: map[netip.Prefix]*block{}}
		s.nodes[nodeName] = n
	}
	return n
}

func (s *State) forgetIfEmpty(nodeName string) {
	n := s.nodes[nodeName]
	if n != nil && !n.present && len(n.facts.Addresses) == 0 && len(n.claims) == 0 && len(n.blocks) == 0 && n.borrows == 0 {
		delete(s.nodes, nodeName)
	}
}

// SetNode notes that a Node exists, with its labels and addresses.
func (s *State) SetNode(nodeName string, set map[string]string, addresses []netip.Addr) {
	n := s.nodeOf(nodeName)
	was := n.present
	n.present, n.labels = true, set
	if !slices.Equal(n.kubelet, addresses) || !was {
		s.noteConflicts(n)
		n.kubelet = addresses
		s.noteConflicts(n)
	}
	s.reneedAll(n)
	s.restray(nodeName)
}

// DropNode notes that a Node is gone.
func (s *State) DropNode(nodeName string) {
	n := s.nodeOf(nodeName)
	s.noteConflicts(n)
	n.present, n.kubelet = false, nil
	s.reneedAll(n)
	s.restray(nodeName)
	s.forgetIfEmpty(nodeName)
}

// SetFacts notes what a node's agent reports of the underlay; none when its NodeNetwork is gone.
func (s *State) SetFacts(nodeName string, f Facts) {
	n := s.nodeOf(nodeName)
	if slices.Equal(n.facts.Addresses, f.Addresses) && slices.Equal(n.facts.Subnets, f.Subnets) {
		s.forgetIfEmpty(nodeName)
		return
	}
	s.noteConflicts(n)
	n.facts, n.addresses = f, nil
	s.noteConflicts(n)
	sorted := slices.SortedFunc(slices.Values(f.Addresses), netip.Addr.Compare)
	for _, a := range sorted[:min(len(sorted), 2)] {
		n.addresses = append(n.addresses, a.String())
	}
	for _, b := range n.blocks {
		s.recount(b)
	}
	s.reneedAll(n)
	s.forgetIfEmpty(nodeName)
}

// SetClaim notes what a node asks for; nothing when its BlockClaim is gone.
func (s *State) SetClaim(nodeName string, asked []v1alpha1.PoolClaim) {
	n := s.nodeOf(nodeName)
	before, released := n.claims, n.released
	s.dropHeld(n)
	n.claims, n.released = make(map[string]claim, len(asked)), map[netip.Prefix]string{}
	for _, one := range asked {
		n.claims[one.Pool] = claim{wanted: int64(one.Wanted), waiting: int64(one.Waiting), held: parse(one.Held)}
		for _, r := range one.Released {
			if p, err := netip.ParsePrefix(r.CIDR); err == nil {
				n.released[p.Masked()] = r.UID
			}
		}
	}
	s.addHeld(n)
	s.noteAsks(n, asked)
	for p := range released {
		s.recountOwn(n, p)
	}
	for p := range n.released {
		s.recountOwn(n, p)
	}
	for pool := range before {
		s.reneed(nodeName, pool)
	}
	for pool := range n.claims {
		s.reneed(nodeName, pool)
	}
	s.recountLoansTo(n)
	s.forgetIfEmpty(nodeName)
}

func (s *State) recountOwn(n *node, p netip.Prefix) {
	if b := n.blocks[p]; b != nil {
		s.recount(b)
	}
}

func (s *State) dropHeld(n *node) {
	for _, c := range n.claims {
		for _, p := range c.held {
			_, vacant := s.vacant[p]
			s.orphansStale = s.orphansStale || vacant
			rest := slices.DeleteFunc(s.heldBy[p], func(name string) bool { return name == n.name })
			if len(rest) > 0 {
				s.heldBy[p] = rest
				continue
			}
			delete(s.heldBy, p)
			delete(s.vacant, p)
		}
	}
}

func (s *State) addHeld(n *node) {
	for _, c := range n.claims {
		for _, p := range c.held {
			s.heldBy[p] = append(s.heldBy[p], n.name)
			if s.blocks[p] == nil {
				s.vacant[p] = struct{}{}
				s.orphansStale = true
			}
		}
	}
}

func parse(texts []string) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

func (s *State) reneedAll(n *node) {
	for pool := range n.claims {
		s.reneed(n.name, pool)
	}
}

// reneed brings up to date what a node still needs of a pool.
func (s *State) reneed(nodeName, poolName string) {
	p, n := s.pools[poolName], s.nodes[nodeName]
	if p == nil {
		return
	}
	delete(p.needs, nodeName)
	delete(p.atLimit, nodeName)
	if n == nil || !n.present || len(n.addresses) == 0 || !p.Nodes.Matches(n.labels) {
		return
	}
	c, asks := n.claims[poolName]
	if !asks {
		return
	}
	var have tally
	if t := s.shares[share{nodeName, poolName}]; t != nil {
		have = *t
	}
	free := max(have.free, 0)
	r := request{node: n, waiting: c.waiting - free, reserve: c.wanted - free, room: p.room(have)}
	switch {
	case r.room > 0 && (r.waiting > 0 || r.reserve > 0):
		p.needs[nodeName] = r
	case r.room <= 0 && r.waiting > 0:
		p.atLimit[nodeName] = r.waiting
	}
}

// presentNodes returns how many Nodes there are.
func (s *State) presentNodes() int {
	n := 0
	for one := range maps.Values(s.nodes) {
		if one.present {
			n++
		}
	}
	return n
}
