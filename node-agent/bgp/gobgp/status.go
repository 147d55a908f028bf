package gobgp

import (
	"fmt"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
)

var stateNames = map[bgp.FSMState]string{
	bgp.BGP_FSM_IDLE: "Idle", bgp.BGP_FSM_CONNECT: "Connect", bgp.BGP_FSM_ACTIVE: "Active",
	bgp.BGP_FSM_OPENSENT: "OpenSent", bgp.BGP_FSM_OPENCONFIRM: "OpenConfirm", bgp.BGP_FSM_ESTABLISHED: "Established",
}

// status says what the session does.
func (s *session) status(now time.Time, accepted int) speaker.SessionStatus {
	converged := s.converged(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	state, ok := stateNames[s.state]
	if !ok {
		state = fmt.Sprintf("State %d", s.state)
	}
	status := speaker.SessionStatus{
		Peer: s.plan.Peer, AS: s.plan.PeerAS, Source: s.plan.Source, State: state, Since: s.since.Truncate(time.Millisecond),
		LastError: s.fault.words, Converged: converged,
	}
	if s.state == bgp.BGP_FSM_ESTABLISHED && s.conn != nil {
		status.Received, status.Advertised = accepted, s.conn.advertised()
	}
	return status
}

// rename takes over what of a plan needs no new session.
func (s *session) rename(plan *bgpplan.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan.Source, s.plan.Node = plan.Source, plan.Node
	s.plan.Import, s.plan.Export, s.plan.Reflector = plan.Import, plan.Export, plan.Reflector
	s.plan.NextHop, s.plan.OtherAddress, s.plan.Link = plan.NextHop, plan.OtherAddress, plan.Link
}
