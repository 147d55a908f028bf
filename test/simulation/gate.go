package simulation

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// process is one program that runs: an agent or a controller. After its crash nothing that it does has an effect.
type process struct {
	name   string
	on     *machine // nil for a controller
	ctx    context.Context
	cancel context.CancelFunc
	dead   bool // guarded by the gate
}

// call is something that a process asks of the world: a request to the API server, or a change of its kernel. It happens when
// the scheduler says so, and its answer arrives when the scheduler says so.
type call struct {
	of     *process
	key    string
	effect func() error
	// remote calls can be lost, can take effect late, and fail when the network is split.
	remote bool
	// free calls are reads of a cache: they happen at once, one at a time.
	free bool

	done      chan struct{}
	err       error
	applied   bool
	answered  bool
	abandoned time.Time // when the caller stopped waiting; the request may still be on its way
}

// gate is where all calls wait.
type gate struct {
	mu    sync.Mutex
	calls []*call
}

var (
	errCrashed = errors.New("the process has crashed")
	errLost    = errors.New("the connection broke")
)

// pass waits for the scheduler. The effect runs in the scheduler's goroutine, never together with another.
func (g *gate) pass(ctx context.Context, c *call) error {
	c.done = make(chan struct{})
	g.mu.Lock()
	if c.of.dead {
		g.mu.Unlock()
		return errCrashed
	}
	g.calls = append(g.calls, c)
	g.mu.Unlock()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		if c.answered {
			return c.err
		}
		c.answered, c.abandoned = true, time.Now()
		return context.Cause(ctx)
	}
}

// answer lets the caller go on.
func (g *gate) answer(c *call, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !c.answered {
		c.answered, c.err = true, err
		close(c.done)
	}
}

// waiting returns the calls that fit, sorted by key, and forgets those that are over.
func (g *gate) waiting(fits func(*call) bool) []*call {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = slices.DeleteFunc(g.calls, func(c *call) bool { return c.answered && (c.applied || c.abandoned.IsZero()) })
	var out []*call
	for _, c := range g.calls {
		if fits(c) {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b *call) int {
		switch {
		case a.key < b.key:
			return -1
		case a.key > b.key:
			return 1
		}
		return 0
	})
	return out
}

// kill ends a process. Requests that it has sent stay on their way.
func (g *gate) kill(p *process) {
	g.mu.Lock()
	p.dead = true
	for _, c := range g.calls {
		if c.of == p && !c.answered {
			c.answered, c.err = true, errCrashed
			if c.remote {
				c.abandoned = time.Now()
			}
			close(c.done)
		}
	}
	g.mu.Unlock()
	p.cancel()
}
