package addressbook

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

var db0 = Pod{Namespace: "default", Name: "db-0"}

func rememberedFor(p Pod, addresses ...string) map[netip.Addr]Pod {
	out := map[netip.Addr]Pod{}
	for _, a := range addresses {
		out[netip.MustParseAddr(a)] = p
	}
	return out
}

// of lets a certain pod ask.
func of(p Pod, r Request) Request {
	r.Endpoint.Namespace, r.Endpoint.Pod = p.Namespace, p.Name
	return r
}

// TestARememberedAddressIsItsPodsAlone: nobody else gets it, whether any address would do or just this one, also where the memory is older than
// the block; and its own pod does although its namespace may have no more.
func TestARememberedAddressIsItsPodsAlone(t *testing.T) {
	for name, blocksFirst := range map[string]bool{"the block is older": true, "the memory is older": false} {
		b := travelling(t)
		p := pool("p", "10.0.0.0/24", 7)
		p.Travels, p.Namespaces = true, &NamespaceLimits{Named: map[string]int{"default": 1}, Reached: []string{"default"}}
		b.SetPools([]Pool{p})
		if blocksFirst {
			b.SetBlocks([]Block{own("10.0.0.0/29", "p")})
		}
		b.SetRemembered(rememberedFor(db0, "10.0.0.3", "10.0.9.9"))
		b.SetBlocks([]Block{own("10.0.0.0/29", "p")})
		if free := share(t, b).Free; free != 6 {
			t.Errorf("%s: %d addresses are free", name, free)
		}
		other := Pod{Namespace: "other", Name: "web"}
		var refused *RememberedError
		if _, err := b.Reserve(ended(), of(other, fixedAsk("x", "10.0.0.3"))); !errors.As(err, &refused) || refused.Pod != db0 {
			t.Errorf("%s: another pod asks for it: %v", name, err)
		}
		for range 6 {
			e, err := b.Reserve(ended(), of(other, ask("w"+time.Now().String(), "p")))
			if err != nil || e.Addresses[0] == netip.MustParseAddr("10.0.0.3") {
				t.Fatalf("%s: another pod gets %v, %v", name, e.Addresses, err)
			}
		}
		if e, err := b.Reserve(ended(), of(db0, fixedAsk("db", "10.0.0.3"))); err != nil || len(e.Addresses) != 1 {
			t.Errorf("%s: its own pod: %v", name, err)
		}
		if state := b.Blocks()[0]; state.InUse != 7 || state.Capacity != 7 || len(state.Remembered) != 0 {
			t.Errorf("%s: with the pod: %+v", name, state)
		}
		b.SetState("db", Releasing)
		b.Free("db")
		if state := b.Blocks()[0]; state.InUse != 6 || state.Available != 0 || len(state.Remembered) != 1 {
			t.Errorf("%s: the pod is gone: %+v", name, state)
		}
		b.SetRemembered(nil)
		if _, err := b.Reserve(ended(), of(other, ask("y", "p"))); err != nil {
			t.Errorf("%s: it is forgotten: %v", name, err)
		}
	}
}

// TestABlockThatOnlyMemoriesAreInGoesBack: it is of no use to the node; its addresses travel to where their pods start.
func TestABlockThatOnlyMemoriesAreInGoesBack(t *testing.T) {
	b := New(Options{Now: time.Now, Linger: time.Hour, DemandChanged: func() {}})
	p := pool("p", "10.0.0.0/24", 7)
	p.Travels = true
	b.SetPools([]Pool{p})
	b.SetBlocks([]Block{own("10.0.0.4/32", "p"), own("10.0.0.5/32", "p")})
	b.SetRemembered(rememberedFor(db0, "10.0.0.5"))
	if s := share(t, b); len(s.Released) != 1 || s.Released[0].CIDR != netip.MustParsePrefix("10.0.0.5/32") || s.Free != 1 {
		t.Errorf("%+v", s)
	}
}
