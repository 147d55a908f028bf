package addressbook

import (
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"testing"
)

func share(t *testing.T, b *Book) Share {
	t.Helper()
	shares, _ := b.Shares()
	if len(shares) != 1 {
		t.Fatalf("%d shares", len(shares))
	}
	if err := b.consistent(); err != nil {
		t.Error(err)
	}
	return shares[0]
}

func ids(given []Given) (out []string) {
	for _, g := range given {
		out = append(out, g.ID)
	}
	return out
}

func travelling(t *testing.T) *Book {
	t.Helper()
	b := newTestBook(&clock{}, 0)
	p := pool("p", "10.0.0.0/24", 7)
	p.Travels = true
	b.SetPools([]Pool{p})
	return b
}

func fixedAsk(key, address string) Request {
	r := ask(key, "p")
	r.Exact = []netip.Addr{netip.MustParseAddr(address)}
	return r
}

// lender is a block of the node with loans.
func lender(loans ...Loan) []Block {
	b := own("10.0.0.0/29", "p")
	b.Loans = loans
	return []Block{b}
}

func loan(cidr, id string, granted bool) Loan {
	return Loan{CIDR: netip.MustParsePrefix(cidr), ID: id, Granted: granted}
}

func TestALenderGivesUpWhatNoPodHas(t *testing.T) {
	b := travelling(t)
	b.SetBlocks(lender())
	if _, err := b.Reserve(ended(), fixedAsk("a", "10.0.0.3")); err != nil {
		t.Fatal(err)
	}
	asked := []Loan{loan("10.0.0.3/32", "u.1", false), loan("10.0.0.4/31", "u.2", false), loan("10.0.0.0/32", "u.3", false)}
	b.SetBlocks(lender(asked...))
	if s := share(t, b); !slices.Equal(ids(s.Given), []string{"u.2"}) || s.Free != 4 || len(s.Held) != 1 {
		t.Fatalf("an address in use, a free range and the tunnels' address are asked for: %+v", s)
	}
	var elsewhere *ElsewhereError
	if _, err := b.Reserve(ended(), fixedAsk("b", "10.0.0.5")); !errors.As(err, &elsewhere) {
		t.Errorf("a pod of the lender asks for a lent address: %v", err)
	}
	b.SetState("a", Releasing)
	b.Free("a")
	if s := share(t, b); !slices.Equal(ids(s.Given), []string{"u.1", "u.2"}) || len(s.Released) != 0 {
		t.Errorf("the pod is gone: %+v", s)
	}
	for range 4 {
		e, err := b.Reserve(ended(), Request{Endpoint: Endpoint{Interface: string(rune('c' + len(b.Endpoints())))}, Candidates: [][]string{{"p"}}})
		if err != nil || slices.Contains([]string{"10.0.0.3", "10.0.0.4", "10.0.0.5"}, e.Addresses[0].String()) {
			t.Fatalf("a pod gets %v, %v", e.Addresses, err)
		}
	}
	b.SetBlocks(lender(asked[1:]...))
	b.EndLoans([]string{"u.1"})
	if _, err := b.Reserve(ended(), fixedAsk("z", "10.0.0.3")); err != nil {
		t.Errorf("the loan is over: %v", err)
	}
}

func TestWhatWasGivenUpStaysSoAfterARestart(t *testing.T) {
	b := travelling(t)
	b.SetHeld(lender())
	b.SetGiven([]Given{{CIDR: netip.MustParsePrefix("10.0.0.3/32"), Pool: "p", ID: "u.1"}})
	b.SetBlocks(lender()) // of a view that is older than the loan
	if _, err := b.Reserve(ended(), fixedAsk("a", "10.0.0.3")); err == nil {
		t.Error("a lent address is given out")
	}
	if s := share(t, b); !slices.Equal(ids(s.Given), []string{"u.1"}) {
		t.Errorf("the claim forgets the loan: %+v", s)
	}
}

func TestABorrowedAddressServesWhoAsksForIt(t *testing.T) {
	b := travelling(t)
	got := make(chan error, 1)
	go func() {
		e, err := b.Reserve(t.Context(), fixedAsk("a", "10.0.0.9"))
		if err == nil && e.Addresses[0].String() != "10.0.0.9" {
			err = errors.New(e.Addresses[0].String())
		}
		got <- err
	}()
	for len(share(t, b).Asks) == 0 {
		runtime.Gosched()
	}
	borrowed := Block{CIDR: netip.MustParsePrefix("10.0.0.9/32"), Pool: "p", Loan: "u.7", Fixed: true}
	b.SetBlocks([]Block{borrowed})
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if s := share(t, b); len(s.Asks)+len(s.Given)+len(s.Released) != 0 || s.Free != 0 || len(s.Held) != 1 {
		t.Errorf("with the pod: %+v", s)
	}
	b.SetState("a", Releasing)
	b.Free("a")
	var wait *WaitError
	if _, err := b.Reserve(ended(), ask("b", "p")); !errors.As(err, &wait) {
		t.Errorf("a pod that asks for nothing: %v", err)
	}
	if s := share(t, b); !slices.Equal(ids(s.Given), []string{"u.7"}) || len(s.Held)+len(s.Released) != 0 {
		t.Errorf("without the pod: %+v", s)
	}
	var elsewhere *ElsewhereError
	if _, err := b.Reserve(ended(), fixedAsk("a", "10.0.0.9")); !errors.As(err, &elsewhere) {
		t.Errorf("after it was given up: %v", err)
	}
	borrowed.Loan = "u.9"
	b.SetBlocks([]Block{borrowed})
	b.EndLoans([]string{"u.7"})
	if _, err := b.Reserve(ended(), fixedAsk("a", "10.0.0.9")); err != nil {
		t.Errorf("under a new loan: %v", err)
	}
}

// A range that any pod may have an address of serves after the node's own blocks, has no address for tunnels, and goes back when it is empty.
func TestABorrowedRangeServesAnyPodAndGoesBack(t *testing.T) {
	b := newTestBook(&clock{}, 4)
	p := pool("p", "10.0.0.0/24", 7)
	p.Exhausted, p.Spare, p.Reserve = true, true, true
	b.SetPools([]Pool{p})
	borrowed := Block{CIDR: netip.MustParsePrefix("10.0.0.4/31"), Pool: "p", Loan: "u.7"}
	b.SetBlocks([]Block{own("10.0.0.8/29", "p"), borrowed})
	if _, err := b.Reserve(ended(), ask("first", "p")); err != nil {
		t.Fatal(err)
	}
	if s := share(t, b); !slices.Equal(ids(s.Given), []string{"u.7"}) {
		t.Errorf("an empty range of which no pod waits: %+v", s)
	}
	borrowed.Loan = "u.9"
	b.SetBlocks([]Block{own("10.0.0.8/29", "p"), borrowed})
	names := "abcdefgh"
	for i, name := range names {
		e, err := b.Reserve(ended(), ask(string(name), "p"))
		if lent := err == nil && borrowed.CIDR.Contains(e.Addresses[0]); err != nil || lent != (i > 5) {
			t.Errorf("pod %c has %v: %v", name, e.Addresses, err)
		}
	}
	if s := share(t, b); len(s.Given) != 1 || s.Given[0].ID != "u.7" || !slices.Contains(s.Held, borrowed.CIDR) {
		t.Errorf("with pods: %+v", s)
	}
	for _, name := range names[6:] {
		b.SetState(string(name), Releasing)
		b.Free(string(name))
	}
	if s := share(t, b); !slices.Equal(ids(s.Given), []string{"u.7", "u.9"}) {
		t.Errorf("without: %+v", s)
	}
}
