package cniserver

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/causeway-net/causeway/internal/failpoint"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

const (
	// The kernel waits once for all links that are deleted together, and other calls' changes wait with it. So links
	// gather until no DEL has come for reapQuiet, for reapWithin at most, or until a pod waits for an address.
	reapQuiet  = 30 * time.Millisecond
	reapWithin = 150 * time.Millisecond
	retryDelay = time.Second
)

// reaper deletes links of endpoints that have no record any more, together, and then gives their addresses back to the
// book. Until the record is gone the marked link stays: it is what the node knows of the DEL if the agent ends.
type reaper struct {
	book   *addressbook.Book
	wiring Wiring
	log    logr.Logger
	wake   chan struct{}

	passing sync.Mutex // held while links are deleted

	mu   sync.Mutex
	jobs map[string]bool // by host interface: true when the record is gone
}

func newReaper(book *addressbook.Book, wiring Wiring, log logr.Logger) *reaper {
	return &reaper{book: book, wiring: wiring, log: log, jobs: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// add notes a link that is to be deleted once its record is gone.
func (r *reaper) add(hostInterface string, recordGone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs[hostInterface] = recordGone
	if recordGone {
		r.poke()
	}
}

func (r *reaper) recordGone(hostInterface string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.jobs[hostInterface]; known {
		r.jobs[hostInterface] = true
		r.poke()
	}
}

// cancel forgets a link. When it returns, the link is either deleted or stays.
func (r *reaper) cancel(hostInterface string) {
	r.passing.Lock()
	defer r.passing.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.jobs, hostInterface)
}

func (r *reaper) poke() {
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
		if !r.pass() {
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

// pass deletes the links whose records are gone, and reports whether all of them went.
func (r *reaper) pass() bool {
	r.passing.Lock()
	defer r.passing.Unlock()
	var ready []string
	r.mu.Lock()
	for key, recordGone := range r.jobs {
		if recordGone {
			ready = append(ready, key)
		}
	}
	r.mu.Unlock()
	if len(ready) == 0 {
		return true
	}
	failpoint.At("reap: begin")
	gone, err := r.wiring.Reap(ready)
	if err != nil {
		r.log.Error(err, "Not all links were deleted", "tryAgain", len(ready)-len(gone))
	}
	failpoint.At("reap: links gone")
	for _, key := range gone {
		r.mu.Lock()
		delete(r.jobs, key)
		r.mu.Unlock()
		r.book.Free(key)
	}
	return len(gone) == len(ready)
}
