package nodes

import (
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// Pulse says which agents live. Only the time that this process has seen pass counts: an agent's clock may be wrong, and a lease
// that has just been read for the first time may have been renewed a moment ago.
type Pulse struct {
	now func() time.Time
	// duration is how long a lease is good for that does not say it.
	duration time.Duration

	mu   sync.Mutex
	seen map[string]sighting // by node
}

// sighting is what was seen of one lease.
type sighting struct {
	renewed  time.Time     // what the lease says; a change is a renewal
	at       time.Time     // when this process saw that
	first    time.Time     // when this process saw the lease first
	duration time.Duration // how long a renewal is good for
}

// NewPulse returns a Pulse. Somebody must call Observe.
func NewPulse(now func() time.Time, duration time.Duration) *Pulse {
	return &Pulse{now: now, duration: duration, seen: map[string]sighting{}}
}

// Observe tells what a watch shows of an agent's lease.
func (p *Pulse) Observe(node string, l *coordinationv1.Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var renewed time.Time
	if l.Spec.RenewTime != nil {
		renewed = l.Spec.RenewTime.Time
	}
	duration := p.duration
	if l.Spec.LeaseDurationSeconds != nil {
		duration = time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
	}
	have, known := p.seen[node]
	if !known || !have.renewed.Equal(renewed) {
		have.renewed, have.at = renewed, p.now()
	}
	if !known {
		have.first = have.at
	}
	have.duration = duration
	p.seen[node] = have
}

// Forget tells that an agent's lease is gone.
func (p *Pulse) Forget(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.seen, node)
}

// Expires returns when an agent's lease runs out; false where there is none.
func (p *Pulse) Expires(node string) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	have, known := p.seen[node]
	return have.at.Add(have.duration), known
}

// Live says whether an agent has renewed its lease in time.
func (p *Pulse) Live(node string) bool {
	expires, known := p.Expires(node)
	return known && p.now().Before(expires)
}

// joining is how long a node without any report counts as new.
const joining = time.Minute

// Joining says whether an agent was heard of first a short time ago.
func (p *Pulse) Joining(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	have, known := p.seen[node]
	return known && p.now().Sub(have.first) < joining
}
