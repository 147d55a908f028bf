package sticky

import (
	"fmt"
	"net/netip"
	"slices"
)

// Pool is what is needed of an IPPool that is not being deleted.
type Pool struct {
	CIDR              netip.Prefix
	Sticky, Exhausted bool
}

// Record is a WorkloadEndpoint of the pod, with those of its addresses that lie in blocks of its node.
type Record struct {
	Name, Node string
	Addresses  []Address
}

// Facts are all that a decision depends on.
type Facts struct {
	// Memory is what is remembered now, nil for nothing.
	Memory *Memory
	// Name and Ordinal are those of the StatefulSet and of the pod in it. Set is nil where there is no such StatefulSet.
	Name    string
	Ordinal int
	Set     *Set
	Pools   map[string]Pool
	Records []Record
	// Taken says that another pod has an address, Stuck why an address can't come to the node where the pod waits for it, or nothing.
	Taken func(netip.Addr) bool
	Stuck func(netip.Addr) string
}

// Loss is an address that is not remembered any longer although its StatefulSet is there.
type Loss struct {
	Address netip.Addr
	// Reason says why, as the second half of a sentence.
	Reason string
}

// Decision is what to remember.
type Decision struct {
	// Memory is nil for nothing.
	Memory *Memory
	// Proof says that the memory follows a record: look whether that is of the StatefulSet's pod.
	Proof bool
	Lost  []Loss
}

// Forgets says whether a decision leaves out something that is remembered now.
func (f Facts) Forgets(d Decision) bool {
	if f.Memory == nil {
		return false
	}
	return d.Memory == nil || slices.ContainsFunc(f.Memory.Addresses, func(a Address) bool { return !slices.Contains(d.Memory.Addresses, a) })
}

// Decide says what to remember for a pod: the addresses that it has now, and without a record those that it had.
func Decide(f Facts) Decision {
	if f.Set == nil {
		return Decision{}
	}
	next := Memory{Set: f.Name, SetUID: f.Set.UID}
	var out Decision
	known := f.known()
	if len(f.Records) == 1 { // a pod that moves may have two for a moment, and nobody knows which of them stays
		for _, a := range f.Records[0].Addresses {
			if f.sticky(a) {
				next.Addresses = append(next.Addresses, a)
				out.Proof = out.Proof || !slices.Contains(known, a)
			}
		}
	}
	for _, a := range known {
		if slices.Contains(next.Addresses, a) {
			continue
		}
		if why := f.unwanted(a); why != "" {
			_, replaced := f.instead(a.Addr)
			out.Proof = out.Proof || replaced
			out.Lost = append(out.Lost, Loss{Address: a.Addr, Reason: why})
			continue
		}
		next.Addresses = append(next.Addresses, a)
	}
	slices.SortStableFunc(next.Addresses, func(a, b Address) int { return a.Addr.Compare(b.Addr) })
	if len(next.Addresses) > 0 {
		out.Memory = &next
	}
	return out
}

// known is what is remembered of this StatefulSet.
func (f Facts) known() []Address {
	if f.Memory == nil || f.Memory.SetUID != f.Set.UID {
		return nil
	}
	return f.Memory.Addresses
}

// sticky says whether an address's pool remembers addresses.
func (f Facts) sticky(a Address) bool {
	p, known := f.Pools[a.Pool]
	return known && p.Sticky && p.CIDR.Contains(a.Addr)
}

// unwanted says why an address that the pod does not have is not remembered any longer, or nothing.
func (f Facts) unwanted(a Address) string {
	if other, has := f.instead(a.Addr); has {
		return fmt.Sprintf("the pod has %s now", other)
	}
	p, known := f.Pools[a.Pool]
	switch {
	case !known || !p.CIDR.Contains(a.Addr):
		return fmt.Sprintf("IPPool %s is gone or being deleted", a.Pool)
	case !p.Sticky:
		return fmt.Sprintf("IPPool %s is not sticky any more", a.Pool)
	case len(f.Records) > 0:
		return "" // the pod has no address of this family now, or has two records
	case f.Taken(a.Addr):
		return "another pod has the address"
	case f.Ordinal >= f.Set.First && f.Ordinal < f.Set.First+f.Set.Replicas:
		return f.Stuck(a.Addr)
	case f.Set.Forgets:
		return "the StatefulSet is scaled down, and its persistentVolumeClaimRetentionPolicy says that such a pod keeps nothing"
	case p.Exhausted:
		return fmt.Sprintf("the StatefulSet is scaled down, and IPPool %s has no free address left for pods that wait", a.Pool)
	}
	return f.Stuck(a.Addr)
}

// instead returns the address of the same family that the pod has now.
func (f Facts) instead(a netip.Addr) (netip.Addr, bool) {
	if len(f.Records) != 1 {
		return netip.Addr{}, false
	}
	for _, now := range f.Records[0].Addresses {
		if now.Addr.Is4() == a.Is4() {
			return now.Addr, true
		}
	}
	return netip.Addr{}, false
}
