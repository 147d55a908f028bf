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
	if !q.again(r, response, err) {
		return response, err //nolint:wrapcheck // callers look for its type
	}
	select {
	case <-r.Context().Done():
		return response, err //nolint:wrapcheck // callers look for its type
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	}
	for {
		discard(response)
		response, err = q.next.RoundTrip(r)
		if !q.again(r, response, err) || q.pause(r.Context()) != nil {
			return response, err //nolint:wrapcheck // callers look for its type
		}
	}
}

// mostDiscarded is how much of an answer that nobody reads is read, so that its connection can be used again.
const mostDiscarded = 16 << 10

func discard(response *http.Response) {
	if response != nil {
		_, _ = io.CopyN(io.Discard, response.Body, mostDiscarded)
		_ = response.Body.Close()
	}
}

// again says whether a request that has ended so is to be tried again: it has no body, and has not reached an API server that serves, only
// nobody or a load balancer that has none to send it to. An answer that says when to come again is for client-go, which waits as long.
func (q *queue) again(r *http.Request, response *http.Response, err error) bool {
	if q.over.Load() || r.Method != http.MethodGet || r.Context().Err() != nil {
		return false
	}
	if err == nil {
		switch response.StatusCode {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return response.Header.Get("Retry-After") == ""
		}
		return false
	}
	var network *net.OpError
	away := errors.As(err, &network) && (network.Op == "dial" || network.Op == "read" || network.Op == "write")
	return away || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
