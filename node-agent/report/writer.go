package report

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Urgency says how soon a change has to be written.
type Urgency int

const (
	// Unchanged needs no write.
	Unchanged Urgency = iota
	// Lazy changes are counters that nobody waits for. They gather for Limits.LazyAfter.
	Lazy
	// Urgent changes are written at once, as far as the other limits allow.
	Urgent
)

const (
	// conflictRetry, refusedRetry and awayRetry are the pauses after a first failure of their kind. Each further failure in
	// a row doubles the pause, up to lastRetry or lastAwayRetry.
	conflictRetry = 50 * time.Millisecond
	refusedRetry  = 2 * time.Second
	awayRetry     = 250 * time.Millisecond
	lastRetry     = time.Minute
	lastAwayRetry = 10 * time.Second
	// callWithin bounds one call.
	callWithin = 8 * time.Second
	// verifyEvery is how often a writer without a watch looks whether its object is still there as it wrote it.
	verifyEvery = 10 * time.Minute
	// restFor is how long a writer rests that waits for somebody to wake it.
	restFor = 24 * time.Hour
)

// Outcome is how one write ended, for metrics.
type Outcome string

const (
	// Written means that the API server took the change.
	Written Outcome = "written"
	// Conflicted means that somebody else changed the object meanwhile.
	Conflicted Outcome = "conflict"
	// Refused means that the API server understood and said no.
	Refused Outcome = "refused"
	// Unreachable means that the API server gave no answer, or was not able to do what it was asked.
	Unreachable Outcome = "unreachable"
)

// API is how a Writer reads and writes its object.
type API[T client.Object] interface {
	// Get returns the stored object.
	Get(ctx context.Context) (T, error)
	// Create makes an object. Its status is not stored.
	Create(ctx context.Context, object T) (T, error)
	// Patch changes what differs between stored and next. It fails with a conflict where stored is not the latest version.
	Patch(ctx context.Context, stored, next T) (T, error)
	// PatchStatus is Patch for the status.
	PatchStatus(ctx context.Context, stored, next T) (T, error)
}

// Options set a Writer.
type Options[T client.Object] struct {
	// What names the object in the log, for example "BlockClaim node1".
	What string
	API  API[T]
	// Empty returns a new object to create. It is nil where somebody else creates the object.
	Empty func() T
	// Watched is true where Observe and Gone tell the writer what is stored.
	Watched bool
	// Spec and Status return a copy of what is stored with what is wanted in it, and how urgent the difference is. Spec is
	// nil where the agent writes the status alone.
	Spec, Status func(stored T) (T, Urgency)
	Limits       Limits
	// Random returns a number from 0 up to 1. It spreads the writes of many nodes. Nil stands for the usual source.
	Random func() float64
	Log    logr.Logger
	// Observed is told how each write ended.
	Observed func(Outcome)
}

// Writer keeps one object as wanted.
type Writer[T client.Object] struct {
	o    Options[T]
	wake chan struct{}

	mu     sync.Mutex
	stored T
	known  bool // stored, or its absence, is what a read, a write or the watch has shown
	exists bool
	unsure bool // the API server has to be asked what is stored

	pace   pace
	failed int       // failures in a row
	paused time.Time // nothing is tried before
	dirty  time.Time // when the first lazy change was seen
	last   Outcome   // of the last write
}

// New returns a writer. Nothing runs yet.
func New[T client.Object](o Options[T]) *Writer[T] {
	if o.Random == nil {
		o.Random = rand.Float64
	}
	return &Writer[T]{o: o, wake: make(chan struct{}, 1), unsure: !o.Watched, pace: pace{limits: o.Limits, tokens: float64(o.Limits.Burst)}}
}

// Wake makes the writer compare what is wanted with what is stored.
func (w *Writer[T]) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Observe tells the writer what a watch or a list has shown. Older news than the writer's own are ignored.
func (w *Writer[T]) Observe(object T) {
	if w.store(object) {
		w.Wake()
	}
}

// Gone tells the writer that an object was deleted.
func (w *Writer[T]) Gone(object T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.exists && w.stored.GetUID() == object.GetUID() {
		w.exists = false
		w.Wake()
	}
}

// uid returns the stored object's UID, "" as long as none is known.
func (w *Writer[T]) uid() types.UID {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.exists {
		return ""
	}
	return w.stored.GetUID()
}

// store takes over a version of the object unless the writer knows a later one.
func (w *Writer[T]) store(object T) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.exists && w.stored.GetUID() == object.GetUID() && versionOf(object) <= versionOf(w.stored) {
		return false
	}
	w.stored, w.known, w.exists = object, true, true
	return true
}

// versionOf returns an object's version as a number. The versions of one object grow.
func versionOf(o client.Object) uint64 {
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Run writes until the context ends.
func (w *Writer[T]) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	verify := &time.Ticker{}
	if !w.o.Watched {
		verify = time.NewTicker(verifyEvery + w.jitter(verifyEvery/5))
		defer verify.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		case <-verify.C:
			w.doubt()
		}
		timer.Reset(w.turn(ctx))
	}
}

// doubt makes the next turn ask the API server what is stored.
func (w *Writer[T]) doubt() {
	w.mu.Lock()
	w.unsure = true
	w.mu.Unlock()
}

// turn writes what is due. It returns how long there is nothing to do unless somebody wakes the writer.
func (w *Writer[T]) turn(ctx context.Context) time.Duration {
	now := time.Now()
	if wait := w.paused.Sub(now); wait > 0 {
		return wait
	}
	if err := w.refresh(ctx); err != nil {
		return w.fail(ctx, err)
	}
	var due time.Time
	switch w.urgency() {
	case Unchanged:
		w.dirty = time.Time{}
		return restFor
	case Lazy:
		if w.dirty.IsZero() {
			w.dirty = now.Add(w.jitter(w.o.Limits.LazyAfter / 10))
		}
		due = w.dirty.Add(w.o.Limits.LazyAfter)
	case Urgent:
	}
	if next := w.pace.next(now); next.After(due) {
		due = next
	}
	if wait := due.Sub(now); wait > 0 {
		return wait
	}
	w.pace.take(now, w.jitter(w.o.Limits.Gap/4))
	if err := w.write(ctx); err != nil {
		return w.fail(ctx, err)
	}
	w.done(Written)
	w.failed, w.dirty = 0, time.Time{}
	return 0 // what was written may be old news by now
}

// refresh asks the API server what is stored, where the writer is not sure.
func (w *Writer[T]) refresh(ctx context.Context) error {
	w.mu.Lock()
	unsure := w.unsure
	w.mu.Unlock()
	if !unsure {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	object, err := w.o.API.Get(within)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	w.mu.Lock()
	w.unsure, w.known, w.exists = false, true, false
	w.mu.Unlock()
	if err == nil {
		w.store(object)
	}
	return nil
}

// urgency compares what is wanted with what is stored.
func (w *Writer[T]) urgency() Urgency {
	stored, ok := w.base()
	if !ok {
		return Unchanged
	}
	most := Unchanged
	for _, render := range []func(T) (T, Urgency){w.o.Spec, w.o.Status} {
		if render != nil {
			_, u := render(stored)
			most = max(most, u)
		}
	}
	return most
}

// base returns what is stored, or an empty object to create. It reports false where there is nothing to write to.
func (w *Writer[T]) base() (T, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.exists {
		return w.stored, true
	}
	if w.known && w.o.Empty != nil {
		return w.o.Empty(), true
	}
	var none T
	return none, false
}

// write brings what is stored to what is wanted.
func (w *Writer[T]) write(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	stored, ok := w.base()
	if !ok {
		return nil
	}
	var err error
	if stored.GetResourceVersion() == "" {
		if w.o.Spec != nil {
			stored, _ = w.o.Spec(stored)
		}
		if stored, err = w.o.API.Create(ctx, stored); err != nil {
			return err
		}
		w.store(stored)
	} else if w.o.Spec != nil {
		if next, u := w.o.Spec(stored); u != Unchanged {
			if stored, err = w.o.API.Patch(ctx, stored, next); err != nil {
				return err
			}
			w.store(stored)
		}
	}
	if next, u := w.o.Status(stored); u != Unchanged {
		if stored, err = w.o.API.PatchStatus(ctx, stored, next); err != nil {
			return err
		}
		w.store(stored)
	}
	return nil
}

// fail notes a failure and returns the pause after it.
func (w *Writer[T]) fail(ctx context.Context, err error) time.Duration {
	if ctx.Err() != nil {
		return restFor
	}
	outcome, pause, most := judge(err)
	if outcome == Conflicted {
		w.doubt() // the cache may lag behind; ask the API server itself
	}
	if outcome != w.last {
		w.failed = 0
	}
	if outcome == Refused && outcome != w.last {
		w.o.Log.Error(err, "The API server refuses a report; will try again", "object", w.o.What)
	} else {
		w.o.Log.V(1).Info("Can't write a report; will try again", "object", w.o.What, "reason", err.Error())
	}
	pause = min(pause<<min(w.failed, 16), most)
	pause += w.jitter(pause / 2)
	w.failed++
	w.paused = time.Now().Add(pause)
	w.done(outcome)
	return pause
}

// judge says what an error means, and the first and longest pause after such errors.
func judge(err error) (outcome Outcome, pause, most time.Duration) {
	var answer apierrors.APIStatus
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		return Conflicted, conflictRetry, lastRetry
	case !errors.As(err, &answer), answer.Status().Code >= 500, apierrors.IsTooManyRequests(err), apierrors.IsUnauthorized(err):
		return Unreachable, awayRetry, lastAwayRetry
	}
	return Refused, refusedRetry, lastRetry
}

func (w *Writer[T]) done(outcome Outcome) {
	w.last = outcome
	if w.o.Observed != nil {
		w.o.Observed(outcome)
	}
}

func (w *Writer[T]) jitter(d time.Duration) time.Duration {
	return time.Duration(w.o.Random() * float64(d))
}
