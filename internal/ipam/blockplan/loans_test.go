package blockplan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func travels(p *v1alpha1.IPPool) { p.Spec.FixedAddresses = v1alpha1.FixedAddressesAllowed }

func lending(loans ...v1alpha1.Loan) func(*v1alpha1.IPBlock) {
	return func(b *v1alpha1.IPBlock) { b.UID, b.Generation, b.Spec.Lent = "a", 4, loans }
}

func aLoan(address, to string, granted bool) v1alpha1.Loan {
	return v1alpha1.Loan{CIDR: address + "/32", Node: to, NodeAddresses: []string{"192.168.0." + to[1:]}, Fixed: true, Granted: granted, ID: "a.4.0"}
}

func asks(addresses ...string) v1alpha1.PoolClaim {
	return v1alpha1.PoolClaim{Pool: "p", Asks: addresses}
}

func gives(id string) v1alpha1.PoolClaim {
	return v1alpha1.PoolClaim{Pool: "p", Given: []v1alpha1.GivenLoan{{CIDR: "10.0.0.5/32", ID: id}}}
}

// TestLoans: who gets an address that a node asks for, and when.
func TestLoans(t *testing.T) {
	both := func(one, other v1alpha1.PoolClaim) v1alpha1.PoolClaim {
		one.Given = other.Given
		return one
	}
	reserved := func(p *v1alpha1.IPPool) { p.Spec.Reserved = []string{"10.0.0.5"} }
	terminating := func(b *v1alpha1.IPBlock) { b.DeletionTimestamp = &metav1.Time{Time: epoch} }
	const whole = "10.0.0.0/26"
	for _, c := range []struct {
		name      string
		pool      []func(*v1alpha1.IPPool)
		block     []func(*v1alpha1.IPBlock) // nil for no block
		endpoints []v1alpha1.WorkloadEndpoint
		nodes     []testNode
		want      []string
	}{
		{name: "in no block: the block around it", nodes: []testNode{aNode("n2", asks("10.0.0.70"))}, want: []string{"create 10.0.0.64/26 for n2"}},
		{name: "two addresses of one block", nodes: []testNode{aNode("n2", asks("10.0.0.70", "10.0.0.71"))}, want: []string{"create 10.0.0.64/26 for n2"}},
		{name: "two nodes ask", nodes: []testNode{aNode("n3", asks("10.0.0.70")), aNode("n2", asks("10.0.0.70"))}, want: []string{"create 10.0.0.64/26 for n2"}},
		{name: "its first address", nodes: []testNode{aNode("n2", asks("10.0.0.64"))}},
		{name: "outside", nodes: []testNode{aNode("n2", asks("10.1.0.1"))}},
		{name: "reserved", pool: []func(*v1alpha1.IPPool){reserved}, nodes: []testNode{aNode("n2", asks("10.0.0.5"))}},
		{name: "not allowed", pool: []func(*v1alpha1.IPPool){func(p *v1alpha1.IPPool) { p.Spec.FixedAddresses = "" }}, nodes: []testNode{aNode("n2", asks("10.0.0.5"))}},
		{name: "no room", pool: []func(*v1alpha1.IPPool){func(p *v1alpha1.IPPool) { p.Spec.MaxBlocksPerNode = 1 }}, nodes: []testNode{aNode("n2", asks("10.0.0.5", "10.0.0.70"))},
			want: []string{"create 10.0.0.0/26 for n2"}},

		{name: "the lender is asked", block: []func(*v1alpha1.IPBlock){lending()}, nodes: []testNode{aNode("n1"), aNode("n2", asks("10.0.0.5"))},
			want: []string{"lend of 10.0.0.0/26: 10.0.0.5/32 to n2 (a.5.0, granted false)"}},
		{name: "it is asked for several", block: []func(*v1alpha1.IPBlock){lending()}, nodes: []testNode{aNode("n1"), aNode("n2", asks("10.0.0.5", "10.0.0.6"))},
			want: []string{"lend of 10.0.0.0/26: 10.0.0.5/32 to n2 (a.5.0, granted false) 10.0.0.6/32 to n2 (a.5.1, granted false)"}},
		{name: "in use", block: []func(*v1alpha1.IPBlock){lending()}, endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n1", "p", "10.0.0.5/32")},
			nodes: []testNode{aNode("n1"), aNode("n2", asks("10.0.0.5"))}},
		{name: "being deleted", block: []func(*v1alpha1.IPBlock){lending(), terminating}, nodes: []testNode{aNode("n1"), aNode("n2", asks("10.0.0.5"))}},
		{name: "the lender has not answered", block: []func(*v1alpha1.IPBlock){lending(aLoan("10.0.0.5", "n2", false))}, nodes: []testNode{aNode("n1"), aNode("n2", asks("10.0.0.5"))}},
		{name: "another node has given something of that name", block: []func(*v1alpha1.IPBlock){lending(aLoan("10.0.0.5", "n2", false))},
			nodes: []testNode{aNode("n1"), aNode("n3", gives("a.4.0")), aNode("n2", asks("10.0.0.5"))}},
		{name: "it has given up an earlier loan", block: []func(*v1alpha1.IPBlock){lending(aLoan("10.0.0.5", "n2", false))},
			nodes: []testNode{aNode("n1", gives("a.3.0")), aNode("n2", asks("10.0.0.5"))}},
		{name: "it has given up this one", block: []func(*v1alpha1.IPBlock){lending(aLoan("10.0.0.5", "n2", false))},
			nodes: []testNode{aNode("n1", gives("a.4.0")), aNode("n2", asks("10.0.0.5"))}, want: []string{"lend of 10.0.0.0/26: 10.0.0.5/32 to n2 (a.4.0, granted true)"}},
		{name: "nobody asks any more", block: []func(*v1alpha1.IPBlock){lending(aLoan("10.0.0.5", "n2", false))}, nodes: []testNode{aNode("n1"), aNode("n2")},
			want: []string{"lend of 10.0.0.0/26:"}},

		{name: "lent", block: []func(*v1alpha1.IPBlock){lending(aLoan("10.0.0.5", "n2", true))}, nodes: []testNode{aNode("n1", gives("a.4.0")), aNode("n2")}},
		{name: "given back", block: []func(*v1alpha1.IPBlock){lending(aLoan("10.0.0.5", "n2", true))}, nodes: []testNode{aNode("n1", gives("a.4.0")), aNode("n2", gives("a.4.0"))},
			want: []string{"lend of 10.0.0.0/26:"}},
		{name: "given back, its record is there yet", block: []func(*v1alpha1.IPBlock){lending(aLoan("10.0.0.5", "n2", true))}, endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n2", "p", "10.0.0.5/32")},
			nodes: []testNode{aNode("n1", gives("a.4.0")), aNode("n2", gives("a.4.0"))}},
		{name: "from one node to the next", block: []func(*v1alpha1.IPBlock){lending(aLoan("10.0.0.5", "n2", true))}, nodes: []testNode{aNode("n1"), aNode("n2", gives("a.4.0")), aNode("n3", asks("10.0.0.5"))},
			want: []string{"lend of 10.0.0.0/26: 10.0.0.5/32 to n3 (a.5.0, granted true)"}},
		{name: "back to the same node", block: []func(*v1alpha1.IPBlock){lending(aLoan("10.0.0.5", "n2", true))}, nodes: []testNode{aNode("n1"), aNode("n2", both(asks("10.0.0.5"), gives("a.4.0")))},
			want: []string{"lend of 10.0.0.0/26: 10.0.0.5/32 to n2 (a.5.0, granted true)"}},
		{name: "the lender asks for it", block: []func(*v1alpha1.IPBlock){lending(aLoan("10.0.0.5", "n2", true))}, nodes: []testNode{aNode("n1", asks("10.0.0.5")), aNode("n2", gives("a.4.0"))},
			want: []string{"lend of 10.0.0.0/26:"}},
		{name: "its node has another address", block: []func(*v1alpha1.IPBlock){lending(func() v1alpha1.Loan { l := aLoan("10.0.0.5", "n2", true); l.NodeAddresses = nil; return l }())},
			nodes: []testNode{aNode("n1"), aNode("n2")}, want: []string{"lend of 10.0.0.0/26: 10.0.0.5/32 to n2 (a.4.0, granted true)"}},
		{name: "a block that has lent something stays", block: []func(*v1alpha1.IPBlock){lending(aLoan("10.0.0.5", "n2", true))}, nodes: []testNode{aNode("n1", wants("p", 0, 0, whole)), aNode("n2")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var blocks []v1alpha1.IPBlock
			if c.block != nil {
				blocks = append(blocks, aBlock(whole, "p", "n1", c.block...))
			}
			pools := []v1alpha1.IPPool{aPool("p", "10.0.0.0/24", 26, append([]func(*v1alpha1.IPPool){travels}, c.pool...)...)}
			s := feed(pools, blocks, c.endpoints, c.nodes)
			plan := s.Plan(Turn{Now: epoch, Budget: 10})
			if got := show(plan); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestANodeBorrowsNoMoreThanItCouldHave bounds what a stolen token can take of others' blocks.
func TestANodeBorrowsNoMoreThanItCouldHave(t *testing.T) {
	one := func(p *v1alpha1.IPPool) { p.Spec.MaxBlocksPerNode = 1 }
	pools := []v1alpha1.IPPool{aPool("p", "10.0.0.0/24", 28, travels, one)}
	var loans []v1alpha1.Loan
	for i := range 15 {
		loans = append(loans, aLoan(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}).String(), "n2", true))
		loans[i].ID = "a.4." + string(rune('a'+i))
	}
	blocks := []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "p", "n1", lending(loans...)), aBlock("10.0.0.16/28", "p", "n3", lending())}
	s := feed(pools, blocks, nil, []testNode{aNode("n1"), aNode("n2", asks("10.0.0.17")), aNode("n3")})
	if got := show(s.Plan(Turn{Now: epoch, Budget: 10})); len(got) != 0 {
		t.Errorf("%q", got)
	}

	// What the same plan gives counts too, whether it comes from a lender, from the node that had it before, or with a block.
	var free []string
	for i := range 15 {
		free = append(free, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 17)}).String())
	}
	few := loans[:10]
	for name, c := range map[string]struct {
		first v1alpha1.IPBlock
		nodes []testNode
		want  int // loans to n2 after the plan, of 15 addresses that its block could have
	}{
		"of one lender":       {aBlock("10.0.0.0/28", "p", "n1", lending(few...)), []testNode{aNode("n1"), aNode("n2", asks(free...)), aNode("n3")}, 5},
		"a block around each": {aBlock("10.0.0.0/28", "p", "n1", lending(few...)), []testNode{aNode("n1"), aNode("n2", asks(append([]string{"10.0.0.40", "10.0.0.60"}, free...)...)), aNode("n3")}, 5},
	} {
		s := feed(pools, []v1alpha1.IPBlock{c.first, blocks[1]}, nil, c.nodes)
		plan := s.Plan(Turn{Now: epoch, Budget: 10})
		got := 15 * len(plan.Create)
		for _, l := range plan.Lend {
			got += len(l.Loans)
		}
		if got != c.want {
			t.Errorf("%s: it gets %d addresses, want %d: %q", name, got, c.want, show(plan))
		}
	}
	back := slices.Clone(loans) // n2 has all that it may have; n4 has given one back
	back[14].Node, back[14].ID = "n4", "a.4.0"
	more := aLoan("10.0.0.17", "n2", true)
	s = feed(pools, []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "p", "n1", lending(back...)), aBlock("10.0.0.16/28", "p", "n3", lending(more))}, nil,
		[]testNode{aNode("n1"), aNode("n2", asks("10.0.0.15")), aNode("n3"), aNode("n4", gives("a.4.0"))})
	for _, l := range s.Plan(Turn{Now: epoch, Budget: 10}).Lend {
		if slices.ContainsFunc(l.Loans, func(l Loan) bool { return l.Node == "n2" && l.Prefix.String() == "10.0.0.15/32" }) {
			t.Errorf("it gets a 16th from the node that had it: %+v", l.Loans)
		}
	}
}

// TestAVanishedBlockComesBackWithItsLoans: else its node would take back what pods elsewhere have.
func TestAVanishedBlockComesBackWithItsLoans(t *testing.T) {
	pools := []v1alpha1.IPPool{aPool("p", "10.0.0.0/24", 26, travels)}
	holds := v1alpha1.PoolClaim{Pool: "p", Held: []string{"10.0.0.0/26"}}
	endpoints := []v1alpha1.WorkloadEndpoint{anEndpoint("n1", "p", "10.0.0.5/32"), anEndpoint("n2", "p", "10.0.0.9/32")}
	nodes := []testNode{aNode("n1"), aNode("n2", holds)}
	restored := func(s *State) string {
		plan := s.Plan(Turn{Now: epoch, Budget: 10})
		if len(plan.Create) != 1 || plan.Create[0].Node != "n2" || len(plan.Create[0].Loans) != 1 {
			t.Fatalf("%+v", plan.Create)
		}
		l := plan.Create[0].Loans[0]
		if l.Prefix.String() != "10.0.0.5/32" || l.Node != "n1" || !l.Granted {
			t.Errorf("%+v", l)
		}
		return l.ID
	}
	s := feed(pools, []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "p", "n2", lending(aLoan("10.0.0.5", "n1", true)))}, endpoints, nodes)
	s.DropBlock(netip.MustParsePrefix("10.0.0.0/26"), epoch.Add(time.Second))
	if id := restored(s); id != "a.4.0" {
		t.Errorf("who saw it vanish gives the loan the id %s", id)
	}
	if id := restored(feed(pools, nil, endpoints, nodes)); !strings.HasSuffix(id, ".1.0") {
		t.Errorf("who did not see it gives the loan the id %s", id)
	}
}
