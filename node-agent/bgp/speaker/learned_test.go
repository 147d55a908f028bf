package speaker

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

var peers = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")}

func change(prefix string, from ...netip.Addr) []RouteChange {
	c := RouteChange{Prefix: netip.MustParsePrefix(prefix)}
	for _, p := range from {
		c.Hops = append(c.Hops, Hop{NextHop: p, Peer: p})
	}
	return []RouteChange{c}
}

func (l *learned) has(prefix string) bool {
	return slices.ContainsFunc(l.snapshot().Routes, func(r plan.LearnedRoute) bool { return r.Prefix.String() == prefix })
}

func TestRoutesAreKeptUntilPeersHaveConverged(t *testing.T) {
	waitingFor := func(awaited ...netip.Addr) func(netip.Addr) bool {
		return func(p netip.Addr) bool { return slices.Contains(awaited, p) }
	}
	l := newLearned()
	l.adopt([]plan.LearnedRoute{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHops: peers[:1]}})
	l.change(change("10.1.0.0/16", peers[0], peers[1]))
	l.change(change("10.2.0.0/16", peers[1]))
	l.change(change("10.3.0.0/16", peers[2]))
	l.restarted()
	if got := len(l.snapshot().Routes); got != 4 {
		t.Fatalf("%d routes after a restart", got)
	}
	l.change(change("10.1.0.0/16", peers[0]))
	l.release(func(p netip.Addr) bool { return !p.IsValid() || p == peers[2] }) // peers 0 and 1 have converged
	if !l.has("192.0.2.0/24") || !l.has("10.1.0.0/16") || l.has("10.2.0.0/16") || !l.has("10.3.0.0/16") {
		t.Errorf("routes are %v", l.snapshot().Routes)
	}
	l.release(waitingFor())
	if l.has("192.0.2.0/24") || l.has("10.3.0.0/16") || !l.has("10.1.0.0/16") {
		t.Errorf("routes are %v", l.snapshot().Routes)
	}

	l.hold(peers[:1])
	l.change(change("10.1.0.0/16"))
	if !l.has("10.1.0.0/16") {
		t.Error("a held route is gone")
	}
	l.release(waitingFor())
	if l.has("10.1.0.0/16") {
		t.Error("a withdrawn route stays")
	}
}

// TestSnapshotsMerge compares merged snapshots with ones made from nothing.
func TestSnapshotsMerge(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	l := newLearned()
	for range 2000 {
		c := RouteChange{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(random.IntN(12)), 0, 0}), 16+random.IntN(3))}
		for range random.IntN(3) {
			p := peers[random.IntN(3)]
			c.Hops = append(c.Hops, Hop{NextHop: p, Peer: p})
		}
		l.change([]RouteChange{c})
		switch random.IntN(20) {
		case 0:
			l.hold(peers[:1])
		case 1:
			l.restarted()
		case 2:
			l.release(func(p netip.Addr) bool { return p == peers[0] })
		}
		if random.IntN(3) > 0 {
			continue
		}
		got := l.snapshot().Routes
		whole := newLearned()
		whole.fresh, whole.stale = l.fresh, l.stale
		for p := range l.fresh {
			whole.touched[p] = struct{}{}
		}
		for p := range l.stale {
			whole.touched[p] = struct{}{}
		}
		whole.version = 1
		want := whole.snapshot().Routes
		if !slices.EqualFunc(got, want, func(a, b plan.LearnedRoute) bool {
			return a.Prefix == b.Prefix && slices.Equal(a.NextHops, b.NextHops)
		}) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	}
}
