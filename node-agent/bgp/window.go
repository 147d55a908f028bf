package bgp

import (
	"fmt"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

// Window is what people see of the loop: what the speaker should do, and what its sessions do. Passwords are hidden.
type Window struct {
	Plan  bgpplan.Plan `json:"plan"`
	State State        `json:"state"`
}

// Window returns the last plan, and the state of its sessions.
func (l *Loop) Window() Window {
	l.mu.Lock()
	plan := l.plan
	l.mu.Unlock()
	status, failures := l.o.Speaker.Status()
	return Window{Plan: plan, State: stateOf(plan, status, failures)}
}

// String shows sessions, announcements and problems, a line for each.
func (w Window) String() string {
	if len(w.Plan.Sessions) == 0 && len(w.Plan.Problems) == 0 {
		return "# no BGP sessions\n"
	}
	var s strings.Builder
	for _, x := range w.State.Sessions {
		fmt.Fprintf(&s, "session %s AS %d (%s): %s", x.Peer, x.ASNumber, x.Source, x.State)
		if x.Since != nil && !x.Since.IsZero() {
			fmt.Fprintf(&s, " since %s", x.Since.UTC().Format("2006-01-02T15:04:05Z"))
		}
		fmt.Fprintf(&s, ", %d prefixes received, %d advertised", x.PrefixesReceived, x.PrefixesAdvertised)
		if x.LastError != "" {
			fmt.Fprintf(&s, "; last error: %s", x.LastError)
		}
		s.WriteByte('\n')
	}
	for _, a := range w.Plan.Announcements {
		fmt.Fprintf(&s, "announce %s (%s)", a.Prefix, a.Source)
		if i := slices.IndexFunc(w.Plan.Ending, func(e bgpplan.Ending) bool { return e.Prefix == a.Prefix }); i >= 0 {
			fmt.Fprintf(&s, " until %s, when others that have taken its place are known", w.Plan.Ending[i].Until.UTC().Format("15:04:05Z"))
		}
		s.WriteByte('\n')
	}
	for _, p := range w.Plan.Problems {
		fmt.Fprintf(&s, "# problem: %s %s: %s\n", p.Kind, p.Name, p.Message)
	}
	for _, f := range w.State.Faults {
		fmt.Fprintf(&s, "# problem: %s\n", f)
	}
	return s.String()
}
