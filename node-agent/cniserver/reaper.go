package cniserver

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/causeway-net/causeway/node-agent/addressbook"
)

// job is an endpoint whose link waits to be deleted. record is true where its record may still have to go as well.
type job struct {
	endpoint addressbook.Endpoint
	record   bool
}

const (
	reapDelay    = 20 * time.Millisecond // lets links gather; the kernel waits once for all of them
	recordDelay  = time.Second
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
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		delay := reapDelay
		for pause(ctx, delay) {
			if r.pass(ctx) {
				break
			}
			delay = recordDelay
		}
	}
}

// pass tries every job once and reports whether none is left.
func (r *reaper) pass(ctx context.Context) bool {
	r.mu.Lock()
	jobs := make([]job, 0, len(r.jobs))
	for _, j := range r.jobs {
		jobs = append(jobs, j)
	}
	r.mu.Unlock()
	done := true
	for _, j := range jobs {
		if _, err := r.wiring.MarkForReaping(j.endpoint.Interface); err != nil {
			r.log.Error(err, "Can't mark a link for deletion; will try again", "link", j.endpoint.Interface)
		}
	}
	if err := r.wiring.Reap(); err != nil {
		r.log.Error(err, "Can't delete links; will try again")
	}
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
	r.mu.Lock()
	defer r.mu.Unlock()
	return done && len(r.jobs) == 0
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

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
