package blockplan

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func byRack(bits int32) func(*v1alpha1.IPPool) {
	return func(p *v1alpha1.IPPool) {
		p.Spec.Aggregation = &v1alpha1.Aggregation{TopologyKey: "rack", PrefixLength: bits}
	}
}

func inRack(rack string, n testNode) testNode {
	n.labels = map[string]string{"rack": rack}
	return n
}

// settle plans until nothing is left to create, and returns the last plan.
func settle(t *testing.T, s *State) Plan {
	t.Helper()
	for range 1000 {
		plan := s.Plan(Turn{Now: epoch, Budget: 64})
		if len(plan.Create) == 0 {
			return plan
		}
		for _, c := range plan.Create {
			if s.blocks[c.Prefix] != nil {
				t.Fatalf("%s is given twice", c.Prefix)
			}
			s.Created(c, epoch)
		}
	}
	t.Fatal("the plans do not come to an end")
	return Plan{}
}

// TestAThousandNodesInTwentyRacks: each rack's blocks lie in one prefix, which no other rack has, after growth too.
func TestAThousandNodesInTwentyRacks(t *testing.T) {
	s := New()
	s.SetPool(mustPool(aPool("a", "10.0.0.0/12", 26, byRack(19))))
	rack := func(i int) string { return fmt.Sprintf("r%d", i%20) }
	name := func(i int) string { return fmt.Sprintf("n%d", i) }
	for i := range 1000 {
		s.SetNode(name(i), map[string]string{"rack": rack(i)}, nil)
		s.SetFacts(name(i), Facts{Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 168, byte(i / 250), byte(i % 250)})}})
	}
	for _, wanted := range []int32{32, 100} { // one block, then two
		for i := range 1000 {
			s.SetClaim(name(i), []v1alpha1.PoolClaim{wants("a", wanted, 0)})
		}
		settle(t, s)
		owner := map[netip.Prefix]string{}
		for prefix, b := range s.blocks {
			aggregate, _ := prefix.Addr().Prefix(19)
			r := s.nodes[b.Node].labels["rack"]
			if o, known := owner[aggregate]; known && o != r {
				t.Fatalf("%s has blocks of %s and %s", aggregate, o, r)
			}
			owner[aggregate] = r
		}
		if want := 1000 * (1 + int(wanted)/64); len(owner) != 20 || len(s.blocks) != want {
			t.Errorf("%d blocks in %d prefixes, want %d in 20", len(s.blocks), len(owner), want)
		}
	}
}

func TestAggregation(t *testing.T) {
	reserved := func(p *v1alpha1.IPPool) { p.Spec.Reserved = []string{"10.0.0.0/26"} }
	for _, c := range []struct {
		name   string
		pools  []v1alpha1.IPPool
		blocks []v1alpha1.IPBlock
		nodes  []testNode
		want   []string
		full   []FullAggregate
	}{
		{name: "racks get prefixes of their own, nodes without the label too",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26, byRack(24))},
			nodes: []testNode{inRack("x", aNode("n1", wants("a", 9, 0))), inRack("y", aNode("n2", wants("a", 9, 0))), inRack("x", aNode("n3", wants("a", 9, 0))), aNode("n4", wants("a", 9, 0))},
			want:  []string{"create 10.0.0.0/26 for n1", "create 10.0.1.0/26 for n2", "create 10.0.0.128/26 for n3", "create 10.0.2.0/26 for n4"}},
		{name: "a full prefix is followed by another",
			pools:  []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26, byRack(25))},
			blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1"), aBlock("10.0.0.128/26", "a", "n2")},
			nodes:  []testNode{inRack("x", aNode("n1", wants("a", 150, 150))), inRack("y", aNode("n2"))},
			want:   []string{"create 10.0.0.64/26 for n1", "create 10.0.1.0/26 for n1"}},
		{name: "a rack without a prefix waits, although others have room",
			pools:  []v1alpha1.IPPool{aPool("a", "10.0.0.0/24", 26, byRack(25))},
			blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1"), aBlock("10.0.0.128/26", "a", "n2")},
			nodes:  []testNode{inRack("x", aNode("n1", wants("a", 100, 0))), inRack("y", aNode("n2")), inRack("z", aNode("n3", wants("a", 9, 2)))},
			want:   []string{"create 10.0.0.64/26 for n1"}, full: []FullAggregate{{Pool: "a", Waiting: 2, Nodes: []string{"n3"}}}},
		{name: "where no block is left for anybody, the pool is short",
			pools:  []v1alpha1.IPPool{aPool("a", "10.0.0.0/25", 27, byRack(26))},
			blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/27", "a", "n1"), aBlock("10.0.0.32/27", "a", "n1"), aBlock("10.0.0.64/27", "a", "n2")},
			nodes:  []testNode{inRack("x", aNode("n1")), inRack("y", aNode("n2", wants("a", 40, 40))), inRack("z", aNode("n3", wants("a", 9, 2)))},
			want:   []string{"create 10.0.0.96/27 for n2", "short a 2 [n3]"}},
		{name: "a reserved block keeps nobody from the rest of a prefix",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/24", 26, byRack(25), reserved)},
			nodes: []testNode{inRack("x", aNode("n1", wants("a", 9, 0)))}, want: []string{"create 10.0.0.64/26 for n1"}},
		{name: "blocks from before: a prefix belongs to the rack with most blocks in it",
			pools:  []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26, byRack(24))},
			blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1"), aBlock("10.0.0.64/26", "a", "n2"), aBlock("10.0.0.128/26", "a", "n2")},
			nodes:  []testNode{inRack("x", aNode("n1", wants("a", 100, 0))), inRack("y", aNode("n2", wants("a", 150, 0)))},
			want:   []string{"create 10.0.0.192/26 for n2", "create 10.0.1.0/26 for n1"}},
		{name: "a prefix with blocks of a node that is gone goes to nobody",
			pools:  []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26, byRack(24))},
			blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n9")},
			nodes:  []testNode{inRack("x", aNode("n1", wants("a", 9, 0)))}, want: []string{"create 10.0.1.0/26 for n1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := feed(c.pools, c.blocks, nil, c.nodes).Plan(Turn{Now: epoch, Budget: 100})
			got := slices.DeleteFunc(show(plan), func(line string) bool { return line[:4] == "mend" })
			slices.Sort(got)
			slices.Sort(c.want)
			same := slices.EqualFunc(plan.Full, c.full, func(a, b FullAggregate) bool {
				return a.Pool == b.Pool && a.Waiting == b.Waiting && slices.Equal(a.Nodes, b.Nodes)
			})
			if !slices.Equal(got, c.want) || !same {
				t.Errorf("got  %q, full %v\nwant %q, full %v", got, plan.Full, c.want, c.full)
			}
		})
	}
}

// TestARackThatIsFullIsServedWhenAPrefixIsFree: the last block of another rack's prefix goes.
func TestARackThatIsFullIsServedWhenAPrefixIsFree(t *testing.T) {
	s := feed([]v1alpha1.IPPool{aPool("a", "10.0.0.0/24", 26, byRack(25))},
		[]v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1"), aBlock("10.0.0.128/26", "a", "n2")}, nil,
		[]testNode{inRack("x", aNode("n1", wants("a", 0, 0, "10.0.0.0/26"))), inRack("y", aNode("n2")), inRack("z", aNode("n3", wants("a", 9, 2)))})
	if plan := settle(t, s); len(plan.Full) != 1 {
		t.Errorf("rack z has a prefix: %v", plan.Full)
	}
	s.DropBlock(netip.MustParsePrefix("10.0.0.0/26"), epoch)
	if plan := settle(t, s); len(plan.Full) != 0 || s.blocks[netip.MustParsePrefix("10.0.0.0/26")].Node != "n3" {
		t.Errorf("rack z still waits: %v", plan.Full)
	}
}

// TestAggregationUnderChurn: nodes of racks ask for more, release blocks and leave, in any order. No rack gets a block in a prefix in which
// another rack has one, no block is given twice, and a node waits in vain only where no prefix is left for its rack.
func TestAggregationUnderChurn(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := New()
		s.SetPool(mustPool(aPool("a", "10.0.0.0/22", 28, byRack(25))))
		rack := func(node int) string { return fmt.Sprintf("r%d", node%5) }
		name := func(node int) string { return fmt.Sprintf("n%d", node) }
		for range 60 {
			node := random.IntN(15)
			switch random.IntN(4) {
			case 0, 1:
				inRack(rack(node), aNode(name(node), wants("a", int32(random.IntN(80)), int32(random.IntN(80))))).feed(s)
			case 2: // a node gives all back, and the blocks go
				for prefix, b := range s.blocks {
					if b.Node == name(node) {
						s.LetGo(prefix)
						s.DropBlock(prefix, epoch)
					}
				}
				s.SetClaim(name(node), nil)
			case 3:
				s.DropNode(name(node))
			}
			full := settle(t, s).Full
			owners := map[netip.Prefix]string{}
			for prefix, b := range s.blocks {
				var n int
				if _, err := fmt.Sscanf(b.Node, "n%d", &n); err != nil {
					t.Fatal(err)
				}
				aggregate, _ := prefix.Addr().Prefix(25)
				if other, known := owners[aggregate]; known && other != rack(n) {
					t.Fatalf("seed %d: %s has blocks of %s and %s", seed, aggregate, other, rack(n))
				}
				owners[aggregate] = rack(n)
			}
			if len(full) > 0 && len(owners) < 8 {
				t.Fatalf("seed %d: %v wait although only %d of 8 prefixes are in use", seed, full, len(owners))
			}
		}
	}
}
