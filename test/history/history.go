// Package history records which calls of the CNI plugin took and gave back which addresses, and when, and checks that there is an
// order in which each address had one holder at a time. Calls come in from many goroutines; a verdict goes out. It calls nothing.
package history

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// History is what happened. It is safe for concurrent use; the zero value is empty.
type History struct {
	mu      sync.Mutex
	started time.Time
	calls   []Call
}

// Call is one ADD that succeeded, or one DEL with its repetitions.
type Call struct {
	Pod       string
	Addresses []netip.Addr
	// Takes is true for an ADD.
	Takes bool
	// From is when the plugin was called first, To when it answered last.
	From, To time.Duration
}

// String returns a call as people read it.
func (c Call) String() string {
	what := "gave back"
	if c.Takes {
		what = "took"
	}
	return fmt.Sprintf("%v to %v: %s %s %v", c.From, c.To, c.Pod, what, c.Addresses)
}

// Add notes that an ADD begins. Call the result when it has succeeded. One that fails holds no address that anybody could use.
func (h *History) Add(pod string) (succeeded func([]netip.Addr)) {
	from := h.now()
	return func(addresses []netip.Addr) { h.note(Call{Pod: pod, Addresses: addresses, Takes: true, From: from}) }
}

// Del notes that a pod is dead and its DEL begins. Call the result when the DEL has succeeded, perhaps after several tries.
func (h *History) Del(pod string, addresses []netip.Addr) (succeeded func()) {
	from := h.now()
	return func() { h.note(Call{Pod: pod, Addresses: addresses, From: from}) }
}

func (h *History) now() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.started.IsZero() {
		h.started = time.Now()
	}
	return time.Since(h.started)
}

func (h *History) note(c Call) {
	c.To = h.now()
	c.Addresses = slices.Clone(c.Addresses)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, c)
}

// Len returns how many calls there were.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.calls)
}

// lock is an address as a lock: who has it must give it back before the next one takes it.
var lock = porcupine.Model{
	Init: func() any { return false },
	Step: func(state, input, _ any) (bool, any) {
		held, takes := state.(bool), input.(bool)
		return held != takes, takes
	},
}

// checkWithin bounds the search for an order, for each address.
const checkWithin = 30 * time.Second

// Check returns an error that shows the calls of an address for which there is no order in which it had one holder at a time.
func (h *History) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	byAddress := map[netip.Addr][]Call{}
	for _, c := range h.calls {
		for _, a := range c.Addresses {
			byAddress[a] = append(byAddress[a], c)
		}
	}
	for a, calls := range byAddress {
		operations := make([]porcupine.Operation, 0, len(calls))
		for i, c := range calls {
			operations = append(operations, porcupine.Operation{ClientId: i, Input: c.Takes, Call: int64(c.From), Return: int64(c.To)})
		}
		switch porcupine.CheckOperationsTimeout(lock, operations, checkWithin) {
		case porcupine.Illegal:
			return fmt.Errorf("address %s had two holders at a time:\n%s", a, text(calls))
		case porcupine.Unknown:
			return fmt.Errorf("no verdict on address %s within %v; it has %d calls", a, checkWithin, len(calls))
		}
	}
	return nil
}

func text(calls []Call) string {
	slices.SortFunc(calls, func(a, b Call) int { return int(a.From - b.From) })
	var out strings.Builder
	for _, c := range calls {
		_, _ = fmt.Fprintln(&out, c)
	}
	return out.String()
}
