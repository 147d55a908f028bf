package bgp

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
)

// TestStatusOfAReflector has 5,000 sessions, all in trouble with long words: the object must stay far from etcd's limit.
func TestStatusOfAReflector(t *testing.T) {
	plan := bgpplan.Plan{Global: bgpplan.Global{AS: 64512, RouterID: netip.MustParseAddr("10.0.0.1")}}
	var status speaker.Status
	for i := range 5000 {
		peer := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		plan.Sessions = append(plan.Sessions, bgpplan.Session{Peer: peer, PeerAS: 64512, Source: fmt.Sprintf("BGPPeer/%d-%s", i%600, strings.Repeat("x", 240))})
		s := speaker.SessionStatus{Peer: peer, State: "Established", Since: time.Unix(1, 0)}
		if i >= 2000 {
			s.State, s.LastError = "Active", strings.Repeat("ö", 400)
		}
		status.Sessions = append(status.Sessions, s)
	}
	got := stateOf(plan, status, nil).Status()
	raw, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 500_000 {
		t.Errorf("the status has %d bytes", len(raw))
	}
	if got.Expected != 5000 || got.Established != 2000 || got.SessionCounts != "2000/5000" || len(got.Sources) != 512 || len(got.Sessions) != 256 {
		t.Errorf("%d/%d (%s), %d sources, %d sessions", got.Established, got.Expected, got.SessionCounts, len(got.Sources), len(got.Sessions))
	}
	for _, s := range got.Sessions {
		if s.State == "Established" || len(s.LastError) > mostWords || strings.ContainsRune(s.LastError, '\uFFFD') {
			t.Fatalf("a session in detail is %+v", s)
		}
	}
}

func TestReadyOfANode(t *testing.T) {
	session := bgpplan.Session{Peer: netip.MustParseAddr("10.0.0.2"), Source: "NodeToNodeMesh"}
	up := speaker.SessionStatus{Peer: session.Peer, State: "Established"}
	down := speaker.SessionStatus{Peer: session.Peer, State: "Active", LastError: "10.0.0.2 does not answer."}
	for name, c := range map[string]struct {
		plan     bgpplan.Plan
		status   speaker.Status
		failures []speaker.Failure
		want     metav1.ConditionStatus
		reason   string
		message  string
	}{
		"up":              {bgpplan.Plan{Sessions: []bgpplan.Session{session}}, speaker.Status{Sessions: []speaker.SessionStatus{up}}, nil, "True", "AllEstablished", "1 of 1 BGP sessions are established."},
		"down":            {bgpplan.Plan{Sessions: []bgpplan.Session{session}}, speaker.Status{Sessions: []speaker.SessionStatus{down}}, nil, "False", "SessionsDown", "0 of 1 BGP sessions are established. 10.0.0.2 does not answer."},
		"unknown":         {bgpplan.Plan{Sessions: []bgpplan.Session{session}}, speaker.Status{}, nil, "False", "SessionsDown", "0 of 1 BGP sessions are established."},
		"problems":        {bgpplan.Plan{Problems: []bgpplan.Problem{{Kind: "BGPPeer", Name: "a", Reason: "Bad", Message: "Mend it."}, {}}}, speaker.Status{}, nil, "False", "Bad", "BGPPeer a: Mend it. There are 1 more problems."},
		"fault":           {bgpplan.Plan{Problems: []bgpplan.Problem{{}}}, speaker.Status{Faults: []string{"Port taken."}}, nil, "False", "SpeakerFault", "Port taken."},
		"speaker refused": {bgpplan.Plan{}, speaker.Status{}, []speaker.Failure{{Message: "start GoBGP: no"}}, "False", "SpeakerFault", "start GoBGP: no"},
	} {
		t.Run(name, func(t *testing.T) {
			got := stateOf(c.plan, c.status, c.failures).Status().Conditions[0]
			if got.Type != "Ready" || got.Status != c.want || got.Reason != c.reason || got.Message != c.message {
				t.Errorf("Ready is %s, %s: %s", got.Status, got.Reason, got.Message)
			}
		})
	}
}
