package addresses

import (
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// remember replaces what is remembered for pods, and returns what the address book is to know of it: the addresses of sticky pools.
func (p *Pools) remember(all map[types.NamespacedName][]sticky.Address) map[netip.Addr]addressbook.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remembered = all
	out := map[netip.Addr]addressbook.Pod{}
	for pod, addresses := range all {
		for _, a := range addresses {
			if p.isSticky(a) {
				out[a.Addr] = addressbook.Pod{Namespace: pod.Namespace, Name: pod.Name}
			}
		}
	}
	return out
}

// isSticky says whether an address is one of a pool that remembers addresses.
func (p *Pools) isSticky(a sticky.Address) bool {
	known, ok := p.find(a.Pool)
	return ok && known.sticky && known.CIDR.Contains(a.Addr)
}

// Remembered returns the addresses that are remembered for a pod, those of the pools that may serve it: one list of candidates for each family.
func (p *Pools) Remembered(namespace, pod string, candidates [][]string) []netip.Addr {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var out []netip.Addr
	for _, a := range p.remembered[types.NamespacedName{Namespace: namespace, Name: pod}] {
		serves := func(pools []string) bool { return slices.Contains(pools, a.Pool) }
		if p.isSticky(a) && slices.ContainsFunc(candidates, serves) {
			out = append(out, a.Addr)
		}
	}
	return out
}
