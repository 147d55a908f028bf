// Package sessions lists the BGP sessions of the cluster. It takes objects and returns values; it does no I/O.
package sessions

import (
	"cmp"
	"slices"
	"time"

	"github.com/causeway-net/causeway/kubectl-causeway/health"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// Kinds are what List wants to see.
var Kinds = []objects.Kind{objects.BGPNodeStates, objects.NodeNetworks}

// Speaker is the BGP speaker of one node.
type Speaker struct {
	Node        string `json:"node"`
	AS          int64  `json:"asNumber"`
	RouterID    string `json:"routerID,omitempty"`
	Established int32  `json:"established"`
	Expected    int32  `json:"expected"`
	Learned     int64  `json:"routesLearned"`
	// Message is what the node says of its BGP as a whole.
	Message  string    `json:"message,omitempty"`
	Ready    bool      `json:"ready"`
	Sessions []Session `json:"sessions"`
	// Undescribed is how many established sessions there are that the node does not describe one by one.
	Undescribed int `json:"undescribed,omitempty"`
}

// Session is one session of a node.
type Session struct {
	Peer string `json:"peer"`
	// PeerNode is the node that has the peer's address, if it is one.
	PeerNode string `json:"peerNode,omitempty"`
	AS       int64  `json:"asNumber"`
	Source   string `json:"source"`
	State    string `json:"state"`
	// For is how long the session has been in this state.
	For        time.Duration `json:"for"`
	Received   int64         `json:"prefixesReceived"`
	Advertised int64         `json:"prefixesAdvertised"`
	LastError  string        `json:"lastError,omitempty"`
	Advice     string        `json:"advice,omitempty"`
}

// Up says whether the session is established.
func (s Session) Up() bool { return s.State == "Established" }

// List returns the speakers, sorted by node; of one node only, if it is named.
func List(c *objects.Cluster, node string) []Speaker {
	owner := map[string]string{}
	for i := range c.Networks.Items {
		for _, a := range c.Networks.Items[i].Status.Addresses {
			owner[a.Address] = c.Networks.Items[i].Name
		}
	}
	out := []Speaker{}
	for i := range c.States.Items {
		state := &c.States.Items[i]
		if node != "" && state.Name != node {
			continue
		}
		s := Speaker{
			Node: state.Name, AS: state.Status.ASNumber, RouterID: state.Status.RouterID, Established: state.Status.Established,
			Expected: state.Status.Expected, Learned: state.Status.RoutesLearned, Sessions: []Session{},
		}
		for _, condition := range state.Status.Conditions {
			if condition.Type == "Ready" {
				s.Ready, s.Message = condition.Status == "True", condition.Message
			}
		}
		for _, line := range state.Status.Sessions {
			session := Session{
				Peer: line.Peer, PeerNode: owner[line.Peer], AS: line.ASNumber, Source: line.Source, State: line.State,
				Received: line.PrefixesReceived, Advertised: line.PrefixesAdvertised, LastError: line.LastError,
			}
			if line.Since != nil {
				session.For = c.Now.Sub(line.Since.Time).Truncate(time.Second)
			}
			if !session.Up() {
				session.Advice = health.SessionAdvice(line.LastError)
			}
			s.Sessions = append(s.Sessions, session)
		}
		s.Undescribed = max(int(s.Expected)-len(s.Sessions), 0)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Speaker) int { return cmp.Compare(a.Node, b.Node) })
	return out
}
