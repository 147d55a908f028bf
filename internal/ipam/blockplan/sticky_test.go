package blockplan

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

func stickyPool(p *v1alpha1.IPPool) { p.Spec.Sticky = v1alpha1.StickyStatefulSet }

func remember(s *State, pod string, addresses ...string) {
	var all []sticky.Address
	for _, a := range addresses {
		all = append(all, sticky.Address{Addr: netip.MustParseAddr(a), Pool: "p"})
	}
	s.SetRemembered(types.NamespacedName{Namespace: "shop", Name: pod}, all)
}

// TestRememberedAddresses: an address that is remembered travels, is free for nobody else, and lies in no range that is lent.
func TestRememberedAddresses(t *testing.T) {
	small := func(p *v1alpha1.IPPool) { stickyPool(p); p.Spec.MaxBlocksPerNode = 1 }
	lent := v1alpha1.Loan{CIDR: "10.0.0.4/30", Node: "n3", NodeAddresses: []string{"192.168.0.3"}, Granted: true, ID: "a.4.0"}
	mine := v1alpha1.Loan{CIDR: "10.0.0.4/30", Node: "n2", NodeAddresses: []string{"192.168.0.2"}, Granted: true, ID: "a.4.0"}
	for _, c := range []struct {
		name       string
		pool       v1alpha1.IPPool
		blocks     []v1alpha1.IPBlock
		endpoints  []v1alpha1.WorkloadEndpoint
		nodes      []testNode
		remembered []string
		want       []string
		stuck      string
	}{
		{name: "in no block", pool: aPool("p", "10.0.0.0/24", 28, stickyPool), nodes: []testNode{aNode("n2", asks("10.0.0.70"))}, remembered: []string{"10.0.0.70"},
			want: []string{"create 10.0.0.64/28 for n2"}},
		{name: "the pool lets no pod ask for others", pool: aPool("p", "10.0.0.0/24", 28, stickyPool), nodes: []testNode{aNode("n2", asks("10.0.0.71"))}, remembered: []string{"10.0.0.70"}},
		{name: "the pool is not sticky any more", pool: aPool("p", "10.0.0.0/24", 28), nodes: []testNode{aNode("n2", asks("10.0.0.70"))}, remembered: []string{"10.0.0.70"}},
		{name: "in another node's block", pool: aPool("p", "10.0.0.0/24", 28, stickyPool), blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "p", "n1", lending())},
			nodes: []testNode{aNode("n1"), aNode("n2", asks("10.0.0.5"))}, remembered: []string{"10.0.0.5"}, want: []string{"lend of 10.0.0.0/28: 10.0.0.5/32 to n2 (a.5.0, granted false)"}},
		{name: "in a range that another node has", pool: aPool("p", "10.0.0.0/24", 28, stickyPool), blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "p", "n1", lending(lent))},
			nodes: []testNode{aNode("n1"), aNode("n3"), aNode("n2", asks("10.0.0.5"))}, remembered: []string{"10.0.0.5"}, stuck: "10.0.0.5 to n2: it lies in a range that another node has borrowed and uses for other pods"},
		{name: "in a range that the node has", pool: aPool("p", "10.0.0.0/24", 28, stickyPool), blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "p", "n1", lending(mine))},
			nodes: []testNode{aNode("n1"), aNode("n2", asks("10.0.0.5"))}, remembered: []string{"10.0.0.5"}},
		{name: "nobody remembers it, and it can't travel", pool: aPool("p", "10.0.0.0/24", 28, travels), blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "p", "n1", lending(lent))},
			nodes: []testNode{aNode("n1"), aNode("n3"), aNode("n2", asks("10.0.0.5"))}},
		{name: "the node has all the blocks that it may have", pool: aPool("p", "10.0.0.0/24", 28, small), blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "p", "n2")},
			nodes: []testNode{aNode("n2", asks("10.0.0.70"))}, remembered: []string{"10.0.0.70"}, stuck: "10.0.0.70 to n2: node n2 has as much of the pool as maxBlocksPerNode lets one node have"},
		{name: "and can't borrow", pool: aPool("p", "10.0.0.0/24", 28, small), blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "p", "n2"), aBlock("10.0.0.64/28", "p", "n1", lending())},
			nodes: []testNode{aNode("n1"), aNode("n2", asks("10.0.0.70"))}, remembered: []string{"10.0.0.70"}, stuck: "10.0.0.70 to n2: node n2 has as much of the pool as maxBlocksPerNode lets one node have"},

		{name: "a block of two addresses for pods, and two are remembered", pool: aPool("p", "10.0.0.0/28", 30, stickyPool), blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/30", "p", "n1")},
			nodes: []testNode{aNode("n1", wants("p", 2, 2))}, remembered: []string{"10.0.0.1", "10.0.0.2"}, want: []string{"create 10.0.0.4/30 for n1"}},
		{name: "a pod has one of them", pool: aPool("p", "10.0.0.0/28", 30, stickyPool), blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/30", "p", "n1")},
			endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n1", "p", "10.0.0.1/32")}, nodes: []testNode{aNode("n1", wants("p", 1, 1))}, remembered: []string{"10.0.0.1"}},
		{name: "no new block is all remembered", pool: aPool("p", "10.0.0.0/29", 31, stickyPool), nodes: []testNode{aNode("n1", wants("p", 1, 1))}, remembered: []string{"10.0.0.1", "10.0.0.3"},
			want: []string{"create 10.0.0.4/31 for n1"}},
		{name: "none of it is lent with others", pool: aPool("p", "10.0.0.0/29", 29, stickyPool), blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/29", "p", "n1", lending())},
			nodes: []testNode{aNode("n1"), aNode("n2", wants("p", 2, 2))}, remembered: []string{"10.0.0.6"}, want: []string{"lend of 10.0.0.0/29: 10.0.0.4/31 to n2 (a.5.0, granted false)"}},
	} {
		s := feed([]v1alpha1.IPPool{c.pool}, c.blocks, c.endpoints, c.nodes)
		remember(s, "db-0", c.remembered...)
		plan := s.Plan(Turn{Now: epoch, Budget: 10})
		stuck := ""
		for _, one := range plan.Stuck {
			stuck += fmt.Sprintf("%s to %s: %s", one.Address, one.Node, one.Reason)
		}
		if got := show(plan); !slices.Equal(got, c.want) || stuck != c.stuck {
			t.Errorf("%s: %q, stuck %q", c.name, got, stuck)
		}
	}
}

// TestWhatIsRememberedCountsForItsNamespace: as long as the pod does not have it, which counts then.
func TestWhatIsRememberedCountsForItsNamespace(t *testing.T) {
	pool := aPool("p", "10.0.0.0/24", 28, func(p *v1alpha1.IPPool) {
		p.Spec.NamespaceLimits = []v1alpha1.NamespaceLimit{{Namespace: "shop", Addresses: 2}}
	})
	s := feed([]v1alpha1.IPPool{pool}, []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "p", "n1")}, nil, []testNode{aNode("n1")})
	wants := func(what string, remembered int64, atLimit int) {
		t.Helper()
		if got := s.Summary("p").Remembered; got != remembered || len(s.AtLimit(&pool)) != atLimit {
			t.Errorf("%s: %d are remembered, at their limit are %v", what, got, s.AtLimit(&pool))
		}
	}
	remember(s, "db-0", "10.0.0.1")
	wants("one of two", 1, 0)
	remember(s, "db-1", "10.0.0.2")
	wants("two of two", 2, 1)
	e := NewEndpoint("shop", "n1", []netip.Addr{netip.MustParseAddr("10.0.0.2")}, []string{"p"})
	s.AddEndpoint(e)
	wants("one has its pod", 1, 1)
	remember(s, "db-1")
	wants("and is not remembered any longer", 1, 1)
	s.DropEndpoint(e)
	wants("and is free", 1, 0)
	remember(s, "db-0")
	wants("nothing", 0, 0)
	if len(s.census) != 0 || len(s.remembered) != 0 || len(s.memories) != 0 {
		t.Errorf("left are %v, %v, %v", s.census, s.remembered, s.memories)
	}
}
