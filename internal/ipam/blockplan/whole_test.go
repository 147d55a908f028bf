package blockplan_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

// TestAPoolServesAllItsAddresses lets one pod after the other start on 100 nodes of a /24 pool that has four blocks: the real plan and the
// real address books, with a few lines instead of the API server. All but the four addresses of tunnels are given out, each once.
func TestAPoolServesAllItsAddresses(t *testing.T) {
	const nodes = 100
	now, bits := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), int32(26)
	object := v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p", Finalizers: []string{v1alpha1.FinalizerPool}}, Spec: v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/24", BlockSize: &bits}}
	pool, err := blockplan.PoolOf(&object)
	if err != nil {
		t.Fatal(err)
	}
	state := blockplan.New()
	state.SetPool(pool)
	books := map[string]*addressbook.Book{}
	for i := range nodes {
		name := fmt.Sprint("n", i)
		own := netip.AddrFrom4([4]byte{192, 168, 0, byte(i + 1)})
		state.SetNode(name, nil, []netip.Addr{own})
		state.SetFacts(name, blockplan.Facts{Addresses: []netip.Addr{own}})
		books[name] = addressbook.New(addressbook.Options{Now: func() time.Time { return now }, DemandChanged: func() {}})
		books[name].SetPools([]addressbook.Pool{{Name: "p", CIDR: pool.Prefix, Usable: true, BlockCapacity: 63}})
	}
	stored := map[netip.Prefix]*v1alpha1.IPBlock{}
	store := func(o *v1alpha1.IPBlock) {
		prefix := netip.MustParsePrefix(o.Spec.CIDR)
		o.Generation++
		o.UID, stored[prefix] = "u", o
		state.SetBlock(blockplan.Block{Prefix: prefix, Pool: "p", Node: o.Spec.Node, Held: true, Addresses: o.Spec.NodeAddresses, Loans: blockplan.LoansOf(o), Object: o})
	}
	shown := func(node string) (out []addressbook.Block) {
		for prefix, o := range stored {
			own := addressbook.Block{CIDR: prefix, Pool: "p"}
			for _, l := range o.Spec.Lent {
				cidr := netip.MustParsePrefix(l.CIDR)
				own.Loans = append(own.Loans, addressbook.Loan{CIDR: cidr, ID: l.ID, Granted: l.Granted})
				if l.Node == node && l.Granted {
					out = append(out, addressbook.Block{CIDR: cidr, Pool: "p", Loan: l.ID})
				}
			}
			if o.Spec.Node == node {
				out = append(out, own)
			}
		}
		return out
	}
	claim := func(node string, waiting int32) {
		books[node].SetBlocks(shown(node))
		shares, _ := books[node].Shares()
		c := v1alpha1.PoolClaim{Pool: "p", Wanted: waiting, Waiting: waiting}
		for _, g := range shares[0].Given {
			c.Given = append(c.Given, v1alpha1.GivenLoan{CIDR: g.CIDR.String(), ID: g.ID})
		}
		state.SetClaim(node, []v1alpha1.PoolClaim{c})
	}
	round := func() {
		plan := state.Plan(blockplan.Turn{Now: now, Budget: 64})
		for _, c := range plan.Create {
			store(&v1alpha1.IPBlock{Spec: v1alpha1.IPBlockSpec{CIDR: c.Prefix.String(), Pool: "p", Node: c.Node, NodeAddresses: c.Addresses}})
		}
		for _, l := range plan.Lend {
			next := l.Object.DeepCopy()
			next.Spec.Lent = blockplan.ObjectLoans(l.Loans)
			store(next)
			claim(next.Spec.Node, 0)
		}
	}
	given := map[netip.Addr]string{}
	start := func(i int) bool {
		node, ended := fmt.Sprint("n", i%nodes), context.Background()
		ended, cancel := context.WithCancel(ended)
		cancel()
		for try := range 3 { // at once, after a block or an ask, after the grant
			books[node].SetBlocks(shown(node))
			e, err := books[node].Reserve(ended, addressbook.Request{Endpoint: addressbook.Endpoint{Interface: fmt.Sprint("cw", i)}, Candidates: [][]string{{"p"}}})
			if err == nil {
				if other, taken := given[e.Addresses[0]]; taken {
					t.Fatalf("%s is given to pod %d of %s, and to %s", e.Addresses[0], i, node, other)
				}
				given[e.Addresses[0]] = node
				claim(node, 0)
				state.AddEndpoint(blockplan.NewEndpoint("default", node, e.Addresses, []string{"p"}))
				return true
			}
			if try < 2 {
				claim(node, 1)
				round()
			}
		}
		return false
	}
	for i := range 252 {
		if !start(i) {
			t.Fatalf("pod %d gets no address; %d are in use", i, len(given))
		}
	}
	if start(252) {
		t.Error("a pod more gets an address, too")
	}
}
