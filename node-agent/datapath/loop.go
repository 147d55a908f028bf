package datapath

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/loops"
)

const (
	// apiSettle and kernelSettle let changes gather before a pass of the loop.
	apiSettle    = 5 * time.Millisecond
	kernelSettle = 100 * time.Millisecond
	// failureRetry is the first wait after a failure. Each further one in a row is twice as long, up to the resync.
	failureRetry = time.Second
	// New pods and changed learned routes are looked at after lateQuiet without further ones, at the latest after lateWithin:
	// what they need is in the kernel already.
	lateQuiet  = time.Second
	lateWithin = 10 * time.Second
)

// Loop keeps one node's kernel.
type Loop struct {
	o       Options
	wake    chan struct{}
	learned chan struct{} // learned routes have changed, and nothing else

	mu      sync.Mutex // for Window: the loop holds it while it changes the following
	planner *plan.Planner
	planned time.Time
	refused []kernel.Failure // by the kernel, and still wanted

	observed     *kernel.Observed // nil before the first look
	capabilities plan.Capabilities
	probed       time.Time
	at           [2]netip.Addr // the node's addresses at the last look
	blocks       uint64        // the version of the blocks in the planner
	active       bool          // BGP was active when the planner was made
	stale        bool          // the planner can't take what has changed: all has to be planned anew
	unreported   bool          // something was applied since the last report
	networks     networks
	pools        []cluster.Pool // those of the last report
	mtus         map[string]int // the most that each running pod's interface was told to have
	logged       map[string]bool
	retryAfter   time.Duration
}

// demand says what a pass has to do besides planning what has changed.
type demand struct {
	// observe: look at the kernel. everything: also at what is known from events alone. whole: compare all with the plan.
	observe, everything, whole bool
}

// New returns a loop that does nothing until FirstPass or Run.
func New(o Options) *Loop {
	return &Loop{o: o, wake: make(chan struct{}, 1), learned: make(chan struct{}, 1), mtus: map[string]int{}, logged: map[string]bool{}}
}

// Wake asks for a pass: something that a plan is made of has changed.
func (l *Loop) Wake() { loops.Ring(l.wake) }

// WakeLearned asks for the learned routes that have changed.
func (l *Loop) WakeLearned() { loops.Ring(l.learned) }

// Run works until the context ends: at changes of the API, at events of the kernel that somebody else caused, and slowly
// by itself.
func (l *Loop) Run(ctx context.Context) error {
	defer l.o.Kernel.Close() //nolint:errcheck // nothing to lose
	events := l.o.Kernel.Watch(ctx)
	resync := time.NewTicker(l.o.Resync)
	defer resync.Stop()
	var retry <-chan time.Time
	if l.retryAfter > 0 {
		retry = time.After(l.retryAfter)
	}
	var late later
	for {
		if l.o.Turned != nil {
			l.o.Turned()
		}
		settle, d := apiSettle, demand{}
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		case <-retry:
			d = demand{observe: true, whole: true}
		case <-late.due:
		case <-l.learned:
			if l.learn(ctx) {
				late.owe(demand{})
				continue
			}
			d = demand{observe: true, whole: true}
		case <-events.Pods:
			late.owe(demand{observe: true})
			continue
		case _, open := <-events.Changed:
			if !open {
				return nil
			}
			settle, d.observe = kernelSettle, true
			l.o.Reporter.LinksChanged()
		case <-resync.C:
			d = demand{observe: true, everything: true, whole: true}
		}
		if !loops.Sleep(ctx, settle) {
			return nil
		}
		loops.Clear(l.wake)
		retry = l.turn(ctx, late.take(d), retry)
	}
}

// turn makes a pass. It returns when to try again, if at all.
func (l *Loop) turn(ctx context.Context, d demand, retry <-chan time.Time) <-chan time.Time {
	before := l.retryAfter
	err := l.pass(ctx, d)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, kernel.ErrBusy): // a storm of pods; nothing is wrong
		return time.After(kernelSettle)
	case err != nil:
		l.fail(err)
		l.backOff()
	case len(l.refused) == 0:
		l.retryAfter = 0
		return nil
	case d.whole || before == 0:
		l.backOff()
	default:
		return retry // what was refused has not been tried again
	}
	return time.After(l.retryAfter)
}

func (l *Loop) backOff() {
	l.retryAfter = min(max(2*l.retryAfter, failureRetry), max(l.o.Resync, failureRetry))
}

// later is what has to be done once no more of it comes.
type later struct {
	due    <-chan time.Time
	since  time.Time
	demand demand
}

func (l *later) owe(d demand) {
	if l.since.IsZero() {
		l.since = time.Now()
	}
	l.demand.observe = l.demand.observe || d.observe
	l.due = time.After(min(lateQuiet, lateWithin-time.Since(l.since)))
}

// take returns a demand with what was owed.
func (l *later) take(d demand) demand {
	d.observe = d.observe || l.demand.observe
	*l = later{}
	return d
}

// FirstPass makes one pass before Run, so that the first pod's MTU is known. A failure is reported, and Run tries again.
func (l *Loop) FirstPass(ctx context.Context) {
	l.turn(ctx, demand{observe: true, everything: true, whole: true}, nil)
	if l.observed == nil {
		l.Wake()
	}
}

// fail says once in the log, and in the report, that a pass came to nothing.
func (l *Loop) fail(err error) {
	if text := err.Error(); !l.logged[text] {
		l.logged[text] = true
		l.o.Log.Error(err, "The kernel can't be read; will try again")
	}
	l.o.Reporter.ReportDatapath(State{Failure: err})
}
