package exploration

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

// This file turns states into what the real code takes, and its answers into states. Answers are remembered: many states share the
// part that they depend on.

var (
	pool      = netip.MustParsePrefix("10.0.0.0/30")
	cidrs     = [blocks]netip.Prefix{netip.MustParsePrefix("10.0.0.0/31"), netip.MustParsePrefix("10.0.0.2/31")}
	addresses = [blocks]netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.3")}
	epoch     = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func nodeName(n int8) string { return fmt.Sprint("node", n) }

func texts(s set) (out []string) {
	for b := range blocks {
		if s.has(b) {
			out = append(out, cidrs[b].String())
		}
	}
	return out
}

func releasedBlocks(released uids) (out []v1alpha1.ReleasedBlock) {
	for b, uid := range released {
		if uid != 0 {
			out = append(out, v1alpha1.ReleasedBlock{CIDR: cidrs[b].String(), UID: uidText(uid)})
		}
	}
	return out
}

// uidText is a uid as objects have it; "" for none.
func uidText(uid int8) string {
	if uid == 0 {
		return ""
	}
	return fmt.Sprint(uid)
}

func setOf(prefixes []netip.Prefix) (out set) {
	for _, p := range prefixes {
		out = out.with(slices.Index(cidrs[:], p))
	}
	return out
}

// planner asks blockplan what a controller does that has seen this and nothing else.
type planner map[api]todo

func (m planner) plan(seen api) todo {
	if known, ok := m[seen]; ok {
		return known
	}
	state := blockplan.New()
	state.SetPool(blockplan.Pool{Name: "pool", Prefix: pool, Bits: 31, MaxBlocks: 2, Created: epoch, Open: true, Nodes: labels.Everything()})
	for n := range int8(nodes) {
		own := netip.AddrFrom4([4]byte{192, 168, 0, byte(n + 1)})
		state.SetNode(nodeName(n), nil, []netip.Addr{own})
		state.SetFacts(nodeName(n), blockplan.Facts{Addresses: []netip.Addr{own}})
		if c := seen.claims[n]; c.exists {
			state.SetClaim(nodeName(n), []v1alpha1.PoolClaim{{Pool: "pool", Wanted: int32(c.waiting), Waiting: int32(c.waiting), Held: texts(c.held), Released: releasedBlocks(c.released)}})
		}
	}
	for b, one := range seen.blocks {
		if one.owner == none {
			continue
		}
		own := []string{netip.AddrFrom4([4]byte{192, 168, 0, byte(one.owner + 1)}).String()}
		object := &v1alpha1.IPBlock{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.BlockName(cidrs[b]), UID: types.UID(uidText(one.uid))},
			Spec: v1alpha1.IPBlockSpec{CIDR: cidrs[b].String(), Pool: "pool", Node: nodeName(one.owner), NodeAddresses: own}}
		state.SetBlock(blockplan.Block{Prefix: cidrs[b], Pool: "pool", Node: nodeName(one.owner), Addresses: own, Held: true, Object: object})
	}
	for p, a := range seen.records {
		if a != none {
			state.AddEndpoint(blockplan.NewEndpoint("default", nodeName(nodeOf[p]), []netip.Addr{addresses[a]}, []string{"pool"}))
		}
	}
	out := idle
	plan := state.Plan(blockplan.Turn{Now: epoch, Budget: 64})
	for _, c := range plan.Create {
		out.create[slices.Index(cidrs[:], c.Prefix)] = int8(c.Node[len("node")] - '0')
	}
	for _, r := range plan.Release {
		b := slices.Index(cidrs[:], r.Prefix)
		out.release[b] = seen.blocks[b].uid
	}
	m[seen] = out
	return out
}

// bookInput is what a book's answer depends on: what it holds, and which pods wait.
type bookInput struct {
	agent   agent
	waiting [pods]bool
}

// bookkeeper asks addressbook what an agent's book does when it is told of its blocks while pods wait.
type bookkeeper map[bookInput]agent

func (m bookkeeper) settle(in bookInput) agent {
	if known, ok := m[in]; ok {
		return known
	}
	book := open(in.agent)
	out := in.agent
	var own []addressbook.Block
	for b, uid := range in.agent.own {
		if uid != 0 {
			own = append(own, addressbook.Block{CIDR: cidrs[b], Pool: "pool", UID: uidText(uid)})
		}
	}
	book.SetBlocks(own)
	var waiting []int
	for p := range pods {
		if in.waiting[p] {
			waiting = append(waiting, p)
		}
	}
	var share addressbook.Share
	ask(book, waiting, func() {
		shares, _ := book.Shares()
		share = shares[0]
	})
	for _, e := range book.Endpoints() {
		p := int(e.Interface[0] - '0')
		if out.state[p] == absent {
			out.state[p], out.address[p] = reserved, int8(slices.Index(addresses[:], e.Addresses[0]))
		}
	}
	out.held, out.uid, out.released = 0, uids{}, uids{}
	number := func(uid string) (n int8) {
		_, _ = fmt.Sscan(uid, &n) // It was made by uidText.
		return n
	}
	for _, b := range book.Blocks() {
		i := slices.Index(cidrs[:], b.CIDR)
		out.held, out.uid[i] = out.held.with(i), number(b.UID)
		if b.Released {
			out.released[i] = out.uid[i]
		}
	}
	out.claim = claim{exists: true, waiting: int8(share.Waiting), held: setOf(share.Held)}
	for _, r := range share.Released {
		out.claim.released[slices.Index(cidrs[:], r.CIDR)] = number(r.UID)
	}
	m[in] = out
	return out
}

// open makes a book that says what an agent's memory says.
func open(a agent) *addressbook.Book {
	book := addressbook.New(addressbook.Options{Now: func() time.Time { return epoch }, DemandChanged: func() {}})
	book.SetPools([]addressbook.Pool{{Name: "pool", CIDR: pool, Usable: true, BlockCapacity: 1}})
	var held []addressbook.Block
	var released []addressbook.Released
	for b := range blocks {
		if a.held.has(b) {
			held = append(held, addressbook.Block{CIDR: cidrs[b], Pool: "pool", UID: uidText(a.uid[b])})
		}
		if a.released[b] != 0 {
			released = append(released, addressbook.Released{CIDR: cidrs[b], UID: uidText(a.released[b])})
		}
	}
	book.SetReleased(released)
	book.SetHeld(held)
	for p := range pods {
		if a.state[p] == absent {
			continue
		}
		state := map[int8]addressbook.State{reserved: addressbook.Reserved, ready: addressbook.Ready, releasing: addressbook.Releasing}[a.state[p]]
		book.Adopt(addressbook.Endpoint{Interface: fmt.Sprint(p), Addresses: []netip.Addr{addresses[a.address[p]]}, Pools: []string{"pool"}, State: state})
	}
	return book
}

// ask has pods ask the book for addresses. Those that find none wait, and while all of them wait look is called.
func ask(book *addressbook.Book, waiting []int, look func()) {
	if len(waiting) == 0 {
		look()
		return
	}
	looked := false
	within := whileWaiting{Context: context.Background(), then: func() {
		if !looked {
			looked = true
			ask(book, waiting[1:], look)
		}
	}}
	request := addressbook.Request{Endpoint: addressbook.Endpoint{Interface: fmt.Sprint(waiting[0])}, Candidates: [][]string{{"pool"}}}
	if _, err := book.Reserve(within, request); err == nil {
		ask(book, waiting[1:], look)
	}
}

// whileWaiting is a context that ends as soon as somebody waits for its end, and does something just before.
type whileWaiting struct {
	context.Context
	then func()
}

// Done implements context.Context.
func (w whileWaiting) Done() <-chan struct{} {
	w.then()
	ended := make(chan struct{})
	close(ended)
	return ended
}

// Err implements context.Context.
func (w whileWaiting) Err() error { return context.DeadlineExceeded }
