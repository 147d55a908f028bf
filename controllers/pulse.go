package controllers

import (
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// pulse says until when an agent counts as alive. A lease that was seen to be renewed counts from then by our own
// clock too, so that an agent whose clock is behind is not taken for dead.
type pulse struct {
	now  func() time.Time
	mu   sync.Mutex
	seen map[string]sighting
}

type sighting struct{ renewed, at time.Time }

func newPulse(now func() time.Time) *pulse {
	return &pulse{now: now, seen: map[string]sighting{}}
}

// Expires returns when a lease runs out.
func (p *pulse) Expires(l *coordinationv1.Lease) time.Time {
	if l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil {
		return time.Time{}
	}
	renewed, duration := l.Spec.RenewTime.Time, time.Duration(*l.Spec.LeaseDurationSeconds)*time.Second
	p.mu.Lock()
	defer p.mu.Unlock()
	have, known := p.seen[l.Name]
	switch {
	case !known:
		// After a restart of ours the lease's own time is all that we know.
		have = sighting{renewed: renewed}
	case !have.renewed.Equal(renewed):
		have = sighting{renewed: renewed, at: p.now()}
	}
	p.seen[l.Name] = have
	if have.at.After(renewed) {
		return have.at.Add(duration)
	}
	return renewed.Add(duration)
}

// Forget drops what is known of a lease.
func (p *pulse) Forget(lease string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.seen, lease)
}
