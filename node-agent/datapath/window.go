package datapath

import (
	"fmt"
	"strings"
	"time"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// Window is what people see of the loop: the last whole plan, and what the kernel refused of it.
type Window struct {
	// Planned is when the plan was applied.
	Planned time.Time `json:"planned"`
	// Plan is what the kernel should show. Learned routes that have changed since are not in it.
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

// Window returns the last plan. It reports false before the first one.
func (l *Loop) Window() (Window, bool) {
	w := l.window.Load()
	if w == nil {
		return Window{}, false
	}
	return *w, true
}

func (l *Loop) show(p plan.Plan, done kernel.Report) {
	w := Window{Planned: time.Now(), Plan: p}
	for _, f := range done.Failures {
		w.Failures = append(w.Failures, FailureWindow{Object: f.Object, Reason: f.Err.Error()})
	}
	l.window.Store(&w)
}
