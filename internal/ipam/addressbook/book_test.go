package addressbook

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newTestBook(c *clock, reserve int) *Book {
	return New(Options{Now: c.Now, Reserve: reserve, Linger: time.Minute, DemandChanged: func() {}})
}

func pool(name, cidr string, capacity int) Pool {
	return Pool{Name: name, CIDR: netip.MustParsePrefix(cidr), Usable: true, Reserve: true, BlockCapacity: capacity}
}

func own(cidr, pool string) Block { return Block{CIDR: netip.MustParsePrefix(cidr), Pool: pool} }

func ask(key string, pools ...string) Request {
	return Request{Endpoint: Endpoint{Interface: key}, Candidates: [][]string{pools}}
}

// ended is a context for calls that must not wait.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestReserveGivesEachAddressOnceAndNeverTheFirst(t *testing.T) {
	for _, tc := range []struct {
		cidr string
		want int
	}{
		{"10.0.0.0/26", 63}, {"10.0.0.0/31", 1}, {"10.0.0.7/32", 1}, {"10.0.0.0/20", 4095},
		{"fd00::/122", 63}, {"fd00::ff00/120", 255}, {"fd00::5/128", 1}, {"fd00::/116", 4095},
	} {
		t.Run(tc.cidr, func(t *testing.T) {
			b := newTestBook(&clock{}, 0)
			b.SetPools([]Pool{pool("p", tc.cidr, tc.want)})
			b.SetBlocks([]Block{own(tc.cidr, "p")})
			prefix := netip.MustParsePrefix(tc.cidr)
			seen := map[netip.Addr]bool{}
			for i := range tc.want {
				e, err := b.Reserve(ended(), ask(fmt.Sprint(i), "p"))
				if err != nil {
					t.Fatalf("reservation %d of %d: %v", i, tc.want, err)
				}
				a := e.Addresses[0]
				if seen[a] || !prefix.Contains(a) || (tc.want > 1 && a == prefix.Addr()) {
					t.Fatalf("reservation %d got %s: given before, outside, or the tunnels' address", i, a)
				}
				seen[a] = true
			}
			var wait *WaitError
			if _, err := b.Reserve(ended(), ask("more", "p")); !errors.As(err, &wait) || wait.Pool != "p" {
				t.Fatalf("a full block gave %v, want a WaitError for p", err)
			}
		})
	}
}

func TestReserveIsTheSameForTheSameEndpoint(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	b.SetPools([]Pool{pool("p", "10.0.0.0/26", 63)})
	b.SetBlocks([]Block{own("10.0.0.0/26", "p")})
	first, err1 := b.Reserve(ended(), ask("a", "p"))
	second, err2 := b.Reserve(ended(), ask("a", "p"))
	if err1 != nil || err2 != nil || first.Addresses[0] != second.Addresses[0] {
		t.Fatalf("got %v, %v and %v, %v", first, err1, second, err2)
	}
}

func TestDualStackTakesBothOrNeither(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	b.SetPools([]Pool{pool("four", "10.0.0.0/30", 3), pool("six", "fd00::/127", 1)})
	b.SetBlocks([]Block{own("10.0.0.0/30", "four"), own("fd00::/127", "six")})
	r := func(key string) Request {
		return Request{Endpoint: Endpoint{Interface: key}, Candidates: [][]string{{"four"}, {"six"}}}
	}
	if e, err := b.Reserve(ended(), r("a")); err != nil || len(e.Addresses) != 2 {
		t.Fatalf("got %v, %v", e, err)
	}
	if _, err := b.Reserve(ended(), r("b")); err == nil {
		t.Fatal("the second pod got an IPv6 address that is not there")
	}
	shares, _ := b.Shares()
	if shares[0].Free != 2 {
		t.Fatalf("the failed reservation kept an IPv4 address: %+v", shares)
	}
}

func TestExhaustedPoolFailsAtOnceAndTheNextPoolServes(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	full := pool("full", "10.0.0.0/24", 63)
	full.Exhausted = true
	b.SetPools([]Pool{full, pool("next", "10.1.0.0/24", 63)})
	b.SetBlocks([]Block{own("10.1.0.0/26", "next")})
	if e, err := b.Reserve(ended(), ask("a", "full", "next")); err != nil || e.Pools[0] != "next" {
		t.Fatalf("got %v, %v", e, err)
	}
	var fullError *FullError
	if _, err := b.Reserve(context.Background(), ask("b", "full")); !errors.As(err, &fullError) {
		t.Fatalf("got %v, want a FullError", err)
	}
}

func TestReserveWaitsForAnAddressThatIsAboutToBeFree(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	full := pool("p", "10.0.0.0/30", 3)
	full.Exhausted = true
	b.SetPools([]Pool{full})
	b.SetBlocks([]Block{own("10.0.0.0/30", "p")})
	for _, key := range []string{"a", "b", "c"} {
		if _, err := b.Reserve(ended(), ask(key, "p")); err != nil {
			t.Fatal(err)
		}
	}
	b.SetState("b", Releasing)
	done := make(chan error, 1)
	go func() {
		_, err := b.Reserve(t.Context(), ask("d", "p"))
		done <- err
	}()
	for !b.Waiting() {
		runtime.Gosched()
	}
	b.Free("b")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestReserveWaitsForABlock(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	b.SetPools([]Pool{pool("p", "10.0.0.0/16", 63)})
	done := make(chan error, 1)
	go func() {
		_, err := b.Reserve(t.Context(), ask("a", "p"))
		done <- err
	}()
	for {
		if shares, _ := b.Shares(); shares[0].Waiting == 1 {
			break
		}
	}
	b.SetBlocks([]Block{own("10.0.0.0/26", "p")})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if shares, _ := b.Shares(); shares[0].Waiting != 0 {
		t.Fatalf("somebody still waits: %+v", shares)
	}
}

func TestSharesGiveBackSurplusBlocksForGood(t *testing.T) {
	c := &clock{now: time.Unix(1000, 0)}
	b := newTestBook(c, 16)
	b.SetPools([]Pool{pool("p", "10.0.0.0/16", 63)})
	blocks := []Block{own("10.0.0.0/26", "p"), own("10.0.0.64/26", "p"), own("10.0.0.128/26", "p")}
	b.SetBlocks(blocks)
	if shares, again := b.Shares(); len(shares[0].Released) != 0 || again != time.Minute {
		t.Fatalf("blocks went back before their time: %+v, again in %s", shares, again)
	}
	c.now = c.now.Add(time.Minute)
	shares, _ := b.Shares()
	want := []netip.Prefix{blocks[1].CIDR, blocks[2].CIDR}
	if !slices.Equal(shares[0].Released, want) || shares[0].Free != 63 {
		t.Fatalf("got %+v, want %v released and 63 free", shares, want)
	}
	for i := range 63 {
		if e, err := b.Reserve(ended(), ask(fmt.Sprint(i), "p")); err != nil || !blocks[0].CIDR.Contains(e.Addresses[0]) {
			t.Fatalf("reservation %d: %v, %v", i, e, err)
		}
	}
	if _, err := b.Reserve(ended(), ask("more", "p")); err == nil {
		t.Fatal("a released block served a pod")
	}
}

// Nobody may come by for minutes after the last pod has gone.
func TestEmptyBlockChangesTheDemand(t *testing.T) {
	calls := 0
	b := New(Options{Now: (&clock{}).Now, Linger: time.Minute, DemandChanged: func() { calls++ }})
	b.SetPools([]Pool{pool("p", "10.0.0.0/16", 64)})
	b.SetBlocks([]Block{own("10.0.0.0/26", "p")})
	for _, key := range []string{"a", "b"} {
		if _, err := b.Reserve(ended(), ask(key, "p")); err != nil {
			t.Fatal(err)
		}
	}
	calls = 0
	b.Free("a")
	if calls != 0 {
		t.Errorf("one of two pods gone: DemandChanged was called %d times", calls)
	}
	b.Free("b")
	if calls != 1 {
		t.Errorf("both pods gone: DemandChanged was called %d times", calls)
	}
}

func TestReleasedBlocksOfAnEarlierRunServeNobody(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	b.SetPools([]Pool{pool("p", "10.0.0.0/16", 63)})
	b.SetReleased([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/26")})
	b.SetBlocks([]Block{own("10.0.0.0/26", "p")})
	if _, err := b.Reserve(ended(), ask("a", "p")); err == nil {
		t.Fatal("a released block served a pod after a restart")
	}
	if shares, _ := b.Shares(); len(shares[0].Released) != 1 {
		t.Fatalf("the release is forgotten: %+v", shares)
	}
}

func TestTerminatingBlockIsReleasedWhenEmpty(t *testing.T) {
	b := newTestBook(&clock{}, 16)
	b.SetPools([]Pool{pool("p", "10.0.0.0/16", 63)})
	b.SetBlocks([]Block{own("10.0.0.0/26", "p")})
	if _, err := b.Reserve(ended(), ask("a", "p")); err != nil {
		t.Fatal(err)
	}
	going := own("10.0.0.0/26", "p")
	going.Terminating = true
	b.SetBlocks([]Block{going})
	if shares, _ := b.Shares(); len(shares[0].Released) != 0 || shares[0].Free != 0 {
		t.Fatalf("a block in use was released, or counts as free: %+v", shares)
	}
	b.Free("a")
	if shares, _ := b.Shares(); len(shares[0].Released) != 1 {
		t.Fatalf("the empty block stays: %+v", shares)
	}
}

func TestAdoptedAddressesAreHeldWhateverComesFirst(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.1")
	for _, blockFirst := range []bool{true, false} {
		b := newTestBook(&clock{}, 0)
		b.SetPools([]Pool{pool("p", "10.0.0.0/16", 63)})
		adopt := func() {
			b.Adopt(Endpoint{Interface: "old", Addresses: []netip.Addr{a}, Pools: []string{"p"}, State: Ready})
		}
		if !blockFirst {
			adopt()
		}
		b.SetBlocks([]Block{own("10.0.0.0/30", "p")})
		if blockFirst {
			adopt()
		}
		for i := range 2 {
			if e, err := b.Reserve(ended(), ask(fmt.Sprint(i), "p")); err != nil || e.Addresses[0] == a {
				t.Fatalf("block first %t: reservation %d: %v, %v", blockFirst, i, e, err)
			}
		}
	}
}

// TestRandomLifeNeverSharesAnAddress plays reservations, releases, lost blocks and restarts.
func TestRandomLifeNeverSharesAnAddress(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		b := newTestBook(&clock{}, 4)
		b.SetPools([]Pool{pool("p", "10.0.0.0/24", 7)})
		all := []Block{own("10.0.0.0/29", "p"), own("10.0.0.8/29", "p"), own("10.0.0.16/29", "p")}
		b.SetBlocks(all)
		held := map[string]netip.Addr{}
		for step := range 300 {
			switch random.IntN(6) {
			case 0, 1, 2:
				key := fmt.Sprint(step)
				e, err := b.Reserve(ended(), ask(key, "p"))
				if err != nil {
					continue
				}
				for other, a := range held {
					if a == e.Addresses[0] {
						t.Fatalf("seed %d: %s and %s both have %s", seed, key, other, a)
					}
				}
				held[key] = e.Addresses[0]
			case 3, 4:
				for key := range held {
					b.Free(key)
					delete(held, key)
					break
				}
			case 5:
				b.SetBlocks(all[:random.IntN(len(all)+1)])
			}
		}
	}
}
