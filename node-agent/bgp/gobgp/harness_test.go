package gobgp_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/gobgp"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
	routeplan "github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/test/routers"
)

// TestMain is the speaker's own main where a test starts one in a host's network namespace.
func TestMain(m *testing.M) {
	if socket := os.Getenv("CAUSEWAY_TEST_SPEAKER"); socket != "" {
		cmd := gobgp.NewCommand()
		cmd.SetArgs([]string{"--socket", socket})
		if cmd.ExecuteContext(context.Background()) != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(routers.Main(m))
}

// node is a host with a speaker.
type node struct {
	*speaker.Client
	host    *routers.Host
	t       testing.TB
	socket  string
	process *exec.Cmd
	log     string // the file with what the speaker logs
}

func newNode(t testing.TB, name string) *node {
	t.Helper()
	return onHost(t, routers.NewHost(t, name))
}

func onHost(t testing.TB, h *routers.Host) *node {
	t.Helper()
	n := &node{host: h, t: t, socket: filepath.Join(t.TempDir(), "s")}
	n.start()
	n.Client = speaker.NewClient(n.socket)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	routers.Eventually(t, 10*time.Second, func() error {
		if n.PID() == 0 {
			return fmt.Errorf("%s is not connected to its speaker", h.Name)
		}
		return nil
	})
	return n
}

func (n *node) start() {
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	n.process, n.log = n.host.Start([]string{"CAUSEWAY_TEST_SPEAKER=" + n.socket}, self)
}

func (n *node) apply(p bgpplan.Plan) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	failures, err := n.Apply(ctx, p)
	if err != nil || len(failures) > 0 {
		n.t.Fatalf("apply: %v %v", err, failures)
	}
}

func (n *node) sessionTo(peer string) speaker.SessionStatus {
	status, _ := n.Status()
	for _, s := range status.Sessions {
		if s.Peer.String() == peer {
			return s
		}
	}
	return speaker.SessionStatus{}
}

func (n *node) waitEstablished(limit time.Duration, peers ...string) {
	n.t.Helper()
	routers.Eventually(n.t, limit, func() error {
		for _, p := range peers {
			if s := n.sessionTo(p); !s.Established() {
				return fmt.Errorf("%s: session to %s is %+v", n.host.Name, p, s)
			}
		}
		return nil
	})
}

// route returns the next hops of a learned prefix, joined by blanks.
func (n *node) route(prefix string) string {
	p := netip.MustParsePrefix(prefix)
	routes := n.Routes().Routes
	if i := slices.IndexFunc(routes, func(r routeplan.LearnedRoute) bool { return r.Prefix == p }); i >= 0 {
		var hops []string
		for _, h := range routes[i].NextHops {
			hops = append(hops, h.String())
		}
		return strings.Join(hops, " ")
	}
	return ""
}

func (n *node) waitRoute(limit time.Duration, prefix, hops string) {
	n.t.Helper()
	routers.Eventually(n.t, limit, func() error {
		if got := n.route(prefix); got != hops {
			return fmt.Errorf("%s: route to %s is via %q, not %q", n.host.Name, prefix, got, hops)
		}
		return nil
	})
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// plan makes a plan with the given sessions. The node's address is its router id and listening address.
func plan(as uint32, address string, sessions []bgpplan.Session, prefixes ...string) bgpplan.Plan {
	a := addr(address)
	id := a
	if a.Is6() {
		id = netip.AddrFrom4([4]byte{241, 0, 0, a.As16()[15]})
	}
	p := bgpplan.Plan{
		Global: bgpplan.Global{AS: as, RouterID: id, Listen: true, ListenPort: 179, ListenAddresses: []netip.Addr{a}},
	}
	for _, s := range sessions {
		if s.LocalAS == 0 {
			s.LocalAS = as
		}
		p.Sessions = append(p.Sessions, s)
	}
	for _, text := range prefixes {
		ann := bgpplan.Announcement{Prefix: netip.MustParsePrefix(text), Source: bgpplan.SourceBlock}
		if ann.Prefix.Addr().Is4() == a.Is4() {
			ann.NextHop = a
		}
		p.Announcements = append(p.Announcements, ann)
	}
	return p
}

// to makes a session with the planner's defaults.
func to(as uint32, own, peer string) bgpplan.Session {
	s := bgpplan.Session{
		Peer: addr(peer), PeerAS: as, Port: 179, Source: "BGPPeer/test", SourceAddress: addr(own),
		HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second, RestartTime: 120 * time.Second, NextHop: bgpplan.NextHopAuto,
	}
	s.IPv4, s.IPv6 = s.Peer.Is4(), s.Peer.Is6()
	return s
}
