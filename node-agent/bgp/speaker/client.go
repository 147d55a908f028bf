package speaker

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

const (
	reconnectPause = 50 * time.Millisecond
	// staleLimit is how long routes may be kept for a peer that the speaker says nothing of.
	staleLimit = 120 * time.Second
	// departedHold is how long routes of other nodes stay when the plan drops their sessions: what is to take their place,
	// such as route reflectors, may come with the next object, and needs a moment. While sessions of the new plan have not
	// converged they stay longer, up to departedLimit.
	departedHold  = 5 * time.Second
	departedLimit = 30 * time.Second
)

// ErrNotConnected says that the speaker does not run now. The plan reaches it when it does.
var ErrNotConnected = errors.New("the BGP speaker does not run now; it gets the plan when it does")

// Client talks to the speaker. Its methods may be called at any time; Run does the work.
type Client struct {
	socket  string
	learned *learned
	changed chan struct{}

	mu        sync.Mutex
	plan      *bgpplan.Plan
	sequence  uint64
	encoder   *gob.Encoder
	instance  uint64
	pid       int
	status    Status
	failures  []Failure
	waiting   map[uint64]chan Applied
	restarted time.Time
	// departed are nodes whose session was dropped by a plan, and when.
	departed map[netip.Addr]time.Time
	// complete says that this connection's first routes have come.
	complete bool
}

// NewClient returns a client for the speaker at a socket.
func NewClient(socket string) *Client {
	return &Client{
		socket: socket, learned: newLearned(), changed: make(chan struct{}, 1), waiting: map[uint64]chan Applied{},
		restarted: time.Now(), departed: map[netip.Addr]time.Time{},
	}
}

// Changed receives a value after routes or status have changed; several changes may be one value.
func (c *Client) Changed() <-chan struct{} { return c.changed }

// Adopt gives the client the learned routes that the kernel has, before Run. They stay until the speaker has learned
// anew what the peers have to say.
func (c *Client) Adopt(routes []plan.LearnedRoute) { c.learned.adopt(routes) }

// Routes returns what has been learned.
func (c *Client) Routes() Snapshot { return c.learned.snapshot() }

// Changes returns the routes that may have changed since the last call of Changes or Routes. Those without next hops are gone.
func (c *Client) Changes() []plan.LearnedRoute { return c.learned.changes() }

// Status returns the state of the sessions, and what the last plan failed in.
func (c *Client) Status() (Status, []Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status, c.failures
}

// PID returns the process of the speaker, or 0.
func (c *Client) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

// Apply makes the speaker follow a plan, now and after each of its restarts. An unchanged plan is not sent. It waits for
// the speaker's answer.
func (c *Client) Apply(ctx context.Context, plan bgpplan.Plan) ([]Failure, error) {
	plan.Problems = nil // They are about objects; a change of them alone is none of the speaker's business.
	c.mu.Lock()
	if c.plan != nil && c.encoder != nil && reflect.DeepEqual(*c.plan, plan) {
		defer c.mu.Unlock()
		return c.failures, nil
	}
	c.depart(plan)
	c.plan = &plan
	answer, err := c.send()
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the BGP speaker to apply a plan: %w", ctx.Err())
	case applied, ok := <-answer:
		if !ok {
			return nil, ErrNotConnected
		}
		return applied.Failures, nil
	}
}

// depart keeps the routes of nodes whose session the next plan drops, for a while. c.mu is held.
func (c *Client) depart(next bgpplan.Plan) {
	if c.plan == nil {
		return
	}
	stays := map[netip.Addr]bool{}
	for _, s := range next.Sessions {
		stays[s.Peer] = true
		delete(c.departed, s.Peer)
	}
	var gone []netip.Addr
	for _, s := range c.plan.Sessions {
		if s.Node != "" && !stays[s.Peer] {
			gone = append(gone, s.Peer)
			c.departed[s.Peer] = time.Now()
		}
	}
	if len(gone) > 0 {
		c.learned.hold(gone)
	}
}

// send sends the plan. c.mu is held.
func (c *Client) send() (chan Applied, error) {
	if c.encoder == nil {
		return nil, ErrNotConnected
	}
	c.sequence++
	answer := make(chan Applied, 1)
	c.waiting[c.sequence] = answer
	if err := c.encoder.Encode(Request{Apply: &Apply{Sequence: c.sequence, Plan: *c.plan}}); err != nil {
		delete(c.waiting, c.sequence)
		return nil, fmt.Errorf("send the plan to the BGP speaker: %w", err)
	}
	return answer, nil
}

// Run stays connected to the speaker until ctx ends.
func (c *Client) Run(ctx context.Context) {
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { c.expire(ctx) })
	for ctx.Err() == nil {
		c.serve(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(reconnectPause):
		}
	}
}

// serve is one connection's life.
func (c *Client) serve(ctx context.Context) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	defer c.disconnected()
	decoder := gob.NewDecoder(conn)
	var hello Event
	if err := decoder.Decode(&hello); err != nil || hello.Hello == nil || hello.Hello.Version != Version {
		return // The supervisor replaces a speaker of another version.
	}
	c.connected(hello.Hello, conn)
	for {
		var e Event
		if err := decoder.Decode(&e); err != nil {
			return
		}
		c.handle(&e)
	}
}

func (c *Client) connected(h *Hello, conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Routes that were withdrawn while we were away must go, too: all are stale until their peers have converged.
	c.learned.restarted()
	c.restarted = time.Now()
	c.instance, c.pid, c.encoder, c.complete = h.Instance, h.PID, gob.NewEncoder(conn), false
	if c.plan != nil {
		_, _ = c.send() // A lost connection shows in the decoder.
	}
}

func (c *Client) disconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.encoder, c.pid = nil, 0
	for sequence, answer := range c.waiting {
		close(answer)
		delete(c.waiting, sequence)
	}
	for i := range c.status.Sessions {
		if s := &c.status.Sessions[i]; s.State != "Idle" {
			s.State, s.Since, s.LastError = "Idle", time.Now(), "The BGP speaker restarts; the routes are kept meanwhile."
		}
	}
	c.status.Sessions = slices.Clone(c.status.Sessions)
	c.notify()
}

func (c *Client) handle(e *Event) {
	if len(e.Hold) > 0 {
		c.learned.hold(e.Hold)
		c.awaitAgain(e.Hold)
	}
	if e.Routes != nil {
		c.learned.change(e.Routes)
	}
	c.mu.Lock()
	if e.Status != nil {
		c.status, c.complete = *e.Status, true
	}
	if e.Applied != nil {
		c.failures = e.Applied.Failures
		if answer, ok := c.waiting[e.Applied.Sequence]; ok {
			answer <- *e.Applied
			delete(c.waiting, e.Applied.Sequence)
		}
	}
	c.mu.Unlock()
	if e.Status != nil {
		c.learned.setKnown()
		c.release()
	}
	c.notify()
}

// awaitAgain keeps what is held from being released before the speaker's next status.
func (c *Client) awaitAgain(peers []netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Sessions = slices.Clone(c.status.Sessions)
	for i := range c.status.Sessions {
		if s := &c.status.Sessions[i]; slices.Contains(peers, s.Peer) {
			s.Converged = false
		}
	}
}

// release drops the stale routes whose peers have converged, or are gone for long enough.
func (c *Client) release() (dropped bool) {
	c.mu.Lock()
	// Until the speaker has the plan, it knows of no peer, and none has converged.
	ready := c.complete && (c.plan == nil || len(c.status.Sessions) > 0 || len(c.plan.Sessions) == 0)
	expired := time.Since(c.restarted) > staleLimit
	pending, awaited := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for _, s := range c.status.Sessions {
		if !s.Converged {
			pending[s.Peer] = true
		}
	}
	for peer, at := range c.departed {
		since := time.Since(at)
		if since < departedHold || len(pending) > 0 && since < departedLimit {
			awaited[peer] = true
		} else {
			delete(c.departed, peer)
		}
	}
	// A speaker without sessions that nobody has given a plan yet knows nothing. One that an earlier agent left, with its
	// sessions, knows what its peers say.
	knows := c.plan != nil || len(c.status.Sessions) > 0
	c.mu.Unlock()
	if !ready || !knows && !expired {
		return false
	}
	return c.learned.release(func(peer netip.Addr) bool {
		if !peer.IsValid() {
			return len(pending) > 0 && !expired // adopted from the kernel: of any peer
		}
		return pending[peer] || awaited[peer]
	})
}

// expire drops stale routes whose time has passed without the speaker saying anything.
func (c *Client) expire(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if c.release() {
				c.notify()
			}
		}
	}
}

func (c *Client) notify() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}
