package blockplan

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func aRange(cidr, to string, granted bool) v1alpha1.Loan {
	return v1alpha1.Loan{CIDR: cidr, Node: to, NodeAddresses: []string{"192.168.0." + to[1:]}, Granted: granted, ID: "a.4.0"}
}

// TestRangesAreLent: who lends how much when no block is left.
func TestRangesAreLent(t *testing.T) {
	full := []v1alpha1.WorkloadEndpoint{}
	for i := range 7 {
		full = append(full, anEndpoint("n1", "p", fmt.Sprintf("10.0.0.%d/32", i+1)))
	}
	one := func(p *v1alpha1.IPPool) { p.Spec.MaxBlocksPerNode = 1 }
	reserved := func(p *v1alpha1.IPPool) { p.Spec.Reserved = []string{"10.0.0.4-10.0.0.7", "10.0.0.9-10.0.0.14"} }
	racks := func(p *v1alpha1.IPPool) {
		bits := int32(28)
		p.Spec.CIDR, p.Spec.Aggregation = "10.0.0.0/27", &v1alpha1.Aggregation{TopologyKey: "rack", PrefixLength: bits}
	}
	terminating := func(b *v1alpha1.IPBlock) { b.DeletionTimestamp = &metav1.Time{Time: epoch} }
	in := func(rack string, n testNode) testNode {
		n.labels = map[string]string{"rack": rack}
		return n
	}
	borrower := func(waiting int32) testNode { return aNode("n3", wants("p", waiting, waiting)) }
	for _, c := range []struct {
		name      string
		pool      []func(*v1alpha1.IPPool)
		first     []func(*v1alpha1.IPBlock) // of 10.0.0.0/29, which is n1's; 10.0.0.8/29 is n2's
		endpoints []v1alpha1.WorkloadEndpoint
		nodes     []testNode
		want      []string
	}{
		{name: "nobody waits", nodes: []testNode{aNode("n1"), aNode("n2"), aNode("n3", wants("p", 4, 0))}},
		{name: "one waits", nodes: []testNode{aNode("n1"), aNode("n2"), borrower(1)},
			want: []string{"lend of 10.0.0.0/29: 10.0.0.7/32 to n3 (a.5.0, granted false)"}},
		{name: "the one with most free lends", endpoints: full[:1], nodes: []testNode{aNode("n1"), aNode("n2"), borrower(1)},
			want: []string{"lend of 10.0.0.8/29: 10.0.0.15/32 to n3 (a.5.0, granted false)"}},
		{name: "as much as is waited for, and no more", nodes: []testNode{aNode("n1"), aNode("n2"), borrower(6)},
			want: []string{"lend of 10.0.0.0/29: 10.0.0.4/30 to n3 (a.5.0, granted false) 10.0.0.2/31 to n3 (a.5.1, granted false)"}},
		{name: "all there is, from two", nodes: []testNode{aNode("n1"), aNode("n2"), borrower(20)},
			want: []string{"lend of 10.0.0.0/29: 10.0.0.4/30 to n3 (a.5.0, granted false) 10.0.0.2/31 to n3 (a.5.1, granted false) 10.0.0.1/32 to n3 (a.5.2, granted false)",
				"lend of 10.0.0.8/29: 10.0.0.12/30 to n3 (a.5.0, granted false) 10.0.0.10/31 to n3 (a.5.1, granted false) 10.0.0.9/32 to n3 (a.5.2, granted false)", "short p 6 [n3]"}},
		{name: "two borrow in turn", nodes: []testNode{aNode("n1"), aNode("n2"), borrower(2), aNode("n4", wants("p", 1, 1))},
			want: []string{"lend of 10.0.0.0/29: 10.0.0.6/31 to n3 (a.5.0, granted false) 10.0.0.5/32 to n4 (a.5.1, granted false)"}},
		{name: "what is reserved is not lent", pool: []func(*v1alpha1.IPPool){reserved}, nodes: []testNode{aNode("n1"), aNode("n2"), borrower(4)},
			want: []string{"lend of 10.0.0.0/29: 10.0.0.2/31 to n3 (a.5.0, granted false) 10.0.0.1/32 to n3 (a.5.1, granted false)", "lend of 10.0.0.8/29: 10.0.0.15/32 to n3 (a.5.0, granted false)"}},
		{name: "a node on which pods wait lends nothing", nodes: []testNode{aNode("n1", wants("p", 8, 8)), aNode("n2"), borrower(1)},
			want: []string{"lend of 10.0.0.8/29: 10.0.0.15/32 to n1 (a.5.0, granted false) 10.0.0.14/32 to n3 (a.5.1, granted false)"}},
		{name: "a block that is being deleted lends nothing", first: []func(*v1alpha1.IPBlock){terminating}, nodes: []testNode{aNode("n1"), aNode("n2"), borrower(1)},
			want: []string{"lend of 10.0.0.8/29: 10.0.0.15/32 to n3 (a.5.0, granted false)"}},
		{name: "racks lend to themselves only", pool: []func(*v1alpha1.IPPool){racks}, nodes: []testNode{in("a", aNode("n1")), in("b", aNode("n2")), in("b", borrower(1))},
			want: []string{"create 10.0.0.16/29 for n3"}},

		{name: "the range is waited for", first: []func(*v1alpha1.IPBlock){lending(aRange("10.0.0.4/30", "n3", false))}, nodes: []testNode{aNode("n1"), aNode("n2"), borrower(4)}},
		{name: "the lender has given it up", first: []func(*v1alpha1.IPBlock){lending(aRange("10.0.0.4/30", "n3", false))},
			nodes: []testNode{aNode("n1", gives("a.4.0")), aNode("n2"), borrower(4)}, want: []string{"lend of 10.0.0.0/29: 10.0.0.4/30 to n3 (a.4.0, granted true)"}},
		{name: "nobody waits any more", first: []func(*v1alpha1.IPBlock){lending(aRange("10.0.0.4/30", "n3", false))},
			nodes: []testNode{aNode("n1"), aNode("n2"), borrower(0)}, want: []string{"lend of 10.0.0.0/29:"}},
		{name: "lent, and more pods wait", first: []func(*v1alpha1.IPBlock){lending(aRange("10.0.0.4/30", "n3", true))},
			nodes: []testNode{aNode("n1"), aNode("n2"), borrower(5)}, want: []string{"lend of 10.0.0.8/29: 10.0.0.15/32 to n3 (a.5.0, granted false)"}},
		{name: "it has come back", first: []func(*v1alpha1.IPBlock){lending(aRange("10.0.0.4/30", "n3", true))},
			nodes: []testNode{aNode("n1"), aNode("n2"), aNode("n3", gives("a.4.0"))}, want: []string{"lend of 10.0.0.0/29:"}},
		{name: "no more than the node could have of its own", pool: []func(*v1alpha1.IPPool){one}, first: []func(*v1alpha1.IPBlock){lending(aRange("10.0.0.4/30", "n3", true), aRange("10.0.0.2/31", "n3", true))},
			nodes: []testNode{aNode("n1"), aNode("n2"), borrower(12)}, want: []string{"lend of 10.0.0.8/29: 10.0.0.15/32 to n3 (a.5.0, granted false)", "short p 5 [n3]"}},
		{name: "as much as the node could have of its own", pool: []func(*v1alpha1.IPPool){one}, first: []func(*v1alpha1.IPBlock){lending(aRange("10.0.0.4/30", "n3", true), aRange("10.0.0.2/31", "n3", true), aRange("10.0.0.1/32", "n3", true))},
			nodes: []testNode{aNode("n1"), aNode("n2"), borrower(12)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			blocks := []v1alpha1.IPBlock{aBlock("10.0.0.0/29", "p", "n1", append([]func(*v1alpha1.IPBlock){lending()}, c.first...)...), aBlock("10.0.0.8/29", "p", "n2", lending())}
			for i := range blocks[0].Spec.Lent {
				blocks[0].Spec.Lent[i].ID = fmt.Sprintf("a.4.%d", i)
			}
			s := feed([]v1alpha1.IPPool{aPool("p", "10.0.0.0/28", 29, c.pool...)}, blocks, c.endpoints, c.nodes)
			if got := show(s.Plan(Turn{Now: epoch, Budget: 10})); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A lender that does not answer is left alone for a while, and another one is asked.
func TestAnotherNodeIsAskedToLend(t *testing.T) {
	pools := []v1alpha1.IPPool{aPool("p", "10.0.0.0/28", 29)}
	asked := aBlock("10.0.0.0/29", "p", "n1", lending(aRange("10.0.0.7/32", "n3", false)))
	blocks := []v1alpha1.IPBlock{asked, aBlock("10.0.0.8/29", "p", "n2", lending())}
	s := feed(pools, blocks, nil, []testNode{aNode("n1"), aNode("n2"), aNode("n3", wants("p", 1, 1))})
	plan := func(after time.Duration) []string { return show(s.Plan(Turn{Now: epoch.Add(after), Budget: 10})) }
	if got := plan(0); len(got) != 0 {
		t.Errorf("at once: %q", got)
	}
	if got := plan(answer); !slices.Equal(got, []string{"lend of 10.0.0.0/29:"}) {
		t.Errorf("it has not answered: %q", got)
	}
	s.SetBlock(readBlock(aBlock("10.0.0.0/29", "p", "n1", lending())))
	if got := plan(answer); !slices.Equal(got, []string{"lend of 10.0.0.8/29: 10.0.0.15/32 to n3 (a.5.0, granted false)"}) {
		t.Errorf("then: %q", got)
	}
	s.SetClaim("n2", []v1alpha1.PoolClaim{wants("p", 8, 8)})
	if got := plan(answer); len(got) == 0 || got[0] != "short p 2 [n2 n3]" {
		t.Errorf("nobody else has room: %q", got)
	}
	if got := plan(answer + patience + time.Second); len(got) == 0 || got[0] != "lend of 10.0.0.0/29: 10.0.0.7/32 to n2 (a.5.0, granted false) 10.0.0.6/32 to n3 (a.5.1, granted false)" {
		t.Errorf("later: %q", got)
	}
}
