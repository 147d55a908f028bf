package speaker

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// Snapshot is all that has been learned at one moment.
type Snapshot struct {
	// Version grows with every change.
	Version uint64
	// Known is false until the speaker has said for the first time what it knows: routes of an earlier agent's must stay.
	Known bool
	// Routes are sorted by prefix. They are shared: don't change them.
	Routes []plan.LearnedRoute
}

// learned are the routes, with those that are kept while a peer or the speaker itself restarts.
type learned struct {
	mu     sync.Mutex
	fresh  map[netip.Prefix][]Hop
	stale  map[netip.Prefix][]Hop
	shared map[string][]netip.Addr
	// touched are the prefixes that may differ from the last snapshot, pending those that may differ from what was last
	// taken, by snapshot or changes.
	touched, pending map[netip.Prefix]struct{}
	version          uint64
	known            bool
	last             Snapshot
}

func newLearned() *learned {
	return &learned{fresh: map[netip.Prefix][]Hop{}, stale: map[netip.Prefix][]Hop{}, shared: map[string][]netip.Addr{},
		touched: map[netip.Prefix]struct{}{}, pending: map[netip.Prefix]struct{}{}}
}

// adopt takes routes that the kernel has from an earlier agent as stale ones of no known peer.
func (l *learned) adopt(routes []plan.LearnedRoute) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range routes {
		if _, fresh := l.fresh[r.Prefix]; fresh {
			continue
		}
		var hops []Hop
		for _, nh := range r.NextHops {
			hops = append(hops, Hop{NextHop: nh})
		}
		l.stale[r.Prefix] = hops
		l.touch(r.Prefix)
	}
	l.version++
}

// restarted makes all routes stale: the speaker begins anew.
func (l *learned) restarted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, hops := range l.fresh {
		l.stale[p] = hops
	}
	clear(l.fresh)
}

// hold keeps a copy of the peers' routes, for they are about to go and come back.
func (l *learned) hold(peers []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, hops := range l.fresh {
		if slices.ContainsFunc(hops, func(h Hop) bool { return slices.Contains(peers, h.Peer) }) {
			l.stale[p] = hops
		}
	}
}

// setKnown says that the speaker has said what it knows.
func (l *learned) setKnown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = true
}

// change takes changes of best paths.
func (l *learned) change(changes []RouteChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range changes {
		l.touch(c.Prefix)
		if len(c.Hops) == 0 {
			delete(l.fresh, c.Prefix)
		} else {
			l.fresh[c.Prefix] = c.Hops
		}
	}
	l.version++
}

// release drops stale routes of which no hop's peer is still awaited.
func (l *learned) release(awaited func(peer netip.Addr) bool) (dropped bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, hops := range l.stale {
		if !slices.ContainsFunc(hops, func(h Hop) bool { return awaited(h.Peer) }) {
			delete(l.stale, p)
			l.touch(p)
			dropped = true
		}
	}
	if dropped {
		l.version++
	}
	return dropped
}

func (l *learned) touch(p netip.Prefix) {
	l.touched[p], l.pending[p] = struct{}{}, struct{}{}
}

// changes returns what may have changed since the last call of changes or snapshot. A route without next hops is gone.
func (l *learned) changes() []plan.LearnedRoute {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]plan.LearnedRoute, 0, len(l.pending))
	for p := range l.pending {
		r, _ := l.route(p)
		out = append(out, r)
	}
	l.pending = map[netip.Prefix]struct{}{}
	return out
}

// route returns what is known of a prefix.
func (l *learned) route(p netip.Prefix) (plan.LearnedRoute, bool) {
	hops, ok := l.fresh[p]
	if !ok {
		hops, ok = l.stale[p]
	}
	if !ok {
		return plan.LearnedRoute{Prefix: p}, false
	}
	return plan.LearnedRoute{Prefix: p, NextHops: l.nextHops(hops)}, true
}

// snapshot returns what there is: the last one, with what has changed merged in.
func (l *learned) snapshot() Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = map[netip.Prefix]struct{}{}
	if l.last.Version == l.version && l.last.Known == l.known {
		return l.last
	}
	touched := slices.SortedFunc(maps.Keys(l.touched), comparePrefix)
	l.touched = map[netip.Prefix]struct{}{}
	routes := make([]plan.LearnedRoute, 0, len(l.last.Routes)+len(touched))
	old := l.last.Routes
	for _, p := range touched {
		i, found := slices.BinarySearchFunc(old, p, func(r plan.LearnedRoute, p netip.Prefix) int { return comparePrefix(r.Prefix, p) })
		routes = append(routes, old[:i]...)
		if found {
			i++
		}
		old = old[i:]
		if r, ok := l.route(p); ok {
			routes = append(routes, r)
		}
	}
	routes = append(routes, old...)
	l.last = Snapshot{Version: l.version, Known: l.known, Routes: routes}
	return l.last
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// nextHops returns the sorted next hops. Equal sets are one slice: 100,000 prefixes of one peer have one.
func (l *learned) nextHops(hops []Hop) []netip.Addr {
	addrs := make([]netip.Addr, 0, 4)
	for _, h := range hops {
		addrs = append(addrs, h.NextHop)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	var key strings.Builder
	for _, a := range addrs {
		raw := a.As16()
		key.Write(raw[:])
	}
	if shared, ok := l.shared[key.String()]; ok {
		return shared
	}
	if len(l.shared) > 4096 {
		clear(l.shared)
	}
	l.shared[key.String()] = addrs
	return addrs
}
