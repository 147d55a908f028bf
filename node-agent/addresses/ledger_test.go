package addresses

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// neighbours are all that a ledger talks to.
type neighbours struct {
	mu     sync.Mutex
	blocks []cluster.Block
	gone   bool // the Node
	steps  []string
	told   []addressbook.Share
	fail   error
}

func (n *neighbours) Pools() []cluster.Pool {
	return views(testPool("p", "10.0.0.0/16", 1, func(p *v1alpha1.IPPool) { p.Spec.Sticky = v1alpha1.StickyStatefulSet }))
}

func (n *neighbours) Reserved() *reservation.Set {
	set, _ := reservation.Parse([]string{"10.0.0.2"}, netip.Prefix{})
	return set
}

func (n *neighbours) Remembered() map[types.NamespacedName][]sticky.Address {
	return map[types.NamespacedName][]sticky.Address{{Namespace: "shop", Name: "db-0"}: {{Addr: netip.MustParseAddr("10.0.0.3"), Pool: "p"}}}
}

func (n *neighbours) Node() (cluster.Node, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return cluster.Node{Name: "n"}, !n.gone
}

func (n *neighbours) OwnBlocks() []cluster.Block {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.blocks
}

func (n *neighbours) Block(cidr netip.Prefix) (cluster.Block, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.IndexFunc(n.blocks, func(b cluster.Block) bool { return b.CIDR == cidr })
	if i < 0 {
		return cluster.Block{}, false
	}
	return n.blocks[i], true
}

func (n *neighbours) save() error {
	n.note("save")
	return n.fail
}

func (n *neighbours) tell(shares []addressbook.Share) {
	n.note("tell")
	n.told = shares
}

func (n *neighbours) note(step string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.steps = append(n.steps, step)
}

func (n *neighbours) taken() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.steps
	n.steps = nil
	return out
}

func runLedger(t *testing.T, n *neighbours, test func(l *Ledger, book *addressbook.Book)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		book := addressbook.New(addressbook.Options{Now: time.Now, Reserve: 1, Linger: time.Minute, DemandChanged: func() {}})
		l := NewLedger(Options{View: n, Book: book, Pools: NewPools(nil), Save: n.save, Told: n.tell, Log: logr.Discard()})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.Run(ctx) }()
		defer func() { cancel(); <-done }()
		l.Wake()
		synctest.Wait()
		test(l, book)
	})
}

func block(cidr string) cluster.Block {
	return cluster.Block{Block: plan.Block{CIDR: netip.MustParsePrefix(cidr), Pool: "p", Node: "n"}, UID: "1"}
}

func TestABlockIsWrittenDownBeforeItIsGivenBack(t *testing.T) {
	for name, fail := range map[string]error{"the disk takes it": nil, "the disk is full": errors.New("no space left")} {
		n := &neighbours{fail: fail, blocks: []cluster.Block{block("10.0.0.0/30"), block("10.0.0.4/30")}}
		runLedger(t, n, func(_ *Ledger, book *addressbook.Book) {
			if got := n.taken(); !slices.Equal(got, []string{"tell"}) || len(book.Blocks()) != 2 {
				t.Fatalf("%s: two blocks: %v, book %v", name, got, book.Blocks())
			}
			time.Sleep(time.Minute + time.Second) // one of them is surplus now, with nobody waking the ledger
			synctest.Wait()
			if got := n.taken(); !slices.Equal(got, []string{"save", "tell"}) || len(n.told[0].Released) != 1 {
				t.Errorf("%s: a surplus block: %v, told %v", name, got, n.told)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := n.taken(); len(got) != 0 {
				t.Errorf("%s: in a quiet hour: %v", name, got)
			}
		})
	}
}

func TestReservedAddressesReachTheBook(t *testing.T) {
	n := &neighbours{blocks: []cluster.Block{block("10.0.0.0/30")}}
	runLedger(t, n, func(_ *Ledger, book *addressbook.Book) {
		if b := book.Blocks()[0]; b.Available != 1 || len(b.Reserved) != 1 || b.Reserved[0].First != netip.MustParseAddr("10.0.0.2") {
			t.Errorf("the book has %+v", b)
		}
	})
}

func TestANodeThatIsGoneWantsNothing(t *testing.T) {
	n := &neighbours{}
	runLedger(t, n, func(l *Ledger, _ *addressbook.Book) {
		if n.told[0].Wanted != 1 {
			t.Fatalf("a node without addresses wants %v", n.told)
		}
		n.mu.Lock()
		n.gone = true
		n.mu.Unlock()
		l.Wake()
		synctest.Wait()
		if n.told[0].Wanted != 0 {
			t.Errorf("a node that is gone wants %v", n.told)
		}
	})
}
