package gobgp

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

const (
	dialTimeout = 3 * time.Second
	// dialLater is how long the node that has the higher address leaves the first attempt to the other.
	dialLater = 1500 * time.Millisecond
	// digestion is the most that GoBGP takes to see a connection that it was given.
	digestion = 200 * time.Millisecond
	// heldTimeout is how long an accepted connection waits for GoBGP to leave Idle.
	heldTimeout = 5 * time.Second
)

// session is one configured peer: GoBGP's state machine and the connections that we make for it.
type session struct {
	plan     bgpplan.Session
	routerID netip.Addr // the node's
	fsm      fsm
	// changed is called when the status may have changed.
	changed func()
	cancel  context.CancelFunc
	ctx     context.Context
	wait    sync.WaitGroup
	wake    chan struct{}

	mu        sync.Mutex
	deleted   bool
	conn      *guard
	dialing   bool
	delivered time.Time
	succeeded int // how often the session came up
	held      *net.TCPConn
	state     bgp.FSMState
	since     time.Time
	fault     lastFault
	eor       map[bool]bool // by "is IPv6"
	started   time.Time
}

func newSession(plan bgpplan.Session, routerID netip.Addr, f fsm, changed func()) *session {
	ctx, cancel := context.WithCancel(context.Background())
	now := time.Now()
	s := &session{
		plan: plan, routerID: routerID, fsm: f, changed: changed, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1),
		since: now, started: now, eor: map[bool]bool{},
	}
	s.wait.Add(1)
	go s.dialLoop()
	return s
}

// observe takes note of a change of GoBGP's state.
func (s *session) observe() {
	state := s.fsm.state()
	s.mu.Lock()
	if state != s.state {
		if state == bgp.BGP_FSM_ESTABLISHED {
			s.succeeded++
			clear(s.eor)
			s.fault.established(s.delivered)
		}
		s.fsm.shortenIdle()
		s.state, s.since = state, time.Now()
	}
	held := s.held
	if held != nil && state == bgp.BGP_FSM_ACTIVE && !s.dialing {
		s.held = nil
	} else {
		held = nil
	}
	if held != nil {
		s.deliver(held)
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	s.changed()
}

func (s *session) fail(f fault) {
	s.mu.Lock()
	s.fault.note(f, time.Now())
	s.mu.Unlock()
	s.changed()
}

// dialLoop connects whenever GoBGP waits for a connection.
func (s *session) dialLoop() {
	defer s.wait.Done()
	delay := time.Duration(0)
	if s.plan.DialLater {
		delay = dialLater
	}
	connected := false
	for s.untilActive() && s.pause(delay) {
		if !s.beginDial() {
			s.pause(digestion)
			continue
		}
		before := s.successes()
		drops := md5Drops()
		conn, err := s.dial()
		if err != nil && s.ctx.Err() == nil {
			s.fail(dialFault(s.plan, err, md5Drops() > drops))
		}
		s.endDial(conn)
		s.pause(digestion)
		if err == nil && s.untilActive() && (s.successes() > before || !connected) {
			delay = 0 // The session was up, or it is the first time that the peer was there at all.
		}
		connected = err == nil
		delay = min(max(2*delay, 500*time.Millisecond), 5*time.Second)
		if s.plan.DialLater {
			delay = max(delay, dialLater)
		}
		delay += rand.N(delay / 4)
	}
}

// GoBGP knows no collision detection (RFC 4271 section 6.8). Between nodes, the connection of the lower address is kept:
// that node lets one that comes in wait while it connects itself, the other takes it and forgets its own.

// wanting says whether GoBGP waits for a connection and has none on its way. s.mu is held.
func (s *session) wanting() bool {
	return !s.deleted && s.fsm.state() == bgp.BGP_FSM_ACTIVE && time.Since(s.delivered) > digestion
}

func (s *session) beginDial() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialing = s.wanting() && s.held == nil
	return s.dialing
}

// endDial gives GoBGP the connection made, or else the one that has come in meanwhile.
func (s *session) endDial(conn *net.TCPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialing = false
	held := s.held
	s.held = nil
	if conn == nil {
		conn, held = held, nil
	}
	if conn != nil {
		s.deliver(conn)
	}
	if held != nil {
		_ = held.Close()
	}
}

func (s *session) successes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.succeeded
}

// untilActive waits for GoBGP to want a connection.
func (s *session) untilActive() bool {
	for s.fsm.state() != bgp.BGP_FSM_ACTIVE {
		select {
		case <-s.ctx.Done():
			return false
		case <-s.wake:
		case <-time.After(time.Second):
		}
	}
	return s.ctx.Err() == nil
}

func (s *session) pause(d time.Duration) bool {
	if d == 0 {
		return s.ctx.Err() == nil
	}
	select {
	case <-s.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (s *session) dial() (*net.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout, Control: func(_, _ string, raw syscall.RawConn) error {
		return controlRaw(raw, func(fd int) error {
			if s.plan.Password != "" {
				if err := setMD5(fd, s.plan.Peer, s.plan.Password); err != nil {
					return err
				}
			}
			return setTTL(fd, s.plan)
		})
	}}
	d.SetMultipathTCP(false)
	if s.plan.SourceAddress.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: s.plan.SourceAddress.AsSlice()}
	}
	conn, err := d.DialContext(s.ctx, "tcp", net.JoinHostPort(s.plan.Peer.String(), strconv.Itoa(int(s.plan.Port))))
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// accept takes a connection that the peer opened. A peer that opens a second one and speaks on it has restarted
// (RFC 4724 section 4.2): the first is closed without a word, and the new one waits until GoBGP is ready for it.
func (s *session) accept(conn *net.TCPConn) {
	if err := control(conn, func(fd int) error { return setTTL(fd, s.plan) }); err != nil {
		_ = conn.Close()
		return
	}
	s.mu.Lock()
	state := s.fsm.state()
	switch {
	case s.wanting() && (!s.dialing || s.plan.DialLater):
		s.deliver(conn)
		s.mu.Unlock()
		return
	case s.deleted, state == bgp.BGP_FSM_OPENSENT, state == bgp.BGP_FSM_OPENCONFIRM, state == bgp.BGP_FSM_ACTIVE && !s.dialing:
		s.mu.Unlock()
		_ = conn.Close()
		return
	}
	if s.held != nil {
		_ = s.held.Close()
	}
	s.held = conn
	established := s.conn
	s.mu.Unlock()
	time.AfterFunc(heldTimeout, func() { s.drop(conn) })
	if established != nil && state == bgp.BGP_FSM_ESTABLISHED {
		go func() {
			if speaks(conn) {
				established.quiet()
			} else {
				s.drop(conn) // It crossed the one that was kept, and the other side has closed it.
			}
		}()
	}
	s.observe() // It may have become Active in between.
}

// speaks waits for the first byte of an OPEN, and leaves it where it is.
func speaks(conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil || conn.SetReadDeadline(time.Now().Add(heldTimeout)) != nil {
		return false
	}
	n := 0
	err = raw.Read(func(fd uintptr) bool {
		var e error
		n, _, e = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
		return e != unix.EAGAIN
	})
	return err == nil && n > 0
}

// drop closes a held connection that GoBGP never became ready for.
func (s *session) drop(conn *net.TCPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == conn {
		s.held = nil
		_ = conn.Close()
	}
}

// deliver hands a connection to GoBGP. s.mu is held.
func (s *session) deliver(conn *net.TCPConn) {
	if !s.wanting() {
		_ = conn.Close()
		return
	}
	g := newGuard(conn, s.plan, s.routerID, s.fail)
	select {
	case s.fsm.connections <- g:
		s.conn, s.delivered = g, time.Now()
	default:
		_ = conn.Close()
	}
}

// retire stops making connections. The caller may then delete GoBGP's neighbour, which closes its channel. A quiet end
// leaves the peer its routes.
func (s *session) retire(quiet bool) {
	s.mu.Lock()
	s.deleted = true
	conn, held := s.conn, s.held
	s.held = nil
	s.mu.Unlock()
	s.cancel()
	if held != nil {
		_ = held.Close()
	}
	if quiet && conn != nil {
		conn.quiet()
	}
	s.wait.Wait()
}

// endOfRIB notes that the peer has sent all its routes of a family.
func (s *session) endOfRIB(v6 bool) {
	s.mu.Lock()
	s.eor[v6] = true
	s.mu.Unlock()
	s.changed()
}

// established returns the connection of an established session, or nil.
func (s *session) established() *guard {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fsm.state() != bgp.BGP_FSM_ESTABLISHED {
		return nil
	}
	return s.conn
}

// converged says whether the peer has said all it had to say since the session was made.
func (s *session) converged(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.started) > max(s.plan.RestartTime, 10*time.Second) {
		return true
	}
	if s.state != bgp.BGP_FSM_ESTABLISHED || s.conn == nil {
		return false
	}
	peer := s.conn.peer.Load()
	if peer == nil {
		return false
	}
	if !peer.graceful || s.plan.RestartTime == 0 {
		return now.Sub(s.since) > 10*time.Second // It may send no End-of-RIB at all.
	}
	return (!peer.ipv4 || !s.plan.IPv4 || s.eor[false]) && (!peer.ipv6 || !s.plan.IPv6 || s.eor[true])
}
