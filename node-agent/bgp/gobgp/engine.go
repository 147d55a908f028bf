// Package gobgp is the BGP speaker: GoBGP v3.37.0, with connections of our own, that follows a plan by difference and says
// what it has learned. It runs in a process of its own, because what goes wrong in it must not touch pods' networking. A
// plan comes in over a unix socket, events go out; it never touches the kernel's routes and decides nothing.
package gobgp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
)

// deferralSeconds is how long a restarted speaker waits for the End-of-RIB of its peers before it announces
// (Selection_Deferral_Timer, RFC 4724 section 4.1).
const deferralSeconds = 10

// Engine is one speaker.
type Engine struct {
	log       *slog.Logger
	hub       *hub
	listeners *listeners
	dirty     chan struct{}

	// applying is held while a plan is applied.
	applying sync.Mutex
	server   *server.BgpServer
	// stopped is a server to start again: GoBGP's never end.
	stopped   *server.BgpServer
	stopWatch context.CancelFunc
	plan      bgpplan.Plan
	// restarting is true until the first sessions of a speaker that had some before it restarted.
	restarting bool

	mu       sync.RWMutex
	sessions map[netip.Addr]*session
}

// NewEngine returns a speaker that does nothing yet. restarting says that one ran on this node before: its peers are
// asked to keep its routes.
func NewEngine(log *slog.Logger, restarting bool) *Engine {
	e := &Engine{log: log, hub: newHub(), dirty: make(chan struct{}, 1), restarting: restarting, sessions: map[netip.Addr]*session{}}
	e.listeners = newListeners(e.accept)
	return e
}

// Run keeps the status and the listeners up to date until ctx ends, then stops without a word to the peers, so that they
// keep the routes.
func (e *Engine) Run(ctx context.Context) {
	slow := time.NewTicker(2 * time.Second)
	defer slow.Stop()
	for {
		select {
		case <-ctx.Done():
			e.stop()
			return
		case <-slow.C:
			e.listeners.retry()
			e.publish()
		case <-e.dirty:
			e.publish()
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond): // several changes, one status
			}
		}
	}
}

func (e *Engine) stop() {
	e.applying.Lock()
	defer e.applying.Unlock()
	e.listeners.close()
	e.stopServer(true)
}

// changed asks for a new status.
func (e *Engine) changed() {
	select {
	case e.dirty <- struct{}{}:
	default:
	}
}

// accept finds the session of a connection that a peer has opened.
func (e *Engine) accept(conn *net.TCPConn) {
	if peer, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		if s := e.session(peer.AddrPort().Addr().Unmap().WithZone("")); s != nil {
			s.accept(conn)
			return
		}
	}
	_ = conn.Close()
}

func (e *Engine) session(peer netip.Addr) *session {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.sessions[peer]
}

// Apply makes the speaker follow a plan. Only what differs from the last one is touched.
func (e *Engine) Apply(ctx context.Context, plan bgpplan.Plan) (failures []speaker.Failure) {
	e.applying.Lock()
	defer e.applying.Unlock()
	fail := func(peer netip.Addr, doing string, err error) {
		failures = append(failures, speaker.Failure{Peer: peer, Message: fmt.Sprintf("%s: %v", doing, err)})
	}
	if plan.Global.AS == 0 {
		plan = bgpplan.Plan{}
	}
	if e.server != nil && (plan.Global.AS != e.plan.Global.AS || plan.Global.RouterID != e.plan.Global.RouterID) {
		e.stopServer(false)
	}
	if e.server == nil && len(plan.Sessions) > 0 {
		if err := e.startServer(ctx, plan.Global); err != nil {
			fail(netip.Addr{}, "start GoBGP", err)
			return failures
		}
	}
	if e.server != nil {
		e.applyPolicies(ctx, &plan, fail)
		e.applyAnnouncements(ctx, &plan, fail)
		e.applySessions(ctx, &plan, fail)
	}
	passwords := map[netip.Addr]bgpplan.Secret{}
	for _, s := range plan.Sessions {
		if s.Password != "" {
			passwords[s.Peer] = s.Password
		}
	}
	e.listeners.apply(plan.Global, passwords)
	e.plan = plan
	if len(plan.Sessions) > 0 {
		e.restarting = false
	}
	e.changed()
	return failures
}

func (e *Engine) startServer(ctx context.Context, g bgpplan.Global) error {
	s := e.stopped
	if s == nil {
		s = server.NewBgpServer(server.LoggerOption(&logger{e.log}))
		go s.Serve()
	}
	e.stopped = s // until it runs
	err := s.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: g.AS, RouterId: g.RouterID.String(), ListenPort: -1, UseMultiplePaths: true,
	}})
	if err != nil {
		return err
	}
	if err := s.SetPolicies(ctx, policies(&bgpplan.Plan{})); err != nil {
		return err
	}
	for _, assignment := range []*api.PolicyAssignment{
		{Name: "global", Direction: api.PolicyDirection_IMPORT, DefaultAction: api.RouteAction_ACCEPT, Policies: []*api.Policy{{Name: importPolicy}}},
		{Name: "global", Direction: api.PolicyDirection_EXPORT, DefaultAction: api.RouteAction_REJECT, Policies: []*api.Policy{{Name: exportPolicy}}},
	} {
		if err := s.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: assignment}); err != nil {
			return err
		}
	}
	watching, cancel := context.WithCancel(context.Background())
	err = s.WatchEvent(watching, &api.WatchEventRequest{
		Peer: &api.WatchEventRequest_Peer{},
		Table: &api.WatchEventRequest_Table{Filters: []*api.WatchEventRequest_Table_Filter{
			{Type: api.WatchEventRequest_Table_Filter_BEST, Init: true}, {Type: api.WatchEventRequest_Table_Filter_EOR},
		}},
	}, e.watch)
	if err != nil {
		cancel()
		return err
	}
	e.server, e.stopped, e.stopWatch, e.plan = s, nil, cancel, bgpplan.Plan{}
	return nil
}

// stopServer ends all sessions, without a word if the process is to end: then peers keep the routes.
func (e *Engine) stopServer(quiet bool) {
	if e.server == nil {
		return
	}
	var peers []netip.Addr
	for peer, s := range e.sessions {
		peers = append(peers, peer)
		s.retire(quiet)
	}
	e.hub.hold(peers)
	e.mu.Lock()
	clear(e.sessions)
	e.mu.Unlock()
	if err := e.server.StopBgp(context.Background(), &api.StopBgpRequest{}); err != nil {
		e.log.Warn("GoBGP did not stop", "error", err)
	}
	e.stopWatch()
	e.hub.clear()
	e.server, e.stopped, e.plan = nil, e.server, bgpplan.Plan{}
}

// applyPolicies sets the policies anew where a session's rules differ, and has GoBGP judge that session's routes again.
func (e *Engine) applyPolicies(ctx context.Context, plan *bgpplan.Plan, fail func(netip.Addr, string, error)) {
	before := map[netip.Addr]bgpplan.Session{}
	for _, s := range e.plan.Sessions {
		before[s.Peer] = s
	}
	differ := len(before) != len(plan.Sessions)
	poolsDiffer := !slices.Equal(e.plan.ExportPrefixes, plan.ExportPrefixes)
	var again []bgpplan.Session
	for _, s := range plan.Sessions {
		old, ok := before[s.Peer]
		same := ok && samePolicy(&old, &s)
		differ = differ || !same
		if ok && (!same || poolsDiffer && s.Reflector && s.External()) {
			again = append(again, s)
		}
	}
	if !differ && !poolsDiffer {
		return
	}
	if err := e.server.SetPolicies(ctx, policies(plan)); err != nil {
		fail(netip.Addr{}, "set the filters", err)
		return
	}
	for _, s := range again {
		e.withdrawFiltered(ctx, &s)
		err := e.server.ResetPeer(ctx, &api.ResetPeerRequest{Address: s.Peer.String(), Soft: true, Direction: api.ResetPeerRequest_BOTH})
		if err != nil {
			fail(s.Peer, "apply the filters to the routes that are there", err)
		}
	}
}

// withdrawFiltered withdraws what the peer has and the filters don't let through any more. GoBGP's soft reset does not.
// The reset that follows announces again what is allowed, so nothing can be lost in between.
func (e *Engine) withdrawFiltered(ctx context.Context, s *bgpplan.Session) {
	live := e.session(s.Peer)
	if live == nil {
		return
	}
	g := live.established()
	if g == nil {
		return
	}
	sent := g.announced()
	for _, v6 := range []bool{false, true} {
		_ = e.server.ListPath(ctx, &api.ListPathRequest{TableType: api.TableType_ADJ_OUT, Name: s.Peer.String(), Family: family(v6)},
			func(d *api.Destination) {
				if p, err := netip.ParsePrefix(d.Prefix); err == nil {
					delete(sent, p)
				}
			})
	}
	g.withdraw(sent)
}

func samePolicy(a, b *bgpplan.Session) bool {
	return reflect.DeepEqual(a.Import, b.Import) && reflect.DeepEqual(a.Export, b.Export) && a.NextHop == b.NextHop &&
		a.Reflector == b.Reflector && a.External() == b.External() && a.LocalAS == b.LocalAS && a.OtherAddress == b.OtherAddress &&
		slices.Equal(a.Link, b.Link) && a.SourceAddress.IsValid() == b.SourceAddress.IsValid()
}

func (e *Engine) applyAnnouncements(ctx context.Context, plan *bgpplan.Plan, fail func(netip.Addr, string, error)) {
	before := map[netip.Prefix]bgpplan.Announcement{}
	for _, a := range e.plan.Announcements {
		before[a.Prefix] = a
	}
	for _, a := range plan.Announcements {
		old, ok := before[a.Prefix]
		delete(before, a.Prefix)
		if ok && reflect.DeepEqual(old, a) {
			continue
		}
		path, err := originated(a)
		if err == nil {
			_, err = e.server.AddPath(ctx, &api.AddPathRequest{TableType: api.TableType_GLOBAL, Path: path})
		}
		if err != nil {
			fail(netip.Addr{}, "announce "+a.Prefix.String(), err)
		}
	}
	for _, a := range before {
		path, err := originated(a)
		if err == nil {
			err = e.server.DeletePath(ctx, &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Family: path.Family, Path: path})
		}
		if err != nil {
			fail(netip.Addr{}, "withdraw "+a.Prefix.String(), err)
		}
	}
}

// applySessions deletes, replaces and adds sessions.
func (e *Engine) applySessions(ctx context.Context, plan *bgpplan.Plan, fail func(netip.Addr, string, error)) {
	wanted := map[netip.Addr]bool{}
	for i := range plan.Sessions {
		wanted[plan.Sessions[i].Peer] = true
	}
	for peer, s := range e.sessions {
		if !wanted[peer] {
			// A node drops the session too, and has to learn first what takes its place. A router is told.
			if err := e.delete(ctx, s, s.plan.Node != ""); err != nil {
				fail(peer, "delete the session", err)
			}
		}
	}
	for i := range plan.Sessions {
		s := &plan.Sessions[i]
		old := e.sessions[s.Peer]
		if old != nil && sameSession(old.plan, *s) {
			old.rename(s)
			continue
		}
		restarting := e.restarting
		if old != nil {
			// The peer and our kernel keep the routes until the session is back.
			e.hub.hold([]netip.Addr{s.Peer})
			if err := e.delete(ctx, old, true); err != nil {
				fail(s.Peer, "replace the session", err)
				continue
			}
			restarting = true
		}
		if err := e.add(ctx, s, plan.Global.RouterID, restarting); err != nil {
			fail(s.Peer, "add the session", err)
		}
	}
}

// sameSession says whether a session can stay up when its plan changes from a to b.
func sameSession(a, b bgpplan.Session) bool {
	a.Import, a.Export, a.Reflector = b.Import, b.Export, b.Reflector
	a.NextHop, a.OtherAddress, a.Link = b.NextHop, b.OtherAddress, b.Link
	a.Source, a.Node, a.DialLater = b.Source, b.Node, b.DialLater
	return reflect.DeepEqual(a, b)
}

func (e *Engine) add(ctx context.Context, s *bgpplan.Session, routerID netip.Addr, restarting bool) error {
	if err := e.server.AddPeer(ctx, &api.AddPeerRequest{Peer: neighbor(s, restarting && s.RestartTime > 0)}); err != nil {
		return err
	}
	f, err := findFSM(e.server, s.Peer)
	if err != nil {
		return err
	}
	f.adjust(s.HoldTime.Seconds(), s.KeepaliveTime.Seconds())
	added := newSession(*s, routerID, f, e.changed)
	e.mu.Lock()
	e.sessions[s.Peer] = added
	e.mu.Unlock()
	added.observe()
	return nil
}

func (e *Engine) delete(ctx context.Context, s *session, quiet bool) error {
	e.mu.Lock()
	delete(e.sessions, s.plan.Peer)
	e.mu.Unlock()
	s.retire(quiet)
	return e.server.DeletePeer(ctx, &api.DeletePeerRequest{Address: s.plan.Peer.String()})
}
