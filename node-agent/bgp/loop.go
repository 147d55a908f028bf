package bgp

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/loops"
)

const (
	// settle lets changes of objects gather before they are planned.
	settle = 20 * time.Millisecond
	// reportEvery is the least time between two looks at the sessions' state.
	reportEvery  = 100 * time.Millisecond
	failureRetry = time.Second
	// applyWithin is how long a pass waits for the speaker's answer. The speaker gets the plan in any case.
	applyWithin = 8 * time.Second
)

// Loop keeps the sessions of one node. The speaker's process starts with the first session, so that a cluster without
// BGP does not pay for it.
type Loop struct {
	o         Options
	workers   sync.WaitGroup
	wake      chan struct{}
	drainWake chan struct{}
	report    chan struct{}
	started   atomic.Bool // the connection to the speaker is kept
	drained   atomic.Bool
	stays     map[string]bool   // pods' answers to StaysInDrain, by interface; for keepDrained alone
	states    map[string]string // session to its last state; for keepReport alone
	failing   string            // the planning error that was logged last

	mu      sync.Mutex
	plan    bgpplan.Plan
	silent  bool                 // nobody will learn anything
	blocks  []bgpplan.Block      // those of the last plan
	outside []bgpplan.PodAddress // the addresses outside of them
}

// New returns a loop that does nothing until Run.
func New(o Options) *Loop {
	return &Loop{
		o: o, plan: bgpplan.Plan{PeerRoutes: o.PeerRoutes}, wake: make(chan struct{}, 1), drainWake: make(chan struct{}, 1), report: make(chan struct{}, 1),
		stays: map[string]bool{}, states: map[string]string{},
	}
}

// Wake asks for a pass: an object that a plan is made of has changed.
func (l *Loop) Wake() { loops.Ring(l.wake) }

// PodsChanged is told that pods have come or gone, or that the Node was cordoned. It plans only where that changes what is
// announced, so it costs little.
func (l *Loop) PodsChanged() {
	l.mu.Lock()
	same := slices.Equal(l.outside, bgpplan.OutsideBlocks(l.podAddresses(), l.blocks))
	l.mu.Unlock()
	if !same {
		l.Wake()
	}
	loops.Ring(l.drainWake)
}

// Adopt takes the routes that an earlier agent learned: they stay until the speaker knows better. Call it before the
// datapath's first pass.
func (l *Loop) Adopt(routes []plan.LearnedRoute) { l.o.Speaker.Adopt(routes) }

// Active says whether routes are learned, or may be.
func (l *Loop) Active() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.silent
}

// Learned returns all routes that were learned, sorted by prefix. They are shared: don't change them.
func (l *Loop) Learned() []plan.LearnedRoute {
	if !l.Active() {
		return nil
	}
	return l.o.Speaker.Routes().Routes
}

// Changes returns the learned routes that may have changed since the last call of Changes or Learned. Those without next
// hops are gone.
func (l *Loop) Changes() []plan.LearnedRoute { return l.o.Speaker.Changes() }

// PeerRoutes returns the host routes that peers off the link need.
func (l *Loop) PeerRoutes() []plan.PeerRoute {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.plan.PeerRoutes
}

// Run works until the context ends. The speaker's process goes on then.
func (l *Loop) Run(ctx context.Context) error {
	defer l.o.Objects.Wait()
	defer l.workers.Wait()
	if l.o.SpeakerRan {
		l.connect(ctx)
	}
	l.workers.Go(func() { l.forward(ctx) })
	if !l.o.AwaitObjects(ctx) {
		return nil
	}
	l.updateDrained(ctx) // before the first plan: a drained node's agent that restarts must not announce for a moment
	l.workers.Go(func() { l.keepSessions(ctx) })
	l.workers.Go(func() { l.keepDrained(ctx) })
	l.workers.Go(func() { l.keepReport(ctx) })
	l.Wake()
	<-ctx.Done()
	return nil
}

// connect starts the connection to the speaker, and its process, once.
func (l *Loop) connect(ctx context.Context) {
	if l.started.Swap(true) {
		return
	}
	l.workers.Go(func() { l.o.KeepProcess(ctx) })
	l.workers.Go(func() { l.o.Speaker.Run(ctx) })
}

// keepSessions plans, and tells the speaker. It may wait for the speaker; what is learned goes its own way.
func (l *Loop) keepSessions(ctx context.Context) {
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-retry:
		}
		if !loops.Sleep(ctx, settle) {
			return
		}
		loops.Clear(l.wake)
		retry = nil
		if next, err := l.pass(ctx); err == nil {
			l.failing = ""
			if !next.IsZero() {
				retry = time.After(time.Until(next))
			}
		} else if ctx.Err() == nil {
			retry = time.After(failureRetry)
			if text := err.Error(); text != l.failing {
				l.failing = text
				l.o.Log.Error(err, "Can't plan BGP; will try again")
			}
		}
	}
}

// forward tells the datapath at once when something was learned.
func (l *Loop) forward(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.o.Speaker.Changed():
			l.o.LearnedChanged()
			loops.Ring(l.report)
		}
	}
}

// pass plans from the objects and tells the speaker. It returns when the plan is another one although nothing has changed; zero for never.
func (l *Loop) pass(ctx context.Context) (next time.Time, err error) {
	in, err := l.o.Objects.Read(ctx)
	if err != nil {
		return next, err
	}
	if len(in.Filters) > 0 { // only their rules by interface need the links
		if in.Links, err = l.o.Links(); err != nil {
			return next, fmt.Errorf("list links: %w", err)
		}
	}
	in.PodAddresses, in.Draining, in.Now = l.podAddresses(), l.drained.Load(), time.Now()
	l.mu.Lock()
	in.Announced, in.Ending = l.plan.Announcements, l.plan.Ending
	l.mu.Unlock()
	plan := bgpplan.Make(in)
	l.adoptPlan(plan, in)
	for _, e := range plan.Ending {
		if next.IsZero() || e.Until.Before(next) {
			next = e.Until
		}
	}
	defer loops.Ring(l.report)
	if len(plan.Sessions) == 0 && !l.started.Load() {
		return next, nil
	}
	l.connect(ctx)
	within, cancel := context.WithTimeout(ctx, applyWithin)
	defer cancel()
	if _, err := l.o.Speaker.Apply(within, plan); err != nil && ctx.Err() == nil {
		l.o.Log.V(1).Info("The speaker has not taken the plan yet", "reason", err.Error())
	}
	return next, nil
}

// adoptPlan makes a plan the one that the datapath and the reports go by.
func (l *Loop) adoptPlan(plan bgpplan.Plan, in bgpplan.Input) {
	l.mu.Lock()
	silent := len(plan.Sessions) == 0 && !l.started.Load()
	// Once nobody will learn anything anew, what an earlier agent learned goes.
	changed := silent != l.silent || !slices.Equal(l.plan.PeerRoutes, plan.PeerRoutes)
	l.plan, l.silent, l.blocks = plan, silent, in.Blocks
	l.outside = bgpplan.OutsideBlocks(in.PodAddresses, in.Blocks)
	l.mu.Unlock()
	if changed {
		l.o.PlanChanged()
	}
}

// podAddresses returns the addresses of this node's running pods, sorted.
func (l *Loop) podAddresses() []bgpplan.PodAddress {
	var out []bgpplan.PodAddress
	for _, e := range l.o.Book.Endpoints() {
		for i, a := range e.Addresses {
			p := bgpplan.PodAddress{Address: a}
			if i < len(e.Pools) {
				p.Pool = e.Pools[i]
			}
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b bgpplan.PodAddress) int { return a.Address.Compare(b.Address) })
	return out
}
