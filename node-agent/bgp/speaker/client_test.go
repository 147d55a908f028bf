package speaker

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
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
