// Package speaker is the agent's side of the BGP speaker: it starts the speaker's process, tells it the plan, and keeps
// what it has learned, also while it restarts. The process itself is in package bgp below; no other package than that one
// imports GoBGP, so that its size and its faults stay out of the agent.
package speaker

import (
	"net/netip"
	"path/filepath"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

// Version is that of the protocol below. An agent stops a running speaker that has another.
const Version = 2

// DefaultSocket is where the speaker listens for the agent.
const DefaultSocket = "/run/causeway/speaker.sock"

// Request is what the agent says: one gob value after the other on the socket. One field is set.
type Request struct {
	// Apply is a whole plan; the speaker changes only what differs.
	Apply *Apply
	// Stop ends the process. The sessions end without a word, so that peers keep the routes.
	Stop bool
	// Quiet ends the events on this connection.
	Quiet bool
}

// Apply carries a plan.
type Apply struct {
	Sequence uint64
	Plan     bgpplan.Plan
}

// Event is what the speaker says, in the order in which it happened.
type Event struct {
	Hello *Hello
	// Applied answers an Apply.
	Applied *Applied
	// Hold names peers whose routes are about to go and come back.
	Hold []netip.Addr
	// Routes are changes of best paths. The first after Hello are all there are.
	Routes []RouteChange
	Status *Status
}

// Hello comes first.
type Hello struct {
	Version int
	PID     int
	// Instance differs from one process to the next.
	Instance uint64
}

// Applied is the outcome of an Apply.
type Applied struct {
	Sequence uint64
	Failures []Failure
}

// Failure is a part of a plan that could not be applied.
type Failure struct {
	// Peer is the session that it is about; not valid for the speaker as a whole.
	Peer    netip.Addr
	Message string
}

// RouteChange is the new set of best paths of a prefix. No hops: it is gone.
type RouteChange struct {
	Prefix netip.Prefix
	Hops   []Hop
}

// Hop is one best path.
type Hop struct {
	NextHop, Peer netip.Addr
}

// Status is the state of the speaker.
type Status struct {
	Global   bgpplan.Global
	Sessions []SessionStatus
	// Faults are what is wrong with the speaker as a whole, in sentences.
	Faults []string
}

// SessionStatus is the state of one session.
type SessionStatus struct {
	Peer netip.Addr
	// AS is the number expected of the peer.
	AS     uint32
	Source string
	// State is as in RFC 4271 section 8.2.2: Idle, Connect, Active, OpenSent, OpenConfirm or Established.
	State string
	Since time.Time
	// Received counts the prefixes that the peer announced and the filters let in.
	Received, Advertised int
	LastError            string
	// Converged says that the peer has said all its routes, or that its time for it has passed.
	Converged bool
}

// Established says whether routes are exchanged.
func (s SessionStatus) Established() bool { return s.State == "Established" }

// SocketBeside returns where the speaker of an agent listens: beside the agent's own socket.
func SocketBeside(agentSocket string) string {
	return filepath.Join(filepath.Dir(agentSocket), "speaker.sock")
}
