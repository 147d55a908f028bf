package sticky

import (
	"net/netip"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/internal/ipam/blockplan"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// index finds the pods that a change may concern. It holds the records of pods whose names are those of a StatefulSet's pods, and what is
// remembered for pods. A controller that does not lead keeps it too.
type index struct {
	mu sync.Mutex
	// queue is nil while this controller does not lead.
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	// records are a pod's, by the pod; podOf has the pod's name by the record, whose namespace is the same. A large cluster has many.
	records map[types.NamespacedName][]sticky.Record
	podOf   map[types.NamespacedName]string
	// sticky are the pools that remember addresses.
	sticky map[string]bool
	// memories are by the pod, holders the pods that an address is remembered for.
	memories map[types.NamespacedName]sticky.Memory
	holders  map[netip.Addr]types.NamespacedName
	// stuck are addresses that can't come to the nodes that ask for them, with the reasons.
	stuck map[netip.Addr]blockplan.Stuck
}

func newIndex() *index {
	return &index{records: map[types.NamespacedName][]sticky.Record{}, podOf: map[types.NamespacedName]string{}, sticky: map[string]bool{},
		memories: map[types.NamespacedName]sticky.Memory{}, holders: map[netip.Addr]types.NamespacedName{}, stuck: map[netip.Addr]blockplan.Stuck{}}
}

// lead notes that this controller leads now: all pods are looked at that something is to be remembered for, or is.
func (x *index) lead(q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.queue = q
	x.wakeAll(x.concerned)
}

// recorded notes a record that has come or gone. Whoever else an address of it is remembered for is looked at too.
func (x *index) recorded(record types.NamespacedName, pod string, e blockplan.Endpoint, there bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	addresses := e.Addresses()
	for _, a := range addresses {
		if of, remembered := x.holders[a]; remembered {
			x.wake(of)
		}
	}
	if name, known := x.podOf[record]; known {
		x.forget(record, types.NamespacedName{Namespace: record.Namespace, Name: name})
	}
	if !there {
		return
	}
	if _, _, ok := sticky.Split(pod); !ok {
		return
	}
	of := types.NamespacedName{Namespace: record.Namespace, Name: pod}
	r := sticky.Record{Name: record.Name, Node: e.Node(), Addresses: make([]sticky.Address, 0, len(addresses))}
	pools := e.Pools()
	for i, a := range addresses {
		r.Addresses = append(r.Addresses, sticky.Address{Addr: a, Pool: pools[i]})
	}
	x.records[of], x.podOf[record] = append(x.records[of], r), pod
	if x.concerned(of) {
		x.wake(of)
	}
}

// forget drops a pod's record.
func (x *index) forget(record, of types.NamespacedName) {
	if x.concerned(of) {
		x.wake(of)
	}
	delete(x.podOf, record)
	left := slices.DeleteFunc(x.records[of], func(r sticky.Record) bool { return r.Name == record.Name })
	if x.records[of] = left; len(left) == 0 {
		delete(x.records, of)
	}
}

// concerned says whether there can be anything to decide for a pod: something is remembered, or it has an address of a pool that remembers. It is
// asked for every record of the cluster, so nothing else is looked at.
func (x *index) concerned(pod types.NamespacedName) bool {
	_, remembered := x.memories[pod]
	return remembered || slices.ContainsFunc(x.records[pod], func(r sticky.Record) bool {
		return slices.ContainsFunc(r.Addresses, func(a sticky.Address) bool { return x.sticky[a.Pool] })
	})
}

// remembered notes what is remembered for a pod; nil for nothing.
func (x *index) remembered(pod types.NamespacedName, m *sticky.Memory) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, a := range x.memories[pod].Addresses {
		if x.holders[a.Addr] == pod {
			delete(x.holders, a.Addr)
			delete(x.stuck, a.Addr)
		}
	}
	delete(x.memories, pod)
	if m != nil {
		x.memories[pod] = *m
		for _, a := range m.Addresses {
			x.holders[a.Addr] = pod
		}
	}
	x.wake(pod)
}

// noteStuck replaces the addresses that can't come to the nodes that ask for them.
func (x *index) noteStuck(all []blockplan.Stuck) {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.stuck)
	for _, s := range all {
		x.stuck[s.Address] = s
		if of, remembered := x.holders[s.Address]; remembered {
			x.wake(of)
		}
	}
}

// setChanged wakes the pods of a StatefulSet.
func (x *index) setChanged(set types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wakeAll(func(pod types.NamespacedName) bool {
		name, _, _ := sticky.Split(pod.Name)
		return pod.Namespace == set.Namespace && name == set.Name
	})
}

// poolChanged wakes the pods that have, or are remembered with, addresses of a pool. Where the pool neither remembers addresses nor did before,
// these are the pods that something is remembered for.
func (x *index) poolChanged(pool string, remembers bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	did := x.sticky[pool]
	if x.sticky[pool] = remembers; !remembers {
		delete(x.sticky, pool)
	}
	x.wakeAll(func(pod types.NamespacedName) bool {
		if _, remembered := x.memories[pod]; !did && !remembers && !remembered {
			return false
		}
		for _, a := range x.memories[pod].Addresses {
			if a.Pool == pool {
				return true
			}
		}
		for _, r := range x.records[pod] {
			for _, a := range r.Addresses {
				if a.Pool == pool {
					return true
				}
			}
		}
		return false
	})
}

// recordsOf returns a pod's records.
func (x *index) recordsOf(pod types.NamespacedName) (out []sticky.Record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.records[pod] {
		r.Addresses = slices.Clone(r.Addresses)
		out = append(out, r)
	}
	return out
}

// stuckAt returns why an address can't come to the node that asks for it.
func (x *index) stuckAt(a netip.Addr) (blockplan.Stuck, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s, ok := x.stuck[a]
	return s, ok
}

func (x *index) wakeAll(concerns func(types.NamespacedName) bool) {
	for pod := range x.records {
		if concerns(pod) {
			x.wake(pod)
		}
	}
	for pod := range x.memories {
		if len(x.records[pod]) == 0 && concerns(pod) {
			x.wake(pod)
		}
	}
}

func (x *index) wake(pod types.NamespacedName) {
	if x.queue != nil {
		x.queue.Add(reconcile.Request{NamespacedName: pod})
	}
}
