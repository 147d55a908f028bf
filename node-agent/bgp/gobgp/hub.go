package gobgp

import (
	"net/netip"
	"reflect"
	"sync"

	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
)

// hub keeps what has been learned, and hands events to whoever listens, in order.
type hub struct {
	mu          sync.Mutex
	table       map[netip.Prefix][]speaker.Hop
	last        *speaker.Status
	subscribers map[*subscriber]struct{}
}

func newHub() *hub {
	return &hub{table: map[netip.Prefix][]speaker.Hop{}, subscribers: map[*subscriber]struct{}{}}
}

// subscriber is a queue of events without end, so that a slow reader can't stop GoBGP. Changes of routes that wait are
// merged.
type subscriber struct {
	mu     sync.Mutex
	events []speaker.Event
	ready  chan struct{}
}

func (s *subscriber) put(e speaker.Event) {
	s.mu.Lock()
	if n := len(s.events); n > 0 && e.Routes != nil && s.events[n-1].Routes != nil && len(s.events[n-1].Routes) < 8192 {
		s.events[n-1].Routes = append(s.events[n-1].Routes, e.Routes...)
	} else {
		s.events = append(s.events, e)
	}
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *subscriber) take() []speaker.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	s.events = nil
	return events
}

// subscribe returns a queue that begins with all that is known.
func (h *hub) subscribe(hello speaker.Hello) *subscriber {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &subscriber{ready: make(chan struct{}, 1)}
	all := make([]speaker.RouteChange, 0, len(h.table))
	for p, hops := range h.table {
		all = append(all, speaker.RouteChange{Prefix: p, Hops: hops})
	}
	s.put(speaker.Event{Hello: &hello})
	for len(all) > 8192 {
		s.put(speaker.Event{Routes: all[:8192:8192]})
		all = all[8192:]
	}
	s.put(speaker.Event{Routes: all})
	if h.last != nil {
		s.put(speaker.Event{Status: h.last})
	}
	h.subscribers[s] = struct{}{}
	return s
}

func (h *hub) unsubscribe(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subscribers, s)
}

// routes takes changes of best paths.
func (h *hub) routes(changes []speaker.RouteChange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := make([]speaker.RouteChange, 0, len(changes))
	for _, c := range changes {
		_, known := h.table[c.Prefix]
		switch {
		case len(c.Hops) > 0:
			h.table[c.Prefix] = c.Hops
		case known:
			delete(h.table, c.Prefix)
		default:
			continue // It was our own.
		}
		kept = append(kept, c)
	}
	if len(kept) > 0 {
		h.send(speaker.Event{Routes: kept})
	}
}

// clear forgets all routes: GoBGP was stopped.
func (h *hub) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	var gone []speaker.RouteChange
	for p := range h.table {
		gone = append(gone, speaker.RouteChange{Prefix: p})
	}
	clear(h.table)
	if len(gone) > 0 {
		h.send(speaker.Event{Routes: gone})
	}
}

func (h *hub) hold(peers []netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.send(speaker.Event{Hold: peers})
}

// status sends a status that differs from the last one.
func (h *hub) status(s speaker.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last != nil && reflect.DeepEqual(*h.last, s) {
		return
	}
	h.last = &s
	h.send(speaker.Event{Status: &s})
}

// send queues an event. h.mu is held.
func (h *hub) send(e speaker.Event) {
	for s := range h.subscribers {
		s.put(e)
	}
}
