package pools

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// pace decides when a pool is looked at and when its status is written. All agents watch pools, so a status that is written for
// every pod or every node that joins would wake all of them.
type pace struct {
	// between are the least times between two looks, between two writes while nodes are on their way, and between two writes while
	// only addresses come and go.
	looks, progress, numbers time.Duration

	mu     sync.Mutex
	looked map[string]time.Time
	wrote  map[string]time.Time
}

func newPace(interval time.Duration) pace {
	return pace{looks: interval / 50, progress: interval / 5, numbers: interval, looked: map[string]time.Time{}, wrote: map[string]time.Time{}}
}

// look returns how long to wait before a pool is looked at. A spec that nobody has looked at is looked at once.
func (p *pace) look(object *v1alpha1.IPPool, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := p.looks - now.Sub(p.looked[object.Name])
	if wait > 0 && object.Status.ObservedGeneration == object.Generation {
		return wait
	}
	p.looked[object.Name] = now
	return 0
}

// never says that there is nothing to write.
const never = time.Duration(-1)

// write returns how long to wait before a status is written: 0 for at once.
func (p *pace) write(pool string, before, after v1alpha1.IPPoolStatus, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var gap time.Duration
	switch {
	case equality.Semantic.DeepEqual(before, after):
		return never
	case decision(before) != decision(after) || !equality.Semantic.DeepEqual(verdicts(before), verdicts(after)) || reached(before, after):
	case len(before.NamespacesAtLimit) != len(after.NamespacesAtLimit):
		gap = p.progress
	case before.NodesReady != after.NodesReady || before.NodesTotal != after.NodesTotal:
		gap = p.progress
	default:
		gap = p.numbers
	}
	if wait := gap - now.Sub(p.wrote[pool]); gap > 0 && wait > 0 {
		return wait
	}
	p.wrote[pool] = now
	return 0
}

// decisions are what nodes and people wait for.
type decisions struct {
	generation    int64
	encapsulation v1alpha1.Encapsulation
}

func decision(s v1alpha1.IPPoolStatus) decisions {
	return decisions{s.ObservedGeneration, s.Encapsulation}
}

// verdicts are the conditions without their words. That of namespaces at their limit follows the list of them.
func verdicts(s v1alpha1.IPPoolStatus) map[string]string {
	out := map[string]string{}
	for _, c := range s.Conditions {
		if c.Type != v1alpha1.ConditionNamespacesAtLimit {
			out[c.Type] = string(c.Status) + c.Reason
		}
	}
	return out
}

// reached says whether a namespace has come to its limit. Nodes must know at once; one that is below it again can wait a moment, so
// that a namespace whose pods come and go at the limit does not wake every node each time.
func reached(before, after v1alpha1.IPPoolStatus) bool {
	return slices.ContainsFunc(after.NamespacesAtLimit, func(name string) bool {
		_, known := slices.BinarySearch(before.NamespacesAtLimit, name)
		return !known
	})
}

// failed makes the next write possible at once.
func (p *pace) failed(pool string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.wrote, pool)
	delete(p.looked, pool)
}

func (p *pace) forget(pool string) { p.failed(pool) }
