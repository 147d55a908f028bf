package datapath

import (
	"fmt"
	"strings"
	"time"

	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// Window is what people see of the loop: what is wanted now, what the planner refuses, and what the kernel refuses.
type Window struct {
	// Planned is when the kernel was changed last.
	Planned time.Time `json:"planned"`
	// Plan is what the kernel should show, with the problems of pools and the learned routes that are not used.
	Plan plan.Plan `json:"plan"`
	// Failures are the objects that the kernel refused.
	Failures []FailureWindow `json:"failures,omitempty"`
}

// FailureWindow is an object that the kernel refused.
type FailureWindow struct {
	Object string `json:"object"`
	Reason string `json:"reason"`
}

// String shows the window as `ip`, `bridge`, `sysctl` and `nft` would show the kernel.
func (w Window) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# what the kernel should show, planned at %s\n%s", w.Planned.UTC().Format(time.RFC3339), w.Plan)
	for _, f := range w.Failures {
		fmt.Fprintf(&s, "# the kernel refuses: %s: %s\n", f.Object, f.Reason)
	}
	return s.String()
}

// Window returns the plan as it is now. It reports false before the first one.
func (l *Loop) Window() (Window, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.planner == nil {
		return Window{}, false
	}
	w := Window{Planned: l.planned, Plan: l.planner.Plan()}
	for _, f := range l.refused {
		w.Failures = append(w.Failures, FailureWindow{Object: f.Object, Reason: f.Err.Error()})
	}
	return w, true
}
