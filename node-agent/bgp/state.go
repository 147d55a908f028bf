package bgp

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
	"github.com/causeway-net/causeway/node-agent/loops"
)

const (
	established = "Established"
	idle        = "Idle"
	// mostWords bounds an error in a report: a reflector has thousands of sessions, and each may be in trouble.
	mostWords = 256
)

// State is what the sessions of a node do, all of them.
type State struct {
	// Active says that the node has, or had, something to do with BGP.
	Active   bool
	AS       uint32
	RouterID netip.Addr
	// Sessions are those that the plan wants, sorted by peer.
	Sessions []v1alpha1.BGPSessionStatus
	Problems []bgpplan.Problem
	// Faults are what is wrong with the speaker as a whole, in sentences.
	Faults []string
	// Learned is the number of prefixes that the speaker knows routes to.
	Learned int
}

// stateOf puts together what is wanted and what is.
func stateOf(plan bgpplan.Plan, status speaker.Status, failures []speaker.Failure) State {
	s := State{AS: plan.Global.AS, RouterID: plan.Global.RouterID, Problems: plan.Problems, Faults: slices.Clone(status.Faults)}
	known := make(map[netip.Addr]*speaker.SessionStatus, len(status.Sessions))
	for i := range status.Sessions {
		known[status.Sessions[i].Peer] = &status.Sessions[i]
	}
	failed := make(map[netip.Addr]string, len(failures))
	for _, f := range failures {
		if f.Peer.IsValid() {
			failed[f.Peer] = f.Message
		} else {
			s.Faults = append(s.Faults, f.Message)
		}
	}
	for _, wanted := range plan.Sessions {
		line := v1alpha1.BGPSessionStatus{Peer: wanted.Peer.String(), ASNumber: int64(wanted.PeerAS), Source: wanted.Source, State: idle}
		if k := known[wanted.Peer]; k != nil {
			since := metav1.NewTime(k.Since.Truncate(time.Second))
			line.State, line.Since, line.LastError = k.State, &since, shorten(k.LastError)
			line.PrefixesReceived, line.PrefixesAdvertised = int64(k.Received), int64(k.Advertised)
		}
		if message, ok := failed[wanted.Peer]; ok {
			line.LastError = shorten(message)
		}
		s.Sessions = append(s.Sessions, line)
	}
	return s
}

// shorten cuts a text at the end of a character.
func shorten(text string) string {
	if len(text) <= mostWords {
		return text
	}
	return strings.ToValidUTF8(text[:mostWords-3], "") + "..."
}

// Status returns the state as the API shows it, bounded: every source is counted, and the sessions in trouble come first.
// Transition times of conditions are the writer's.
func (s State) Status() v1alpha1.BGPNodeStateStatus {
	out := v1alpha1.BGPNodeStateStatus{ASNumber: int64(s.AS), Expected: int32(len(s.Sessions)), RoutesLearned: int64(s.Learned)}
	if s.RouterID.IsValid() {
		out.RouterID = s.RouterID.String()
	}
	sources := map[string]*v1alpha1.BGPSourceStatus{}
	for i := range s.Sessions {
		session := &s.Sessions[i]
		count := sources[session.Source]
		if count == nil {
			count = &v1alpha1.BGPSourceStatus{Source: session.Source}
			sources[session.Source] = count
		}
		count.Expected++
		if session.State == established {
			count.Established++
			out.Established++
		}
	}
	for _, count := range sources {
		out.Sources = append(out.Sources, *count)
	}
	slices.SortFunc(out.Sources, func(a, b v1alpha1.BGPSourceStatus) int { return cmp.Compare(a.Source, b.Source) })
	out.Sources = out.Sources[:min(len(out.Sources), maxSources)]
	out.SessionCounts = fmt.Sprintf("%d/%d", out.Established, out.Expected)
	out.Sessions = slices.Clone(s.Sessions)
	slices.SortStableFunc(out.Sessions, func(a, b v1alpha1.BGPSessionStatus) int { return trouble(a) - trouble(b) })
	out.Sessions = out.Sessions[:min(len(out.Sessions), v1alpha1.MaxSessionsInDetail)]
	out.Conditions = []metav1.Condition{s.ready(int(out.Established))}
	return out
}

// maxSources is the most that a BGPNodeState takes.
const maxSources = 512

// trouble sorts sessions: those that are down and say why, those that are down, the others.
func trouble(s v1alpha1.BGPSessionStatus) int {
	switch {
	case s.State == established:
		return 2
	case s.LastError == "":
		return 1
	}
	return 0
}

// ready returns the condition that sums the state up. The worst comes first.
func (s State) ready(up int) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	switch {
	case len(s.Faults) > 0:
		c.Reason, c.Message = "SpeakerFault", s.Faults[0]
	case len(s.Problems) > 0:
		p := s.Problems[0]
		c.Reason, c.Message = p.Reason, fmt.Sprintf("%s %s: %s", p.Kind, p.Name, p.Message)
		if more := len(s.Problems) - 1; more > 0 {
			c.Message += fmt.Sprintf(" There are %d more problems.", more)
		}
	case up < len(s.Sessions):
		c.Reason, c.Message = "SessionsDown", fmt.Sprintf("%d of %d BGP sessions are established.", up, len(s.Sessions))
		for i := range s.Sessions {
			if trouble(s.Sessions[i]) == 0 {
				c.Message += " " + s.Sessions[i].LastError
				break
			}
		}
	default:
		c.Status, c.Reason = metav1.ConditionTrue, "AllEstablished"
		c.Message = fmt.Sprintf("%d of %d BGP sessions are established.", up, len(s.Sessions))
	}
	return c
}

// State returns how the sessions are now.
func (l *Loop) State() State {
	status, failures := l.o.Speaker.Status()
	l.mu.Lock()
	plan := l.plan
	l.mu.Unlock()
	s := stateOf(plan, status, failures)
	s.Active = len(plan.Sessions) > 0 || l.started.Load()
	for _, session := range status.Sessions {
		s.Learned += session.Received
	}
	return s
}

// keepReport reports the sessions' state soon after it may have changed.
func (l *Loop) keepReport(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.report:
		}
		s := l.State()
		l.o.Reporter.ReportBGP(s)
		l.announceChanges(s)
		if !loops.Sleep(ctx, reportEvery) {
			return
		}
	}
}

// announceChanges makes an event of every session that came up or went down.
func (l *Loop) announceChanges(s State) {
	states := make(map[string]string, len(s.Sessions))
	for i := range s.Sessions {
		line := &s.Sessions[i]
		states[line.Peer] = line.State
		before, known := l.states[line.Peer]
		up, was := line.State == established, before == established
		switch {
		case up == was || !known && !up:
		case up:
			l.o.Reporter.Event(corev1.EventTypeNormal, "BGPSessionEstablished",
				fmt.Sprintf("The BGP session with %s (AS %d, %s) is established.", line.Peer, line.ASNumber, line.Source))
		default:
			l.o.Reporter.Event(corev1.EventTypeWarning, "BGPSessionDown",
				fmt.Sprintf("The BGP session with %s (AS %d, %s) is down. %s", line.Peer, line.ASNumber, line.Source, line.LastError))
		}
	}
	l.states = states
}
