package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

var errAway = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}

// away is an API server that does not answer until it is told to. Meanwhile it can't be reached, or a load balancer answers for it.
type away struct {
	mu         sync.Mutex
	answers    bool
	err        error
	status     int
	retryAfter string
	tries      int
	unread     int // answers that nobody has closed
}

// answer is the body of an answer, which tells when it is closed.
type answer struct {
	io.Reader
	of *away
}

func (b answer) Close() error {
	b.of.mu.Lock()
	defer b.of.mu.Unlock()
	b.of.unread--
	return nil
}

func (a *away) RoundTrip(*http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tries++
	if !a.answers && a.status == 0 {
		return nil, a.err
	}
	a.unread++
	response := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: answer{strings.NewReader("text"), a}}
	if !a.answers {
		response.StatusCode = a.status
		if a.retryAfter != "" {
			response.Header.Set("Retry-After", a.retryAfter)
		}
	}
	return response, nil
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
	for what, server := range map[string]*away{
		"nobody listens":                                {err: errAway},
		"a load balancer without an API server":         {status: http.StatusServiceUnavailable},
		"a load balancer whose API server has ended":    {status: http.StatusBadGateway},
		"a load balancer whose API server says nothing": {status: http.StatusGatewayTimeout},
	} {
		t.Run(what, func(t *testing.T) { requestsWait(t, server) })
	}
}

func requestsWait(t *testing.T, server *away) {
	t.Helper()
	const requests = 10
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
				if response.StatusCode != http.StatusOK {
					err = errors.New(http.StatusText(response.StatusCode))
				}
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
	if server.unread != 0 {
		t.Errorf("%d answers are not closed", server.unread)
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

		status     int
		retryAfter string
	}{
		"a write":                         {method: http.MethodPost, err: errAway},
		"an agent that has started":       {err: errAway, over: true},
		"a certificate that is wrong":     {err: errors.New("x509: certificate signed by unknown authority")},
		"a request that nobody waits for": {ctx: ended, err: errAway},
		"a refusal":                       {status: http.StatusForbidden},
		"an answer that says when to ask again, which client-go does": {status: http.StatusServiceUnavailable, retryAfter: "1"},
	} {
		over := &atomic.Bool{}
		over.Store(c.over)
		q := newQueue(&away{err: c.err, status: c.status, retryAfter: c.retryAfter}, over)
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
