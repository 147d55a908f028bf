// Package health judges an agent by the progress of its loops: it takes their turns in, and says which one hangs. It
// ends nothing itself; the kubelet's probes do that.
package health

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Checks are all that an agent is judged by.
type Checks struct {
	now    func() time.Time
	mu     sync.Mutex
	loops  []*Loop
	probes []*probe
}

// Loop is a loop that must turn in time. It is judged from its first turn on.
type Loop struct {
	checks *Checks
	name   string
	within time.Duration
	turned time.Time
}

type probe struct {
	name  string
	do    func()
	since time.Time // when the one that is under way began
}

// probePatience is how long a probe may take.
const probePatience = 5 * time.Second

// New returns checks without any loop.
func New(now func() time.Time) *Checks { return &Checks{now: now} }

// Loop adds a loop that turns at least once in the given time, on a busy machine too.
func (c *Checks) Loop(name string, within time.Duration) *Loop {
	l := &Loop{checks: c, name: name, within: within}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loops = append(c.loops, l)
	return l
}

// Turned tells that the loop has made a turn, successfully or not.
func (l *Loop) Turned() {
	l.checks.mu.Lock()
	defer l.checks.mu.Unlock()
	l.turned = l.checks.now()
}

// Probe adds a function that returns soon unless something hangs, such as one that takes a lock.
func (c *Checks) Probe(name string, do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probes = append(c.probes, &probe{name: name, do: do})
}

// Hanging says which loops and probes hang, or nil.
func (c *Checks) Hanging(ctx context.Context) error {
	var errs []error
	c.mu.Lock()
	probes := append([]*probe(nil), c.probes...)
	for _, l := range c.loops {
		if silent := c.now().Sub(l.turned); !l.turned.IsZero() && silent > l.within {
			errs = append(errs, fmt.Errorf("the loop that should %s has not turned for %s", l.name, silent.Round(time.Second)))
		}
	}
	c.mu.Unlock()
	for _, p := range probes {
		if err := c.try(ctx, p); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// try runs a probe. One that hangs is not started a second time.
func (c *Checks) try(ctx context.Context, p *probe) error {
	c.mu.Lock()
	if began := p.since; !began.IsZero() {
		c.mu.Unlock()
		if took := c.now().Sub(began); took > probePatience {
			return fmt.Errorf("%s: no answer for %s", p.name, took.Round(time.Second))
		}
		return nil
	}
	p.since = c.now()
	c.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.do()
		c.mu.Lock()
		defer c.mu.Unlock()
		p.since = time.Time{}
	}()
	timer := time.NewTimer(probePatience)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return nil // whoever asks has gone; the next one learns how long it has taken
	case <-timer.C:
		return fmt.Errorf("%s: no answer for %s", p.name, probePatience)
	}
}
