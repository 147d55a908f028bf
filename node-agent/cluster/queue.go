package cluster

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// How long the requests of an agent that starts wait before one of them tries again to reach the API server. The time differs from agent to
// agent, so that those of a whole cluster don't try together.
const (
	leastPause = time.Second
	mostPause  = 3 * time.Second
)

// queue lets the watches of an agent that starts wait for an API server that is away. Without it each would fail and try again at ever
// longer intervals, of up to a minute, and an agent that started in a long outage would know nothing for as long after its end. One
// request tries at a time, the others follow when it has got through. It is for the start only: an agent that has a view of the cluster
// is in no hurry, and many of these must not come back at once.
type queue struct {
	next  http.RoundTripper
	over  *atomic.Bool                // the agent has started
	pause func(context.Context) error // until the next try
	turn  chan struct{}               // whose turn it is to try
}

func newQueue(next http.RoundTripper, over *atomic.Bool) *queue {
	return &queue{next: next, over: over, pause: pause, turn: make(chan struct{}, 1)}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // it is compared only
	case <-time.After(leastPause + rand.N(mostPause-leastPause)):
		return nil
	}
}

// RoundTrip implements http.RoundTripper.
func (q *queue) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := q.next.RoundTrip(r)
	if !q.again(r, err) {
		return response, err //nolint:wrapcheck // callers look for its type
	}
	select {
	case <-r.Context().Done():
		return nil, err //nolint:wrapcheck // callers look for its type
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	}
	for {
		response, err = q.next.RoundTrip(r)
		if !q.again(r, err) || q.pause(r.Context()) != nil {
			return response, err //nolint:wrapcheck // callers look for its type
		}
	}
}

// again says whether a request that has ended so is to be tried again: it has no body, and has not reached the API server.
func (q *queue) again(r *http.Request, err error) bool {
	if err == nil || q.over.Load() || r.Method != http.MethodGet || r.Context().Err() != nil {
		return false
	}
	var network *net.OpError
	away := errors.As(err, &network) && (network.Op == "dial" || network.Op == "read" || network.Op == "write")
	return away || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
