package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

var errAway = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}

// away is an API server that does not answer until it is told to.
type away struct {
	mu      sync.Mutex
	answers bool
	err     error
	tries   int
}

func (a *away) RoundTrip(*http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tries++
	if !a.answers {
		return nil, a.err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

func (a *away) set(answers bool) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = answers
	return a.tries
}

func get(ctx context.Context, t *testing.T, method string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "https://api/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// All requests wait while the API server is away, and one of them asks for it at a time.
func TestRequestsOfAStartWaitForTheAPIServer(t *testing.T) {
	const requests = 10
	server := &away{err: errAway}
	pauses := make(chan struct{})
	q := newQueue(server, &atomic.Bool{})
	q.pause = func(ctx context.Context) error {
		select {
		case pauses <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	results := make(chan error, requests)
	for range requests {
		go func() {
			response, err := q.RoundTrip(get(t.Context(), t, http.MethodGet))
			if err == nil {
				_ = response.Body.Close()
			}
			results <- err
		}()
	}
	for range 20 {
		<-pauses
		if len(results) != 0 {
			t.Fatalf("a request has ended while the API server is away: %v", <-results)
		}
	}
	if tries := server.set(true); tries > requests+21 {
		t.Errorf("%d requests tried %d times during 20 pauses of one of them", requests, tries)
	}
	for done := 0; done < requests; {
		select {
		case err := <-results:
			if err != nil {
				t.Error(err)
			}
			done++
		case <-pauses: // of a request that had tried just before
		}
	}
}

func TestWhatDoesNotWaitForTheAPIServer(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for what, c := range map[string]struct {
		ctx    context.Context
		method string
		err    error
		over   bool
	}{
		"a write":                         {method: http.MethodPost, err: errAway},
		"an agent that has started":       {err: errAway, over: true},
		"a certificate that is wrong":     {err: errors.New("x509: certificate signed by unknown authority")},
		"a request that nobody waits for": {ctx: ended, err: errAway},
	} {
		over := &atomic.Bool{}
		over.Store(c.over)
		q := newQueue(&away{err: c.err}, over)
		q.pause = func(context.Context) error {
			t.Errorf("%s waits", what)
			return context.Canceled
		}
		ctx, method := c.ctx, c.method
		if ctx == nil {
			ctx = t.Context()
		}
		if method == "" {
			method = http.MethodGet
		}
		response, err := q.RoundTrip(get(ctx, t, method))
		if err == nil {
			_ = response.Body.Close()
		}
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
