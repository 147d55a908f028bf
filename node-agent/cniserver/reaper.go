package cniserver

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

// job is an endpoint whose link waits to be deleted. record is true where its record may still have to go as well.
type job struct {
	endpoint addressbook.Endpoint
	record   bool
}

const (
	// The kernel waits once for all links that are deleted together, and other calls' changes wait with it. So links
	// gather until no DEL has come for reapQuiet, for reapWithin at most, or until a pod waits for an address.
	reapQuiet    = 30 * time.Millisecond
	reapWithin   = 500 * time.Millisecond
	retryDelay   = time.Second
	recordWithin = 10 * time.Second
)

// reaper deletes marked links together, and gives an address back to the book once neither link nor record is left.
type reaper struct {
	book    *addressbook.Book
	wiring  Wiring
	records Records
	log     logr.Logger

	mu   sync.Mutex
	jobs map[string]job
	wake chan struct{}
}

func newReaper(book *addressbook.Book, wiring Wiring, records Records, log logr.Logger) *reaper {
	return &reaper{book: book, wiring: wiring, records: records, log: log, jobs: map[string]job{}, wake: make(chan struct{}, 1)}
}

func (r *reaper) add(j job) {
	r.mu.Lock()
	r.jobs[j.endpoint.Interface] = j
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run works until the context ends.
func (r *reaper) run(ctx context.Context) {
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-retry:
		}
		if !r.gather(ctx) {
			return
		}
		retry = nil
		if !r.pass(ctx) {
			retry = time.After(retryDelay)
		}
	}
}

// gather waits for more jobs. It reports whether there is time to do them.
func (r *reaper) gather(ctx context.Context) bool {
	within := time.After(reapWithin)
	for !r.book.Waiting() {
		select {
		case <-ctx.Done():
			return false
		case <-r.wake:
		case <-within:
			return true
		case <-time.After(reapQuiet):
			return true
		}
	}
	return ctx.Err() == nil
}

// pass tries every job once and reports whether all are done.
func (r *reaper) pass(ctx context.Context) bool {
	r.mu.Lock()
	jobs := slices.Collect(maps.Values(r.jobs))
	r.mu.Unlock()
	for _, j := range jobs {
		if _, err := r.wiring.MarkForReaping(j.endpoint.Interface); err != nil {
			r.log.Error(err, "Can't mark a link for deletion; will try again", "link", j.endpoint.Interface)
		}
	}
	if err := r.wiring.Reap(); err != nil {
		r.log.Error(err, "Can't delete links; will try again")
	}
	done := true
	for _, j := range jobs {
		if !r.finish(ctx, j) {
			done = false
			continue
		}
		r.mu.Lock()
		if r.jobs[j.endpoint.Interface].record == j.record {
			delete(r.jobs, j.endpoint.Interface)
		}
		r.mu.Unlock()
	}
	return done
}

func (r *reaper) finish(ctx context.Context, j job) bool {
	if there, err := r.wiring.Exists(j.endpoint.Interface); err != nil || there {
		return false
	}
	if j.record {
		within, cancel := context.WithTimeout(ctx, recordWithin)
		defer cancel()
		if err := r.records.Delete(within, j.endpoint.Namespace, RecordName(j.endpoint)); err != nil {
			return false
		}
	}
	r.book.Free(j.endpoint.Interface)
	return true
}
