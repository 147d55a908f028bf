package speaker

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// TestRoutesOfNodesOutliveTheirSession drops the sessions with a node and with a router in one plan.
func TestRoutesOfNodesOutliveTheirSession(t *testing.T) {
	for name, tc := range map[string]struct {
		pending bool // a session of the new plan does not come up
		keeps   time.Duration
	}{
		"the new sessions are up":         {false, departedHold},
		"a new session does not converge": {true, departedLimit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := NewClient("")
				apply := func(sessions ...bgpplan.Session) {
					if _, err := c.Apply(t.Context(), bgpplan.Plan{Sessions: sessions}); !errors.Is(err, ErrNotConnected) {
						t.Fatal(err)
					}
				}
				third := bgpplan.Session{Peer: peers[2], Node: "c"}
				apply(bgpplan.Session{Peer: peers[0], Node: "b"}, bgpplan.Session{Peer: peers[1]}, third)
				c.complete, c.status.Sessions = true, []SessionStatus{{Peer: peers[2], Converged: !tc.pending}}
				c.learned.change(change("10.1.0.0/16", peers[0]))
				c.learned.change(change("10.2.0.0/16", peers[1]))
				apply(third)
				c.learned.change(append(change("10.1.0.0/16"), change("10.2.0.0/16")...))
				c.release()
				if !c.learned.has("10.1.0.0/16") || c.learned.has("10.2.0.0/16") {
					t.Fatalf("at once: %v", c.Routes().Routes)
				}
				time.Sleep(tc.keeps - time.Millisecond)
				if c.release(); !c.learned.has("10.1.0.0/16") {
					t.Error("the node's route is gone too early")
				}
				time.Sleep(time.Millisecond)
				if c.release(); c.learned.has("10.1.0.0/16") {
					t.Error("the node's route stays")
				}
			})
		})
	}
}

// TestASpeakerThatAnEarlierAgentLeftIsBelieved has no plan, as where the API server is away: what the speaker's converged
// sessions do not say any more goes, and nothing goes on the word of a speaker without sessions.
func TestASpeakerThatAnEarlierAgentLeftIsBelieved(t *testing.T) {
	for name, tc := range map[string]struct {
		sessions []SessionStatus
		stays    bool
	}{
		"converged":         {[]SessionStatus{{Peer: peers[0], Converged: true}}, false},
		"not converged yet": {[]SessionStatus{{Peer: peers[0], Converged: true}, {Peer: peers[1]}}, true},
		"no sessions":       {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewClient("")
			c.Adopt([]plan.LearnedRoute{
				{Prefix: netip.MustParsePrefix("10.1.0.0/16"), NextHops: peers[:1]}, {Prefix: netip.MustParsePrefix("10.2.0.0/16"), NextHops: peers[:1]},
			})
			c.learned.change(change("10.1.0.0/16", peers[0]))
			c.complete, c.status.Sessions = true, tc.sessions
			c.release()
			if !c.learned.has("10.1.0.0/16") || c.learned.has("10.2.0.0/16") != tc.stays {
				t.Errorf("left are %v", c.Routes().Routes)
			}
		})
	}
}
