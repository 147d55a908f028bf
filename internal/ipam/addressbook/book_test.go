package addressbook

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/ipam/reservation"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newTestBook(c *clock, reserve int) *Book {
	return New(Options{Now: c.Now, Reserve: reserve, Linger: time.Minute, DemandChanged: func() {}})
}

func pool(name, cidr string, capacity int) Pool {
	return Pool{Name: name, CIDR: netip.MustParsePrefix(cidr), Usable: true, Reserve: true, BlockCapacity: capacity}
}

func own(cidr, pool string) Block {
	return Block{CIDR: netip.MustParsePrefix(cidr), Pool: pool, UID: "1"}
}

func ask(key string, pools ...string) Request {
	return Request{Endpoint: Endpoint{Interface: key}, Candidates: [][]string{pools}}
}

// ended is a context for calls that must not wait.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func free(b *Book, key string) {
	b.SetState(key, Releasing)
	b.Free(key)
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
	want := []Released{{blocks[1].CIDR, "1"}, {blocks[2].CIDR, "1"}}
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
	free(b, "a")
	if calls != 0 {
		t.Errorf("one of two pods gone: DemandChanged was called %d times", calls)
	}
	free(b, "b")
	if calls != 1 {
		t.Errorf("both pods gone: DemandChanged was called %d times", calls)
	}
}

func TestReleasedBlocksOfAnEarlierRunServeNobody(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	b.SetPools([]Pool{pool("p", "10.0.0.0/16", 63)})
	b.SetReleased([]Released{{netip.MustParsePrefix("10.0.0.0/26"), "1"}})
	b.SetBlocks([]Block{own("10.0.0.0/26", "p")})
	if _, err := b.Reserve(ended(), ask("a", "p")); err == nil {
		t.Fatal("a released block served a pod after a restart")
	}
	if shares, _ := b.Shares(); len(shares[0].Released) != 1 {
		t.Fatalf("the release is forgotten: %+v", shares)
	}
}

// A release names one IPBlock. A block that is made later with its CIDR serves pods, whether the book has seen the first one go or not.
func TestANewBlockIsNotTheReleasedOneOfItsCIDR(t *testing.T) {
	first, second := own("10.0.0.0/26", "p"), own("10.0.0.0/26", "p")
	second.UID = "2"
	for name, seenGone := range map[string]bool{"seen gone": true, "not seen gone": false} {
		t.Run(name, func(t *testing.T) {
			b := newTestBook(&clock{}, 0)
			b.SetPools([]Pool{pool("p", "10.0.0.0/16", 63)})
			b.SetReleased([]Released{{first.CIDR, "1"}})
			b.SetBlocks([]Block{first})
			if _, err := b.Reserve(ended(), ask("a", "p")); err == nil {
				t.Fatal("a released block served a pod")
			}
			if seenGone {
				b.SetBlocks(nil)
			}
			b.SetBlocks([]Block{second})
			if _, err := b.Reserve(ended(), ask("a", "p")); err != nil {
				t.Fatalf("the new block serves nobody: %v", err)
			}
			if shares, _ := b.Shares(); len(shares[0].Released) != 0 || len(shares[0].Held) != 1 {
				t.Fatalf("the new block counts as released: %+v", shares)
			}
		})
	}
}

// What an earlier run held may be shown by the API a moment later.
func TestABlockWithoutUIDIsNotReleased(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	b.SetPools([]Pool{pool("p", "10.0.0.0/16", 63)})
	held := own("10.0.0.0/26", "p")
	held.UID = ""
	b.SetHeld([]Block{held})
	if shares, _ := b.Shares(); len(shares[0].Released) != 0 || len(shares[0].Held) != 1 {
		t.Fatalf("a block whose UID is not known: %+v", shares)
	}
	b.SetBlocks([]Block{own("10.0.0.0/26", "p")})
	if _, err := b.Reserve(ended(), ask("a", "p")); err != nil {
		t.Fatal(err)
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
	free(b, "a")
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

// The controller must not give a block to another node while pods have addresses in it that no record shows yet.
func TestABlockThatVanishesIsHeldUntilItsLastAddressIsFree(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	b.SetPools([]Pool{pool("p", "10.0.0.0/16", 63)})
	b.SetBlocks([]Block{own("10.0.0.0/26", "p"), own("10.0.0.64/26", "p")})
	if _, err := b.Reserve(ended(), ask("a", "p")); err != nil {
		t.Fatal(err)
	}
	b.SetBlocks(nil)
	held := func() []netip.Prefix { shares, _ := b.Shares(); return shares[0].Held }
	if got := held(); len(got) != 1 || got[0] != netip.MustParsePrefix("10.0.0.0/26") {
		t.Fatalf("held: %v, want only the block in use", got)
	}
	if _, err := b.Reserve(ended(), ask("b", "p")); err == nil {
		t.Fatal("a block that is gone served a pod")
	}
	free(b, "a")
	if got := held(); len(got) != 0 {
		t.Fatalf("held after the last address came back: %v", got)
	}
}

func TestABlockOfAnEarlierRunIsHeldWhilePodsAreInIt(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	b.SetPools([]Pool{pool("p", "10.0.0.0/16", 63)})
	b.SetHeld([]Block{own("10.0.0.0/26", "p"), own("10.0.0.64/26", "p")})
	a := netip.MustParseAddr("10.0.0.5")
	if !b.Owns(a) || b.Owns(netip.MustParseAddr("10.0.9.1")) {
		t.Error("an earlier run's block is not the node's, or a foreign one is")
	}
	b.Adopt(Endpoint{Interface: "old", Addresses: []netip.Addr{a}, Pools: []string{"p"}, State: Ready})
	b.SetBlocks(nil)
	if shares, _ := b.Shares(); len(shares[0].Held) != 1 || !shares[0].Held[0].Contains(a) {
		t.Fatalf("held: %v", shares[0].Held)
	}
}

func TestReviveKeepsTheAddress(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	b.SetPools([]Pool{pool("p", "10.0.0.0/26", 63)})
	b.SetBlocks([]Block{own("10.0.0.0/26", "p")})
	first, err := b.Reserve(ended(), ask("a", "p"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := b.Revive(Endpoint{Interface: "a"}); ok {
		t.Error("an endpoint whose ADD is under way was revived")
	}
	b.SetState("a", Releasing)
	again, ok := b.Revive(Endpoint{Interface: "a", NetworkNamespace: "/run/netns/new"})
	if !ok || again.State != Reserved || again.Addresses[0] != first.Addresses[0] || again.NetworkNamespace != "/run/netns/new" {
		t.Fatalf("got %+v, %t", again, ok)
	}
	b.Free("a") // the end of the DEL before
	if _, known := b.Get("a"); !known {
		t.Error("the end of the DEL before took the address away")
	}
}

func TestAskedAddressesAreGivenOrRefused(t *testing.T) {
	for _, tc := range []struct {
		exact []string
		want  string
		err   bool
	}{
		{[]string{"10.1.0.9"}, "10.1.0.9", false}, // of the second candidate
		{[]string{"10.9.0.9"}, "", true},          // of no pool
		{[]string{"10.2.0.9"}, "", true},          // of a pool that may not serve the pod
		{[]string{"10.0.0.9", "10.1.0.9"}, "", true},
		{[]string{"10.0.0.0"}, "", true}, // the tunnels'
		{[]string{"fd00::9"}, "", true},  // of a family that the pod has no pool for
	} {
		b := newTestBook(&clock{}, 0)
		b.SetPools([]Pool{pool("one", "10.0.0.0/26", 63), pool("two", "10.1.0.0/26", 63), pool("other", "10.2.0.0/26", 63)})
		b.SetBlocks([]Block{own("10.0.0.0/26", "one"), own("10.1.0.0/26", "two"), own("10.2.0.0/26", "other")})
		r := ask("a", "one", "two")
		for _, text := range tc.exact {
			r.Exact = append(r.Exact, netip.MustParseAddr(text))
		}
		e, err := b.Reserve(ended(), r)
		if (err != nil) != tc.err || err == nil && e.Addresses[0].String() != tc.want {
			t.Errorf("%v: got %v, %v", tc.exact, e.Addresses, err)
		}
		if err != nil {
			if shares, _ := b.Shares(); shares[0].Free+shares[1].Free+shares[2].Free != 3*63 {
				t.Errorf("%v: a refused request kept an address", tc.exact)
			}
		}
	}
}

func TestReservedAddressesAreGivenToNobody(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	p := pool("p", "10.0.0.0/29", 7)
	reserve := func(entries ...string) {
		set, problems := reservation.Parse(entries, p.CIDR)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		p.Reserved = set
		b.SetPools([]Pool{p})
	}
	reserve("10.0.0.2-10.0.0.3", "10.0.0.6")
	b.SetBlocks([]Block{own("10.0.0.0/29", "p")})
	if s := b.Blocks()[0]; s.Capacity != 4 || s.Available != 4 || len(s.Reserved) != 2 || s.Reserved[0] != (Range{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")}) {
		t.Errorf("a block with three reserved addresses: %+v", s)
	}
	var got []string
	for i := range 4 {
		e, err := b.Reserve(ended(), ask(fmt.Sprint(i), "p"))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Addresses[0].String())
	}
	if want := []string{"10.0.0.1", "10.0.0.4", "10.0.0.5", "10.0.0.7"}; !slices.Equal(got, want) {
		t.Errorf("gave %v, want %v", got, want)
	}
	if _, err := b.Reserve(ended(), ask("more", "p")); err == nil {
		t.Error("gave a reserved address when no other was left")
	}
	exact := ask("asks", "p")
	exact.Exact = []netip.Addr{netip.MustParseAddr("10.0.0.6")}
	if _, err := b.Reserve(ended(), exact); err == nil || !strings.Contains(err.Error(), "reserved") {
		t.Errorf("an asked address that is reserved: %v", err)
	}

	// A pod keeps an address that is reserved later, and nobody gets it anew.
	reserve("10.0.0.4")
	if e, ok := b.Get("1"); !ok || e.Addresses[0].String() != "10.0.0.4" {
		t.Errorf("the running pod has %v", e.Addresses)
	}
	free(b, "1")
	if b.Blocks()[0].Available != 3 {
		t.Errorf("after its end: %+v", b.Blocks()[0])
	}
	for i := range 3 {
		e, err := b.Reserve(ended(), ask(fmt.Sprint("late", i), "p"))
		if err != nil || e.Addresses[0].String() == "10.0.0.4" {
			t.Errorf("gave %v, %v", e.Addresses, err)
		}
	}
	reserve()
	if e, err := b.Reserve(ended(), ask("last", "p")); err != nil || e.Addresses[0].String() != "10.0.0.4" {
		t.Errorf("nothing is reserved any more, but: %v, %v", e.Addresses, err)
	}
}

func TestAnAdoptedEndpointKeepsItsAge(t *testing.T) {
	b := newTestBook(&clock{now: time.Unix(5000, 0)}, 0)
	b.Adopt(Endpoint{Interface: "old", State: Ready, Since: time.Unix(1000, 0)})
	if e, _ := b.Get("old"); !e.Since.Equal(time.Unix(1000, 0)) {
		t.Errorf("since %v", e.Since)
	}
}

// play runs a random or given life of a book, one byte for each step, and checks after each step that every address is
// free or held by one endpoint, and that the blocks' counts say the same.
func play(t *testing.T, steps []byte) {
	t.Helper()
	b := newTestBook(&clock{}, 4)
	b.SetPools([]Pool{pool("p", "10.0.0.0/24", 7)})
	all := []Block{own("10.0.0.0/29", "p"), own("10.0.0.8/29", "p"), own("10.0.0.16/29", "p")}
	b.SetBlocks(all)
	key := func(n byte) string { return fmt.Sprint("e", n%24) }
	for i, step := range steps {
		n := step >> 3
		switch step & 7 {
		case 0, 1:
			_, _ = b.Reserve(ended(), ask(key(n), "p"))
		case 2:
			r := ask(key(n), "p")
			r.Exact = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, n})}
			_, _ = b.Reserve(ended(), r)
		case 3:
			b.SetState(key(n), State(i%3))
		case 4:
			b.Free(key(n))
		case 5:
			b.Revive(Endpoint{Interface: key(n)})
		case 6:
			b.SetBlocks(all[:int(n)%(len(all)+1)])
		case 7:
			b.Shares()
		}
		if err := b.consistent(); err != nil {
			t.Fatalf("after step %d (%d): %v", i, step, err)
		}
	}
}

// consistent compares endpoints, holders and blocks with each other.
func (b *Book) consistent() error {
	held := map[netip.Addr]string{}
	for key, e := range b.endpoints {
		for _, a := range e.Addresses {
			if other, taken := held[a]; taken {
				return fmt.Errorf("%s and %s both have %s", key, other, a)
			}
			held[a] = key
			if _, ok := b.holders[a][key]; !ok || len(b.holders[a]) != 1 {
				return fmt.Errorf("%s has %s, but its holders are %v", key, a, b.holders[a])
			}
			if len(b.blocksWith(a)) == 0 {
				return fmt.Errorf("%s has %s, which is in no block", key, a)
			}
		}
	}
	if len(held) != len(b.holders) {
		return fmt.Errorf("%d addresses are held, but %d have holders", len(held), len(b.holders))
	}
	for _, known := range b.blocks {
		inUse := 0
		for index := range known.size {
			if index == 0 && known.kept {
				continue
			}
			_, taken := held[addrAt(known.cidr.Addr(), index)]
			if marked := known.used[index/64]&(1<<(index%64)) != 0; marked != taken {
				return fmt.Errorf("address %d of %s: marked %t, held %t", index, known.cidr, marked, taken)
			}
			if taken {
				inUse++
			}
		}
		if inUse != known.inUse || known.released && inUse > 0 {
			return fmt.Errorf("block %s counts %d of %d (released %t)", known.cidr, known.inUse, inUse, known.released)
		}
	}
	return nil
}

func TestRandomLifeNeverSharesAnAddress(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		steps := make([]byte, 400)
		for i := range steps {
			steps[i] = byte(random.Uint32())
		}
		play(t, steps)
	}
}

func FuzzLife(f *testing.F) {
	f.Add([]byte{0, 8, 16, 3, 4, 6, 5})
	f.Fuzz(play)
}

func TestAFixedAddressIsWaitedFor(t *testing.T) {
	b := newTestBook(&clock{}, 0)
	b.SetPools([]Pool{pool("p", "10.0.0.0/24", 7)})
	fixed := func(key, address string) Request {
		r := ask(key, "p")
		r.Exact = []netip.Addr{netip.MustParseAddr(address)}
		return r
	}
	// Without a block of the pool the node asks for one.
	var noBlock *WaitError
	if _, err := b.Reserve(ended(), fixed("a", "10.0.0.3")); !errors.As(err, &noBlock) || noBlock.Pool != "p" {
		t.Errorf("without a block: %v", err)
	}
	b.SetBlocks([]Block{own("10.0.0.0/29", "p")})
	var notHere *NotHereError
	if _, err := b.Reserve(ended(), fixed("a", "10.0.0.9")); !errors.As(err, &notHere) {
		t.Errorf("of another block: %v", err)
	}
	if e, err := b.Reserve(ended(), fixed("a", "10.0.0.3")); err != nil || e.Addresses[0].String() != "10.0.0.3" {
		t.Fatalf("%v, %v", e, err)
	}
	var inUse *InUseError
	if _, err := b.Reserve(ended(), fixed("b", "10.0.0.3")); !errors.As(err, &inUse) {
		t.Errorf("in use: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := b.Reserve(t.Context(), fixed("b", "10.0.0.3"))
		got <- err
	}()
	b.SetState("a", Releasing)
	if _, err := b.Reserve(ended(), fixed("c", "10.0.0.3")); !errors.As(err, &inUse) {
		t.Errorf("while the other pod leaves: %v", err)
	}
	b.Free("a")
	if err := <-got; err != nil {
		t.Error(err)
	}
	if err := b.consistent(); err != nil {
		t.Error(err)
	}
}
