package addresses

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

// BookWindow is what people see of the address book: every address of the node's blocks, and its state.
type BookWindow struct {
	Blocks []BlockWindow `json:"blocks"`
	// Outside are addresses of pods that lie in none of the blocks.
	Outside []AddressWindow `json:"outside,omitempty"`
	// Waiting is how many pods wait for an address, by pool.
	Waiting map[string]int `json:"waiting,omitempty"`
}

// BlockWindow is one block.
type BlockWindow struct {
	CIDR  netip.Prefix `json:"cidr"`
	Pool  string       `json:"pool"`
	State string       `json:"state"`
	// Free and Capacity count addresses that pods can have.
	Free     int `json:"free"`
	Capacity int `json:"capacity"`
	// Addresses are sorted. Free ones that follow each other are one entry.
	Addresses []AddressWindow `json:"addresses"`
}

// The states of an address.
const (
	stateFree     = "free"
	stateKept     = "kept for the node's tunnels"
	stateHeld     = "held"
	stateStarts   = "starting"
	stateReserved = "reserved for nobody"
	stateLeaving  = "in transition"
)

// AddressWindow is one address, or a range of free ones.
type AddressWindow struct {
	Address netip.Addr `json:"address"`
	// To is the last address of a range.
	To    *netip.Addr `json:"to,omitempty"`
	State string      `json:"state"`
	// Pod, Interface, HostInterface and Since say who has the address, and how long.
	Pod           string     `json:"pod,omitempty"`
	Interface     string     `json:"interface,omitempty"`
	HostInterface string     `json:"hostInterface,omitempty"`
	Since         *time.Time `json:"since,omitempty"`
	// Why says what the address waits for, or what is still to be done about its record.
	Why string `json:"why,omitempty"`
}

// Window shows a book. pending says what is still to be done about an endpoint's record, "" for nothing.
func Window(d addressbook.Description, pending func(hostInterface string) string) BookWindow {
	var held []AddressWindow
	for _, e := range d.Endpoints {
		for _, a := range e.Addresses {
			held = append(held, addressOf(e, a, pending(e.Interface)))
		}
	}
	w := BookWindow{Blocks: []BlockWindow{}, Waiting: d.Waiting}
	inside := make([]bool, len(held))
	for _, b := range d.Blocks {
		out := BlockWindow{CIDR: b.CIDR, Pool: b.Pool, State: stateOf(b), Free: b.Available, Capacity: b.Capacity}
		if b.Kept.IsValid() {
			out.Addresses = append(out.Addresses, AddressWindow{Address: b.Kept, State: stateKept})
		}
		out.Addresses = append(out.Addresses, ranges(b.Free, stateFree)...)
		out.Addresses = append(out.Addresses, ranges(b.Reserved, stateReserved)...)
		for i, a := range held {
			if b.CIDR.Contains(a.Address) {
				out.Addresses = append(out.Addresses, a)
				inside[i] = true
			}
		}
		slices.SortStableFunc(out.Addresses, func(x, y AddressWindow) int { return x.Address.Compare(y.Address) })
		w.Blocks = append(w.Blocks, out)
	}
	for i, a := range held {
		if !inside[i] {
			w.Outside = append(w.Outside, a)
		}
	}
	return w
}

func ranges(list []addressbook.Range, state string) []AddressWindow {
	var out []AddressWindow
	for _, r := range list {
		w := AddressWindow{Address: r.First, State: state}
		if r.Last != r.First {
			w.To = &r.Last
		}
		out = append(out, w)
	}
	return out
}

func stateOf(b addressbook.BlockState) string {
	switch {
	case b.Released:
		return "given back; waits until the controller has taken it"
	case !b.Present:
		return "gone from the API; held until its last address is free"
	case !b.Usable:
		return "terminating; serves no new pods"
	}
	return "serves new pods"
}

func addressOf(e addressbook.Endpoint, a netip.Addr, pending string) AddressWindow {
	since := e.Since.UTC().Truncate(time.Second)
	w := AddressWindow{
		Address: a, State: stateHeld, Pod: e.Namespace + "/" + e.Pod, Interface: e.ContainerInterface, HostInterface: e.Interface, Since: &since, Why: pending,
	}
	switch e.State {
	case addressbook.Ready:
	case addressbook.Reserved:
		w.State = stateStarts
		if w.Why == "" {
			w.Why = "its ADD is under way"
		}
	case addressbook.Releasing:
		w.State = stateLeaving
		if w.Why == "" {
			w.Why = "its link is about to be deleted"
		}
	}
	return w
}

// String shows the window as text, one line for each address or range.
func (w BookWindow) String() string {
	var s strings.Builder
	for _, b := range w.Blocks {
		fmt.Fprintf(&s, "block %s of pool %s: %d of %d free, %s\n", b.CIDR, b.Pool, b.Free, b.Capacity, b.State)
		for _, a := range b.Addresses {
			fmt.Fprintf(&s, "  %s\n", a)
		}
	}
	if len(w.Outside) > 0 {
		s.WriteString("in no block of this node:\n")
		for _, a := range w.Outside {
			fmt.Fprintf(&s, "  %s\n", a)
		}
	}
	for _, pool := range sortedKeys(w.Waiting) {
		fmt.Fprintf(&s, "%d pods wait for an address of pool %s\n", w.Waiting[pool], pool)
	}
	if s.Len() == 0 {
		return "This node has no block yet.\n"
	}
	return s.String()
}

// String shows one line.
func (a AddressWindow) String() string {
	addresses := a.Address.String()
	if a.To != nil {
		addresses += " - " + a.To.String()
	}
	s := fmt.Sprintf("%-32s %s", addresses, a.State)
	if a.Pod != "" {
		s += fmt.Sprintf(" by %s %s (%s) since %s", a.Pod, a.Interface, a.HostInterface, a.Since.Format(time.RFC3339))
	}
	if a.Why != "" {
		s += ": " + a.Why
	}
	return s
}

func sortedKeys(m map[string]int) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
