package records

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/causeway-net/causeway/internal/failpoint"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

const (
	// writeWithin bounds one request.
	writeWithin = 8 * time.Second
	// parallel is how many requests are under way at once; one, while the API server does not answer.
	parallel = 16
)

// backoff is a pause that doubles from first to last, with up to a half of it left to chance so that nodes do not come together.
type backoff struct{ first, last time.Duration }

var (
	awayBackoff    = backoff{200 * time.Millisecond, 5 * time.Second}
	refusedBackoff = backoff{time.Second, 2 * time.Minute}
)

func (b backoff) pause(tries int, random func() float64) time.Duration {
	d := b.first
	for range tries - 1 {
		if d *= 2; d >= b.last {
			d = b.last
			break
		}
	}
	return d/2 + time.Duration(random()*float64(d/2))
}

// Refusal is a record that the API server does not let the agent write or remove.
type Refusal struct {
	Endpoint addressbook.Endpoint
	// Removal is true where the record is to go.
	Removal bool
	Reason  error
}

// QueueOptions are what a Queue is made of.
type QueueOptions struct {
	API  API
	Node string
	Log  logr.Logger
	// Gone is told each endpoint whose record Remove was to remove, once the API has none. It must not block.
	Gone func(hostInterface string)
	// Pended is told that something is to be written or removed. Remove returns after it has.
	Pended func(Pending)
	// Refused is told all refused records whenever there is one more or one less.
	Refused func([]Refusal)
	// Random returns a number from 0 up to 1. It spreads the requests of many nodes. Nil stands for the usual source.
	Random func() float64
}

// Pending is what the queue knows and the API does not.
type Pending struct {
	// Removal says that a record is to go.
	Removal bool
	// Away says that the API server does not answer at present.
	Away bool
}

// Queue writes and removes records in the background: for each endpoint one request after the other, in the order in which
// they were asked for, until the API server has done what was asked last.
type Queue struct {
	o    QueueOptions
	wake chan struct{}

	mu       sync.Mutex
	tasks    map[string]*task
	order    []string // keys of tasks, oldest first
	underway int
	away     int // failures one after the other because the API server did not answer
	awayTill time.Time
	changed  chan struct{} // closed and replaced when a request has ended
	refusals bool          // Refused must be told
}

// task is one endpoint whose record is not yet as it should be.
type task struct {
	endpoint addressbook.Endpoint
	wanted   bool
	maybe    bool // the API may have a record
	version  int  // rises with each call of Write and Remove
	busy     bool
	tries    int
	due      time.Time
	refusal  error
}

// NewQueue returns an empty queue.
func NewQueue(o QueueOptions) *Queue {
	if o.Random == nil {
		o.Random = rand.Float64
	}
	return &Queue{o: o, wake: make(chan struct{}, 1), tasks: map[string]*task{}, changed: make(chan struct{})}
}

// Write has the record of a new endpoint written.
func (q *Queue) Write(e addressbook.Endpoint) { q.ask(e, true, false) }

// Rewrite has the record of an endpoint written that the API may have had before.
func (q *Queue) Rewrite(e addressbook.Endpoint) { q.ask(e, true, true) }

// Remove has the record of an endpoint removed.
func (q *Queue) Remove(e addressbook.Endpoint) {
	if q.ask(e, false, true) {
		q.o.Gone(e.Interface)
	}
}

// ask notes what is wanted. It reports whether a removal is done because no record was ever sent.
func (q *Queue) ask(e addressbook.Endpoint, wanted, maybe bool) (done bool) {
	done, away := q.enter(e, wanted, maybe)
	q.o.Pended(Pending{Removal: !wanted, Away: away})
	q.poke()
	return done
}

func (q *Queue) enter(e addressbook.Endpoint, wanted, maybe bool) (done, away bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.tasks[e.Interface]
	if t == nil {
		t = &task{maybe: maybe}
		q.tasks[e.Interface] = t
		q.order = append(q.order, e.Interface)
	}
	t.endpoint, t.wanted, t.tries, t.due = e, wanted, 0, time.Time{}
	t.version++
	q.refuse(t, nil)
	if !wanted && !t.maybe && !t.busy {
		q.drop(e.Interface)
		done = true
	}
	return done, q.away > 0
}

// Pending reports whether an endpoint's record is still to be written or removed.
func (q *Queue) Pending(hostInterface string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tasks[hostInterface] != nil
}

// Explain says what is still to be done about an endpoint's record, "" for nothing.
func (q *Queue) Explain(hostInterface string) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.tasks[hostInterface]
	if t == nil {
		return ""
	}
	what := "its WorkloadEndpoint is to be written"
	if !t.wanted {
		what = "its WorkloadEndpoint is to be removed"
	}
	switch {
	case t.refusal != nil:
		return fmt.Sprintf("%s, and the API server refuses that: %v", what, t.refusal)
	case q.away > 0:
		return what + " when the API server answers again"
	}
	return what
}

// Await waits until nothing is pending for an endpoint. It returns why the API server refuses it.
func (q *Queue) Await(ctx context.Context, hostInterface string) error {
	for {
		q.mu.Lock()
		t, changed := q.tasks[hostInterface], q.changed
		var refusal error
		if t != nil {
			refusal = t.refusal
		}
		q.mu.Unlock()
		if t == nil || refusal != nil {
			return refusal
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the Kubernetes API server has not answered in time: %w", context.Cause(ctx))
		}
	}
}

// Run works until the context ends.
func (q *Queue) Run(ctx context.Context) {
	var requests sync.WaitGroup
	defer requests.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(q.start(ctx, &requests))
		q.tell()
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
	}
}

func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// start begins the requests that are due, and returns how long until the next one is.
func (q *Queue) start(ctx context.Context, requests *sync.WaitGroup) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, next := time.Now(), time.Hour
	limit := parallel
	if q.away > 0 {
		limit = 1
		if wait := q.awayTill.Sub(now); wait > 0 {
			return wait
		}
	}
	for _, key := range q.order {
		t := q.tasks[key]
		if t.busy {
			continue
		}
		if wait := t.due.Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		if q.underway >= limit {
			break // the end of a request wakes the queue
		}
		t.busy = true
		q.underway++
		asked := *t
		requests.Go(func() { q.finish(key, asked, q.request(ctx, asked)) })
	}
	return next
}

// request makes the one step towards what is wanted.
func (q *Queue) request(ctx context.Context, t task) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	e := t.endpoint
	if t.wanted {
		failpoint.At("record: before create")
		err := q.create(ctx, e)
		failpoint.At("record: after create")
		return err
	}
	failpoint.At("record: before delete")
	err := q.o.API.Delete(ctx, e.Namespace, Name(e), "")
	failpoint.At("record: after delete")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// create writes a record. One of the same name that says something else is of an earlier try and gives way.
func (q *Queue) create(ctx context.Context, e addressbook.Endpoint) error {
	record := Record(e, q.o.Node)
	err := q.o.API.Create(ctx, record)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	known, err := q.o.API.Get(ctx, record.Namespace, record.Name)
	switch {
	case err == nil && known.DeletionTimestamp == nil && sameSpec(known.Spec, record.Spec):
		return nil
	case err == nil:
		err = q.o.API.Delete(ctx, record.Namespace, record.Name, known.UID)
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return err
	}
	return q.o.API.Create(ctx, record)
}

// finish notes how a request ended.
func (q *Queue) finish(key string, asked task, err error) {
	q.mu.Lock()
	t := q.tasks[key]
	t.busy = false
	q.underway--
	no := refused(err) && !apierrors.IsAlreadyExists(err) // a record of that name that came just now is looked at next time
	if asked.wanted {
		t.maybe = t.maybe || !no
	} else if err == nil {
		t.maybe = false
	}
	current, begins := t.version == asked.version, false // begins says that the API server goes away now
	switch {
	case err == nil || no || apierrors.IsAlreadyExists(err):
		q.away = 0
	case !errors.Is(err, context.Canceled):
		q.away++
		q.awayTill = time.Now().Add(awayBackoff.pause(q.away, q.o.Random))
		if q.away == 1 {
			begins = true
			q.o.Log.Info("The API server does not take records; pods start and end without it, and their records follow", "reason", err.Error())
		}
	}
	gone := !t.wanted && !t.maybe
	switch {
	case gone || current && err == nil:
		q.drop(key)
	case current && no:
		t.tries++
		t.due = time.Now().Add(refusedBackoff.pause(t.tries, q.o.Random))
		q.refuse(t, err)
	}
	close(q.changed)
	q.changed = make(chan struct{})
	q.mu.Unlock()
	if gone {
		q.o.Gone(key)
	}
	if begins {
		q.o.Pended(Pending{Removal: true, Away: true}) // there may be removals that were asked for before
	}
	q.poke()
}

func (q *Queue) drop(key string) {
	q.refuse(q.tasks[key], nil)
	delete(q.tasks, key)
	if i := slices.Index(q.order, key); i >= 0 {
		q.order = slices.Delete(q.order, i, i+1)
	}
}

// refuse notes whether the API server refuses a task.
func (q *Queue) refuse(t *task, reason error) {
	if (t.refusal == nil) != (reason == nil) {
		q.refusals = true
	}
	if reason != nil && t.refusal == nil {
		what := "write"
		if !t.wanted {
			what = "remove"
		}
		q.o.Log.Error(reason, "The API server does not let the agent "+what+" a WorkloadEndpoint; will try again now and then",
			"pod", t.endpoint.Namespace+"/"+t.endpoint.Pod, "name", Name(t.endpoint))
	}
	t.refusal = reason
}

// tell passes the refused records on when their number has changed.
func (q *Queue) tell() {
	q.mu.Lock()
	changed := q.refusals
	q.refusals = false
	var all []Refusal
	for _, key := range q.order {
		if t := q.tasks[key]; t.refusal != nil {
			all = append(all, Refusal{Endpoint: t.endpoint, Removal: !t.wanted, Reason: t.refusal})
		}
	}
	q.mu.Unlock()
	if changed {
		q.o.Refused(all)
	}
}
