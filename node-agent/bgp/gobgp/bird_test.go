package gobgp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/test/routers"
)

const static = `protocol static { ipv4; route 192.0.2.0/24 blackhole; route 198.51.100.0/24 blackhole { bgp_community.add((65001,7)); }; }
`

func birdPeer(options string) string {
	return static + `protocol bgp node { local 10.0.0.1 as 65001; neighbor 10.0.0.2 as 64512; ` + options + `
  debug { states, events }; graceful restart on; ipv4 { import all; export all; }; }
`
}

func pair(t *testing.T) (*node, *routers.Host) {
	t.Helper()
	n, h := newNode(t, "node"), routers.NewHost(t, "tor")
	routers.Connect(t, n.host, "10.0.0.2/24 2001:db8::2/64", h, "10.0.0.1/24 2001:db8::1/64")
	return n, h
}

func has(b *routers.Bird, prefix string, words ...string) func() error {
	return func() error {
		got := b.Route(prefix)
		if got == "" {
			return fmt.Errorf("BIRD has no route to %s", prefix)
		}
		for _, w := range words {
			if !strings.Contains(got, w) {
				return fmt.Errorf("BIRD's route to %s lacks %q: %s", prefix, w, got)
			}
		}
		return nil
	}
}

func hasNot(b *routers.Bird, prefix string) func() error {
	return func() error {
		if got := b.Route(prefix); got != "" {
			return fmt.Errorf("BIRD still has %s: %s", prefix, got)
		}
		return nil
	}
}

// The first attempt to connect comes at once; GoBGP alone waits 1 to 2 s. A busy machine may be late, but not every time.
func TestFirstAttempt(t *testing.T) {
	t.Parallel()
	var took []time.Duration
	for range 4 {
		n, h := pair(t)
		routers.StartBird(t, h, "10.0.0.1", birdPeer("passive on;"))
		start := time.Now()
		n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{to(65001, "10.0.0.2", "10.0.0.1")}))
		n.waitEstablished(20*time.Second, "10.0.0.1")
		took = append(took, time.Since(start).Round(time.Millisecond))
		if took[len(took)-1] < 900*time.Millisecond {
			return
		}
	}
	t.Errorf("sessions took %v", took)
}

func TestExternalPeer(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	b := routers.StartBird(t, h, "10.0.0.1", birdPeer("passive on;"))
	p := plan(64512, "10.0.0.2", []bgpplan.Session{to(65001, "10.0.0.2", "10.0.0.1")}, "10.211.0.0/26")
	p.Announcements[0].Communities = []string{"64512:100"}
	p.Announcements[0].LargeCommunities = []string{"64512:1:2"}
	n.apply(p)
	n.waitEstablished(5*time.Second, "10.0.0.1")
	n.waitRoute(5*time.Second, "192.0.2.0/24", "10.0.0.1")
	routers.Eventually(t, 5*time.Second, has(b, "10.211.0.0/26", "BGP.as_path: 64512", "BGP.next_hop: 10.0.0.2", "(64512,100)", "(64512, 1, 2)"))
	routers.Eventually(t, 5*time.Second, func() error {
		if s := n.sessionTo("10.0.0.1"); s.Received != 2 || s.Advertised != 1 || !s.Converged {
			return fmt.Errorf("status is %+v", s)
		}
		return nil
	})

	t.Run("withdrawal", func(t *testing.T) {
		withdrawn := p
		withdrawn.Announcements = nil
		n.apply(withdrawn)
		routers.Eventually(t, time.Second, hasNot(b, "10.211.0.0/26"))
		n.apply(p)
		routers.Eventually(t, time.Second, has(b, "10.211.0.0/26"))
	})
	t.Run("the same again touches nothing", func(t *testing.T) {
		n.waitEstablished(2*time.Second, "10.0.0.1")
		since := n.sessionTo("10.0.0.1").Since
		n.apply(p)
		q := p
		q.Sessions = append(q.Sessions[:1:1], to(65009, "10.0.0.2", "10.0.0.9"))
		n.apply(q)
		n.apply(p)
		if s := n.sessionTo("10.0.0.1"); s.Since != since || !s.Established() {
			t.Errorf("the session is %+v, was up since %s", s, since)
		}
	})
	t.Run("peer goes", func(t *testing.T) {
		b.Ctl("disable", "node")
		n.waitRoute(2*time.Second, "192.0.2.0/24", "")
		routers.Eventually(t, time.Second, func() error {
			if s := n.sessionTo("10.0.0.1"); !strings.Contains(s.LastError, "shut down by its administrator") {
				return fmt.Errorf("status is %+v", s)
			}
			return nil
		})
		b.Ctl("enable", "node")
		n.waitRoute(10*time.Second, "192.0.2.0/24", "10.0.0.1")
	})
}

func TestPasswordChange(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	b := routers.StartBird(t, h, "10.0.0.1", birdPeer(`password "one"; connect delay time 1; connect retry time 1; error wait time 1,2;`))
	s := to(65001, "10.0.0.2", "10.0.0.1")
	s.Password = "one"
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{s}, "10.211.0.0/26"))
	n.waitRoute(10*time.Second, "192.0.2.0/24", "10.0.0.1")

	b.Reconfigure("10.0.0.1", birdPeer(`password "two"; connect delay time 1; connect retry time 1; error wait time 1,2;`))
	routers.Eventually(t, 15*time.Second, func() error {
		if got := n.sessionTo("10.0.0.1"); !strings.Contains(got.LastError, "password differs") {
			return fmt.Errorf("status is %+v", got)
		}
		return nil
	})
	s.Password = "two"
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{s}, "10.211.0.0/26"))
	n.waitRoute(15*time.Second, "192.0.2.0/24", "10.0.0.1")
	routers.Eventually(t, 5*time.Second, has(b, "10.211.0.0/26"))
}

func TestWrongAS(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	routers.StartBird(t, h, "10.0.0.1", birdPeer("connect delay time 1; error wait time 1,1;"))
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{to(65002, "10.0.0.2", "10.0.0.1")}))
	routers.Eventually(t, 10*time.Second, func() error {
		if got := n.sessionTo("10.0.0.1"); !strings.HasPrefix(got.LastError, "AS 65002 expected, 65001 came") {
			return fmt.Errorf("status is %+v", got)
		}
		return nil
	})
}

// TestErrorIsKept has BIRD wait 60 s after an error, as it does by default, and close every connection meanwhile: the status
// must say what was wrong, not that connections are closed.
func TestErrorIsKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		own, expected uint32
		options       string
		words, retry  string
	}{
		"the peer has another AS":     {64512, 65002, "", "AS 65002 expected, 65001 came", "rejected"},
		"the peer expects another AS": {64600, 65001, "", "The peer expects another AS number than 64600", "rejected"},
		"the peer wants a password":   {64512, 65001, `password "one"; connect retry time 1;`, "The peer wants a password", "Connecting to"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, h := pair(t)
			b := routers.StartBird(t, h, "10.0.0.1", birdPeer("connect delay time 1; "+c.options))
			n.apply(plan(c.own, "10.0.0.2", []bgpplan.Session{to(c.expected, "10.0.0.2", "10.0.0.1")}))
			said := func() error {
				if got := n.sessionTo("10.0.0.1"); !strings.HasPrefix(got.LastError, c.words) {
					return fmt.Errorf("status is %+v", got)
				}
				return nil
			}
			routers.Eventually(t, 20*time.Second, said)
			for end := time.Now().Add(12 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				if err := said(); err != nil {
					t.Fatal(err)
				}
			}
			if !strings.Contains(b.Log(), c.retry) {
				t.Errorf("there was no other attempt in between: BIRD's log lacks %q", c.retry)
			}
		})
	}
}

func TestTTLSecurity(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	routers.StartBird(t, h, "10.0.0.1", birdPeer("ttl security on;"))
	s := to(65001, "10.0.0.2", "10.0.0.1")
	s.TTLSecurity = 1
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{s}))
	n.waitRoute(10*time.Second, "192.0.2.0/24", "10.0.0.1")
}

func TestGracefulRestartSeenByPeer(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	b := routers.StartBird(t, h, "10.0.0.1", birdPeer("connect delay time 1;"))
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{to(65001, "10.0.0.2", "10.0.0.1")}, "10.211.0.0/26"))
	n.waitRoute(10*time.Second, "192.0.2.0/24", "10.0.0.1")
	routers.Eventually(t, 5*time.Second, has(b, "10.211.0.0/26"))

	pid := n.PID()
	_ = n.process.Process.Kill()
	n.start()
	routers.Eventually(t, 20*time.Second, func() error {
		if got := n.route("192.0.2.0/24"); got != "10.0.0.1" {
			t.Fatalf("the learned route was lost: %q", got)
		}
		if b.Route("10.211.0.0/26") == "" {
			t.Fatalf("BIRD lost the route:\n%s", b.Log())
		}
		if s := n.sessionTo("10.0.0.1"); n.PID() == pid || !s.Established() || !s.Converged {
			return fmt.Errorf("status is %+v", s)
		}
		return nil
	})
	if log := b.Log(); !strings.Contains(log, "Neighbor graceful restart detected") {
		t.Errorf("BIRD did not see a graceful restart:\n%s", log)
	}
}

// TestQuietChange changes a timer and a password: the session is made anew, and neither side loses a route.
func TestQuietChange(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	b := routers.StartBird(t, h, "10.0.0.1", birdPeer("connect delay time 1;"))
	s := to(65001, "10.0.0.2", "10.0.0.1")
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{s}, "10.211.0.0/26"))
	n.waitRoute(10*time.Second, "192.0.2.0/24", "10.0.0.1")
	routers.Eventually(t, 5*time.Second, has(b, "10.211.0.0/26"))
	n.waitEstablished(2*time.Second, "10.0.0.1")
	since := n.sessionTo("10.0.0.1").Since
	s.HoldTime, s.KeepaliveTime = 9*time.Second, 3*time.Second
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{s}, "10.211.0.0/26"))
	routers.Eventually(t, 15*time.Second, func() error {
		if n.route("192.0.2.0/24") != "10.0.0.1" {
			t.Fatal("the learned route was lost")
		}
		if b.Route("10.211.0.0/26") == "" {
			t.Fatal("BIRD lost the route")
		}
		if got := n.sessionTo("10.0.0.1"); got.Since.Equal(since) || !got.Established() || !got.Converged {
			return fmt.Errorf("status is %+v", got)
		}
		return nil
	})
	if got := b.Ctl("show", "protocols", "all", "node"); !strings.Contains(got, "/9") {
		t.Errorf("the hold time did not change: %s", got)
	}
}

// TestListening has another program on the port, and an address that is not there.
func TestListening(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	blocker := routers.StartBird(t, n.host, "10.0.0.2", "protocol bgp x { local 10.0.0.2 as 1; neighbor 10.0.0.77 as 2; passive on; ipv4 { import all; export none; }; }")
	b := routers.StartBird(t, h, "10.0.0.1", birdPeer("connect delay time 1;"))
	p := plan(64512, "10.0.0.2", []bgpplan.Session{to(65001, "10.0.0.2", "10.0.0.1")}, "10.211.0.0/26")
	p.Global.ListenAddresses = append(p.Global.ListenAddresses, addr("10.9.9.9"))
	n.apply(p)
	faults := func(words ...string) func() error {
		return func() error {
			status, _ := n.Status()
			if len(status.Faults) != len(words) {
				return fmt.Errorf("faults are %q", status.Faults)
			}
			for i, w := range words {
				if !strings.Contains(status.Faults[i], w) {
					return fmt.Errorf("faults are %q", status.Faults)
				}
			}
			return nil
		}
	}
	routers.Eventually(t, 5*time.Second, faults("Another program has 10.0.0.2:179", "does not have the address 10.9.9.9"))
	n.waitRoute(5*time.Second, "192.0.2.0/24", "10.0.0.1") // We can still open the session ourselves.
	routers.Eventually(t, 5*time.Second, has(b, "10.211.0.0/26"))
	blocker.Kill()
	routers.Eventually(t, 8*time.Second, faults("does not have the address 10.9.9.9"))
	n.apply(plan(64512, "10.0.0.2", nil))
	routers.Eventually(t, 5*time.Second, func() error {
		q := plan(64512, "10.0.0.2", nil)
		q.Global.Listen = false
		n.apply(q)
		if out := n.host.Run("ss", "-Hltn"); strings.Contains(out, ":179") {
			return fmt.Errorf("still listening: %s", out)
		}
		return nil
	})
}

// TestASChange starts with an AS number that BIRD does not expect.
func TestASChange(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	b := routers.StartBird(t, h, "10.0.0.1", birdPeer("connect delay time 1; error wait time 1,1;"))
	sessions := []bgpplan.Session{to(65001, "10.0.0.2", "10.0.0.1")}
	n.apply(plan(64600, "10.0.0.2", sessions, "10.211.0.0/26"))
	routers.Eventually(t, 10*time.Second, func() error {
		if got := n.sessionTo("10.0.0.1"); !strings.HasPrefix(got.LastError, "The peer expects another AS number than 64600") {
			return fmt.Errorf("status is %+v", got)
		}
		return nil
	})
	for range 2 {
		n.apply(plan(64512, "10.0.0.2", sessions, "10.211.0.0/26"))
		n.waitRoute(15*time.Second, "192.0.2.0/24", "10.0.0.1")
		routers.Eventually(t, 5*time.Second, has(b, "10.211.0.0/26", "BGP.as_path: 64512\n"))
		n.apply(plan(64600, "10.0.0.2", sessions))
		routers.Eventually(t, 5*time.Second, hasNot(b, "10.211.0.0/26"))
	}
}

// TestReplacedSessionIsNotEstablished asks for the status at once after a plan that gives a session another password.
func TestReplacedSessionIsNotEstablished(t *testing.T) {
	t.Parallel()
	n, h := pair(t)
	routers.StartBird(t, h, "10.0.0.1", `protocol bgp node { local 10.0.0.1 as 65001; neighbor 10.0.0.2 as 64512; ipv4 { import all; export all; }; }`)
	s := to(65001, "10.0.0.2", "10.0.0.1")
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{s}))
	n.waitEstablished(10*time.Second, "10.0.0.1")
	s.Password = "BIRD has none"
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{s}))
	if got := n.sessionTo("10.0.0.1"); got.Established() || got.Peer != s.Peer {
		t.Errorf("the new session is %+v", got)
	}
}
