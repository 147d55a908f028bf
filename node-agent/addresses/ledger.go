package addresses

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
	"github.com/causeway-net/causeway/node-agent/cluster"
)

// View shows the cluster.
type View interface {
	Pools() []cluster.Pool
	// Reserved are the addresses that no pod gets, whatever pool they are in.
	Reserved() *reservation.Set
	// Remembered are the addresses that are remembered for pods.
	Remembered() map[types.NamespacedName][]sticky.Address
	OwnBlocks() []cluster.Block
	Block(cidr netip.Prefix) (cluster.Block, bool)
	// Node reports false where the Node does not exist.
	Node() (cluster.Node, bool)
}

// Book is the address book.
type Book interface {
	SetPools(pools []addressbook.Pool)
	SetRemembered(remembered map[netip.Addr]addressbook.Pod)
	SetBlocks(blocks []addressbook.Block)
	// Given returns the loans that the node has given up, EndLoans says which of them are over.
	Given() []addressbook.Given
	EndLoans(ids []string)
	// Shares returns the node's share of every pool, and how long until it may change by itself, 0 for never.
	Shares() ([]addressbook.Share, time.Duration)
}

// Options are what a Ledger is made of.
type Options struct {
	View  View
	Book  Book
	Pools *Pools
	// Save writes down that blocks are released, before anybody is told: an agent that starts without the API server must
	// not use a block again that the controller may have given to another node.
	Save func() error
	// Told gets the shares whenever they may have changed.
	Told func([]addressbook.Share)
	Log  logr.Logger
}

// Ledger brings pools and blocks into the book, and the book's demand to those who ask the controller for blocks. It is
// apart from the kernel's loop, so that a pod that waits for a block does not wait for routes.
type Ledger struct {
	o    Options
	wake chan struct{}
	// settling keeps an older reading of the view from replacing a newer one.
	settling sync.Mutex
	saved    written // what is written down
}

// NewLedger returns a ledger. Nothing runs yet.
func NewLedger(o Options) *Ledger { return &Ledger{o: o, wake: make(chan struct{}, 1)} }

// Wake asks for a turn.
func (l *Ledger) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run works until the context ends.
func (l *Ledger) Run(ctx context.Context) {
	var later <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-later:
		}
		later = nil
		if again := l.Settle(); again > 0 {
			later = time.After(again)
		}
	}
}

// Settle is one turn of Run. It returns how long until a block may become surplus, 0 for never.
func (l *Ledger) Settle() time.Duration {
	l.o.Book.SetPools(l.SettlePools())
	l.o.Book.SetRemembered(l.o.Pools.remember(l.o.View.Remembered()))
	l.o.Book.SetBlocks(ownBlocks(l.o.View))
	l.o.Book.EndLoans(ended(l.o.View, l.o.Book.Given()))
	shares, again := l.o.Book.Shares()
	if given := givenUp(shares); !given.equal(l.saved) {
		if err := l.o.Save(); err != nil {
			l.o.Log.Error(err, "Can't write down which blocks are released, and which loans are given up")
		}
		l.saved = given
	}
	l.o.Told(shares)
	return again
}

// SettlePools brings the pools from the view to those who choose among them, and returns what the book is to know.
func (l *Ledger) SettlePools() []addressbook.Pool {
	l.settling.Lock()
	defer l.settling.Unlock()
	node, exists := l.o.View.Node()
	return l.o.Pools.set(l.o.View.Pools(), l.o.View.Reserved(), node, exists)
}

// written is what the node has given up for good.
type written struct {
	released []addressbook.Released
	loans    []string
}

func (w written) equal(o written) bool {
	return slices.Equal(w.released, o.released) && slices.Equal(w.loans, o.loans)
}

func givenUp(shares []addressbook.Share) written {
	var out written
	for _, s := range shares {
		out.released = append(out.released, s.Released...)
		for _, g := range s.Given {
			out.loans = append(out.loans, g.ID)
		}
	}
	slices.SortFunc(out.released, func(x, y addressbook.Released) int { return x.CIDR.Compare(y.CIDR) })
	slices.Sort(out.loans)
	return out
}
