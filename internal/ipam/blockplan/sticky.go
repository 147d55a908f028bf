package blockplan

import (
	"maps"
	"net/netip"
	"slices"
	"unique"

	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// expectation says for which pod an address is remembered, and for whom it counts.
type expectation struct {
	pod         types.NamespacedName
	pool, space name
}

// Stuck is an address that is remembered for a pod and can't come to the node that asks for it.
type Stuck struct {
	Address netip.Addr
	Node    string
	// Reason says why, as the second half of a sentence.
	Reason string
}

// SetRemembered notes what is remembered for a pod; nothing when its StickyAddress is gone.
func (s *State) SetRemembered(pod types.NamespacedName, addresses []sticky.Address) {
	for _, a := range s.memories[pod] {
		s.remember(a.Addr, slices.DeleteFunc(slices.Clone(s.remembered[a.Addr]), func(m expectation) bool { return m.pod == pod }))
	}
	delete(s.memories, pod)
	if len(addresses) == 0 {
		return
	}
	s.memories[pod] = slices.Clone(addresses)
	for _, a := range addresses {
		m := expectation{pod: pod, pool: unique.Make(a.Pool), space: unique.Make(pod.Namespace)}
		s.remember(a.Addr, append(slices.Clone(s.remembered[a.Addr]), m))
	}
}

// RememberedFor returns the pod that an address is remembered for.
func (s *State) RememberedFor(a netip.Addr) (types.NamespacedName, bool) {
	m := s.remembered[a]
	if len(m) == 0 {
		return types.NamespacedName{}, false
	}
	return m[0].pod, true
}

// IsInUse says whether a record shows an address in use.
func (s *State) IsInUse(a netip.Addr) bool {
	_, used := s.addresses[a]
	return used
}

// Owns says whether an address lies in a block, or a range, that a node has of a pool.
func (s *State) Owns(node, pool string, a netip.Addr) bool {
	return s.owns(a, holder{node: unique.Make(node), pool: unique.Make(pool)}, nil)
}

// remember replaces for whom an address is remembered.
func (s *State) remember(a netip.Addr, memories []expectation) {
	s.expect(a, -1)
	if s.remembered[a] = memories; len(memories) == 0 {
		delete(s.remembered, a)
	}
	s.expect(a, 1)
	for _, b := range s.cover(a) {
		b.remembered = s.rememberedIn(b.Prefix)
		s.recount(b)
	}
}

// expect counts an address that is remembered and that no pod has: it is not free, and counts for its pod's namespace.
func (s *State) expect(a netip.Addr, by int) {
	if s.IsInUse(a) {
		return
	}
	for _, m := range s.remembered[a] {
		s.numbersOf(m.pool.Value()).remembered += int64(by)
		s.census.count(holder{pool: m.pool, space: m.space}, by)
	}
}

// rememberedIn returns the addresses of a prefix that are remembered.
func (s *State) rememberedIn(p netip.Prefix) (out []netip.Addr) {
	if len(s.remembered) == 0 {
		return nil
	}
	if vast(p) || int64(len(s.remembered)) < size(p) {
		for a := range maps.Keys(s.remembered) {
			if p.Contains(a) {
				out = append(out, a)
			}
		}
		return out
	}
	for a := p.Addr(); p.Contains(a); a = a.Next() {
		if _, known := s.remembered[a]; known {
			out = append(out, a)
		}
	}
	return out
}

// remembers is how many addresses of a prefix are remembered and no pod has.
func (s *State) remembers(p netip.Prefix) int64 { return s.expected(s.rememberedIn(p), p.Contains) }

// expected is how many of some addresses no pod has, of those in a range, or of those in no range of a block that is lent.
func (s *State) expected(addresses []netip.Addr, counts func(netip.Addr) bool) (n int64) {
	for _, a := range addresses {
		if counts(a) && !s.IsInUse(a) {
			n++
		}
	}
	return n
}

// isLent says whether an address is in a range of the block that another node has or is to have.
func (b *block) isLent(a netip.Addr) bool {
	return slices.ContainsFunc(b.Loans, func(l Loan) bool { return l.Prefix.Contains(a) })
}

func atMost(n *node) string {
	return "node " + n.name + " has as much of the pool as maxBlocksPerNode lets one node have"
}

// stuck notes that an address which is remembered for a pod can't come to the node that asks for it.
func (p *planner) stuck(a netip.Addr, n *node, reason string) {
	if _, remembered := p.state.remembered[a]; remembered {
		p.plan.Stuck = append(p.plan.Stuck, Stuck{Address: a, Node: n.name, Reason: reason})
	}
}
