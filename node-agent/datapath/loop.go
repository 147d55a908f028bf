package datapath

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

const (
	// apiSettle and kernelSettle let changes gather before a pass of the loop.
	apiSettle    = 5 * time.Millisecond
	kernelSettle = 100 * time.Millisecond
	failureRetry = time.Second
	// A whole pass, with its counts and refusals, follows new pods and changed learned routes after wholeQuiet without
	// changes, at the latest after wholeWithin: what they need is in the kernel already.
	wholeQuiet  = time.Second
	wholeWithin = 10 * time.Second
)

// Loop keeps one node's kernel.
type Loop struct {
	o       Options
	wake    chan struct{}
	learned chan struct{}     // learned routes have changed, and nothing else
	single  *plan.Incremental // of the last whole plan that the kernel showed
	mtus    map[string]int    // the most that each running pod's interface was told to have
	failing string            // the failure that was logged last

	at           [2]netip.Addr // the node's addresses at the last pass
	capabilities plan.Capabilities
	probed       time.Time

	window atomic.Pointer[Window]
}

// New returns a loop that does nothing until Pass or Run.
func New(o Options) *Loop {
	return &Loop{o: o, wake: make(chan struct{}, 1), learned: make(chan struct{}, 1), mtus: map[string]int{}}
}

// Wake asks for a pass: something that a plan is made of has changed.
func (l *Loop) Wake() { wake(l.wake) }

// WakeLearned asks for the learned routes that have changed.
func (l *Loop) WakeLearned() { wake(l.learned) }

// Run works until the context ends: at changes of the API, at events of the kernel that somebody else caused, and slowly
// by itself.
func (l *Loop) Run(ctx context.Context) error {
	defer l.o.Kernel.Close() //nolint:errcheck // nothing to lose
	events := l.o.Kernel.Watch(ctx)
	resync := time.NewTicker(l.o.Resync)
	defer resync.Stop()
	var retry, whole <-chan time.Time
	var owed time.Time // since when a whole pass is owed
	owe := func() {
		if owed.IsZero() {
			owed = time.Now()
		}
		whole = time.After(min(wholeQuiet, wholeWithin-time.Since(owed)))
	}
	for {
		if l.o.Turned != nil {
			l.o.Turned()
		}
		settle, everything := apiSettle, false
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		case <-retry:
		case <-whole:
		case <-l.learned:
			if l.learn() {
				owe()
				continue
			}
		case <-events.Pods:
			owe()
			continue
		case _, open := <-events.Changed:
			if !open {
				return nil
			}
			settle = kernelSettle
			l.o.Reporter.LinksChanged()
		case <-resync.C:
			everything = true
		}
		if !sleep(ctx, settle) {
			return nil
		}
		drain(l.wake)
		retry, whole, owed = nil, nil, time.Time{}
		if err := l.pass(ctx, everything); errors.Is(err, kernel.ErrBusy) {
			retry = time.After(kernelSettle) // a storm of pods; nothing is wrong
		} else if err != nil && ctx.Err() == nil {
			l.fail(err)
			retry = time.After(failureRetry)
		} else {
			l.failing = ""
		}
	}
}

// FirstPass makes one pass before Run, so that the first pod's MTU is known. A failure is reported, and Run tries again.
func (l *Loop) FirstPass(ctx context.Context) {
	if err := l.pass(ctx, true); err != nil {
		l.fail(err)
		l.Wake()
	}
}

// fail says a failure once in the log, and in the report.
func (l *Loop) fail(err error) {
	if text := err.Error(); text != l.failing {
		l.failing = text
		l.o.Log.Error(err, "The kernel does not show the plan; will try again")
	}
	l.o.Reporter.ReportDatapath(State{Failure: err})
}

// wake leaves a value in a channel of one, for whoever waits there; several may become one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// sleep reports false where the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
