package blockplan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/infrastructure"
)

func holds(pool string, held ...string) v1alpha1.PoolClaim {
	return v1alpha1.PoolClaim{Pool: pool, Held: held}
}

// TestClaimsAreBounded plays claims that lie. n1 is the honest node.
func TestClaimsAreBounded(t *testing.T) {
	three := func(p *v1alpha1.IPPool) { p.Spec.MaxBlocksPerNode = 3 }
	honest := aNode("n1", wants("a", 1, 1))
	var all []string
	for i := range 16 {
		all = append(all, fmt.Sprintf("10.0.0.%d/28", i*16))
	}
	for _, c := range []struct {
		name      string
		blocks    []v1alpha1.IPBlock
		endpoints []v1alpha1.WorkloadEndpoint
		nodes     []testNode
		want      []string
	}{
		{name: "as many addresses as there are numbers: its share and no more", nodes: []testNode{honest, aNode("n2", wants("a", 65536, 65536))},
			want: []string{"create 10.0.0.0/28 for n2", "create 10.0.0.16/28 for n2", "create 10.0.0.32/28 for n1", "create 10.0.0.64/28 for n2"}},
		{name: "blocks that go count too", nodes: []testNode{aNode("n2", wants("a", 64, 0))},
			blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "a", "n2"), aBlock("10.0.0.16/28", "a", "n2", func(b *v1alpha1.IPBlock) { b.DeletionTimestamp = &b.CreationTimestamp })},
			want:   []string{"create 10.0.0.32/28 for n2"}},
		{name: "everything released", nodes: []testNode{honest, aNode("n2", wants("a", 0, 0, append([]string{"0.0.0.0/0"}, all...)...))},
			blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "a", "n3")},
			want:   []string{"create 10.0.0.32/28 for n1"}},
		{name: "everything held: as much as it could have", nodes: []testNode{honest, aNode("n2", holds("a", all...))},
			want: []string{"create 10.0.0.0/28 for n2", "create 10.0.0.16/28 for n2", "create 10.0.0.32/28 for n2", "create 10.0.0.64/28 for n1"}},
		{name: "everything held and everything wanted", nodes: []testNode{honest, aNode("n2", v1alpha1.PoolClaim{Pool: "a", Wanted: 65536, Waiting: 65536, Held: all[8:10]})},
			want: []string{"create 10.0.0.0/28 for n2", "create 10.0.0.128/28 for n2", "create 10.0.0.144/28 for n2", "create 10.0.0.32/28 for n1"}},
		{name: "another's block held, and the whole of it", nodes: []testNode{honest, aNode("n2", holds("a", "10.0.0.0/28", "10.0.0.0/27", "10.0.0.0/8", "0.0.0.0/0"))},
			blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "a", "n3")}, want: []string{"create 10.0.0.32/28 for n1"}},
		{name: "a block of another pool held", nodes: []testNode{honest, aNode("n2", holds("b", "10.0.0.0/28"))},
			want: []string{"create 10.0.0.0/28 for n1"}},
		{name: "a block outside the pool held", nodes: []testNode{aNode("n2", holds("a", "10.9.0.0/28"))}},
		{name: "forged records in all blocks of the pool", nodes: []testNode{honest, aNode("n2")},
			endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n2", "a", "10.0.0.1/32"), anEndpoint("n2", "a", "10.0.0.17/32"), anEndpoint("n2", "a", "10.0.0.33/32"),
				anEndpoint("n2", "a", "10.0.0.49/32"), anEndpoint("n2", "a", "10.0.0.65/32"), anEndpoint("n2", "a", "10.0.0.81/32")},
			want: []string{"create 10.0.0.0/28 for n2", "create 10.0.0.16/28 for n2", "create 10.0.0.32/28 for n2", "create 10.0.0.64/28 for n1"}},
		{name: "a record in another's block", nodes: []testNode{aNode("n1"), aNode("n2")}, blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "a", "n1")},
			endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n2", "a", "10.0.0.1/32")}},
		{name: "a vanished block is not cut over another's smaller one", nodes: []testNode{aNode("n1", holds("a", "10.0.0.0/28")), aNode("n2")},
			blocks:    []v1alpha1.IPBlock{aBlock("10.0.0.8/30", "gone", "n2")},
			endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n1", "a", "10.0.0.1/32")}},
		{name: "nor over another's larger one", nodes: []testNode{honest, aNode("n2", holds("a", "10.0.0.0/28"))},
			blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "gone", "n3")}, want: []string{"create 10.0.0.64/28 for n1"}},
		{name: "addresses in use say more than a claim", nodes: []testNode{aNode("n1"), aNode("n0", holds("a", "10.0.0.0/28"))},
			endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n1", "a", "10.0.0.1/32")}, want: []string{"create 10.0.0.0/28 for n1"}},
		{name: "a node without an address of its own gets nothing new", nodes: []testNode{{name: "n1", claims: []v1alpha1.PoolClaim{wants("a", 9, 9)}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := feed([]v1alpha1.IPPool{aPool("a", "10.0.0.0/24", 28, three)}, c.blocks, c.endpoints, c.nodes)
			got := show(s.Plan(Turn{Now: epoch, Budget: 100}))
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestRestoringHasABudget(t *testing.T) {
	s := feed([]v1alpha1.IPPool{aPool("a", "10.0.0.0/24", 28)}, nil, nil, []testNode{aNode("n1", holds("a", "10.0.0.0/28", "10.0.0.16/28", "10.0.0.32/28"))})
	if got, want := show(s.Plan(Turn{Now: epoch, Budget: 2})), []string{"create 10.0.0.0/28 for n1", "create 10.0.0.16/28 for n1", "more"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestAVanishedBlockIsKeptForItsNode: whoever claims it meanwhile.
func TestAVanishedBlockIsKeptForItsNode(t *testing.T) {
	p := netip.MustParsePrefix("10.0.0.0/28")
	s := feed([]v1alpha1.IPPool{aPool("a", "10.0.0.0/28", 28)}, []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "a", "n2")}, nil,
		[]testNode{aNode("n1", wants("a", 1, 1)), aNode("n2")})
	s.DropBlock(p, epoch.Add(5*time.Second))
	s.SetClaim("n0", []v1alpha1.PoolClaim{holds("a", "10.0.0.0/28")})
	s.SetNode("n0", nil, nil)
	s.SetFacts("n0", Facts{Addresses: []netip.Addr{netip.MustParseAddr("192.168.0.9")}})
	plan := s.Plan(Turn{Now: epoch, Budget: 9})
	if got := show(plan); !slices.Equal(got, []string{"short a 1 [n1]"}) || !plan.Again {
		t.Errorf("%q", got)
	}
	e := readEndpoint(anEndpoint("n2", "a", "10.0.0.5/32"))
	s.AddEndpoint(e)
	if got := show(s.Plan(Turn{Now: epoch, Budget: 9})); !slices.Equal(got, []string{"create 10.0.0.0/28 for n2", "short a 1 [n1]"}) {
		t.Errorf("%q", got)
	}
	s.DropEndpoint(e)
	s.SetClaim("n0", nil)
	if got := show(s.Plan(Turn{Now: epoch.Add(6 * time.Second), Budget: 9})); !slices.Equal(got, []string{"create 10.0.0.0/28 for n1"}) {
		t.Errorf("%q", got)
	}
}

func TestWhatTheInfrastructureNeedsIsNotGivenOut(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	underlay := func(address, subnet string) Facts {
		return Facts{Addresses: []netip.Addr{addr(address)}, Subnets: []netip.Prefix{prefix(subnet)}}
	}
	pools := []v1alpha1.IPPool{aPool("a", "10.0.0.0/24", 28, func(p *v1alpha1.IPPool) { p.Spec.MaxBlocksPerNode = 3 })}
	used := []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "a", "n1")}
	for _, c := range []struct {
		name   string
		blocks []v1alpha1.IPBlock
		change func(*State)
		hits   string // part of the phrase; nothing where there is no conflict
		gets   string
	}{
		{"nothing in common", nil, func(s *State) { s.SetFacts("n2", underlay("10.0.1.1", "10.0.1.0/24")) }, "", "10.0.0.0/28"},
		{"a node's address", nil, func(s *State) { s.SetNode("n2", nil, []netip.Addr{addr("10.0.0.9")}) }, "the address 10.0.0.9 of node n2", ""},
		{"inside a node's subnet", nil, func(s *State) { s.SetFacts("n2", underlay("10.1.0.1", "10.0.0.0/8")) }, "the subnet 10.0.0.0/8 of node n2", ""},
		{"the API server", nil, func(s *State) {
			s.SetInfrastructure([]infrastructure.Network{infrastructure.APIServer(addr("10.0.0.200"))})
		}, "of the API server", ""},
		{"a Service range", nil, func(s *State) {
			s.SetInfrastructure([]infrastructure.Network{infrastructure.ServiceRange(prefix("10.0.0.64/26"))})
		}, "the Service range 10.0.0.64/26", ""},
		{"a node comes later: the rest is given", used, func(s *State) { s.SetFacts("n2", underlay("10.0.0.17", "10.0.0.16/28")) }, "the subnet 10.0.0.16/28 of node n2", "10.0.0.32/28"},
		{"a subnet of several nodes comes later", used, func(s *State) {
			s.SetFacts("n2", underlay("10.0.0.17", "10.0.0.0/25"))
			s.SetNode("n3", nil, nil)
			s.SetFacts("n3", underlay("10.0.0.18", "10.0.0.0/25"))
		}, "the subnet 10.0.0.0/25 of node n2", "10.0.0.128/28"},
		{"one node alone can't withhold a pool in use", used, func(s *State) { s.SetFacts("n2", underlay("10.9.0.1", "10.0.0.0/8")) }, "the subnet 10.0.0.0/8 of node n2", "10.0.0.16/28"},
		{"nor keep a new one from starting with what its Node does not show", nil, func(s *State) {
			s.SetNode("n2", nil, []netip.Addr{addr("192.168.7.7")})
			s.SetFacts("n2", underlay("10.9.0.1", "10.0.0.0/8"))
		}, "the subnet 10.0.0.0/8 of node n2", "10.0.0.0/28"},
		{"a Node that is gone", nil, func(s *State) {
			s.SetFacts("n2", underlay("10.0.0.9", "10.0.0.0/24"))
			s.DropNode("n2")
		}, "", "10.0.0.0/28"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := feed(pools, c.blocks, nil, []testNode{aNode("n1", wants("a", 20, 0)), aNode("n2")})
			s.Plan(Turn{Now: epoch, Budget: 0})
			c.change(s)
			plan := s.Plan(Turn{Now: epoch, Budget: 1})
			got := ""
			for _, b := range plan.Create {
				got = b.Prefix.String()
			}
			said := infrastructure.Describe(s.Summary("a").Conflicts)
			if got != c.gets || !strings.Contains(said, c.hits) || (said == "") != (c.hits == "") {
				t.Errorf("gets %q and hits %q, want %q and %q", got, said, c.gets, c.hits)
			}
		})
	}
}
