package blockplan

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func pool(name, cidr string, bits int32, change ...func(*v1alpha1.IPPool)) v1alpha1.IPPool {
	p := v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{v1alpha1.FinalizerPool}, CreationTimestamp: metav1.NewTime(epoch)}}
	p.Spec = v1alpha1.IPPoolSpec{CIDR: cidr, BlockSize: &bits}
	for _, c := range change {
		c(&p)
	}
	return p
}

func block(cidr, pool, node string, change ...func(*v1alpha1.IPBlock)) v1alpha1.IPBlock {
	b := v1alpha1.IPBlock{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.BlockName(netip.MustParsePrefix(cidr)), Finalizers: []string{v1alpha1.FinalizerBlock}}}
	b.Spec = v1alpha1.IPBlockSpec{CIDR: cidr, Pool: pool, Node: node, NodeAddresses: []string{"192.168.0." + node[1:]}}
	for _, c := range change {
		c(&b)
	}
	return b
}

func endpoint(node, pool string, addresses ...string) v1alpha1.WorkloadEndpoint {
	w := v1alpha1.WorkloadEndpoint{}
	w.Spec.Node, w.Spec.Addresses = node, addresses
	for range addresses {
		w.Spec.Pools = append(w.Spec.Pools, pool)
	}
	return w
}

func node(name string, demands ...v1alpha1.PoolClaim) Node {
	return Node{Name: name, Present: true, Addresses: []string{"192.168.0." + name[1:]}, Claims: demands}
}

func wants(pool string, wanted, waiting int32, released ...string) v1alpha1.PoolClaim {
	return v1alpha1.PoolClaim{Pool: pool, Wanted: wanted, Waiting: waiting, Released: released}
}

func show(p Plan) []string {
	var out []string
	for _, c := range p.Create {
		out = append(out, fmt.Sprintf("create %s for %s", c.Prefix, c.Node))
	}
	for _, r := range p.Release {
		out = append(out, "release "+r.Object.Spec.CIDR)
	}
	for _, m := range p.Mend {
		out = append(out, fmt.Sprintf("mend %s %v", m.Object.Spec.CIDR, m.Addresses))
	}
	for _, s := range p.Shortages {
		out = append(out, fmt.Sprintf("short %s %d %v", s.Pool, s.Waiting, s.Nodes))
	}
	if p.More {
		out = append(out, "more")
	}
	return out
}

func TestPlan(t *testing.T) {
	terminating := func(b *v1alpha1.IPBlock) { b.DeletionTimestamp = &metav1.Time{Time: epoch} }
	later := func(p *v1alpha1.IPPool) { p.CreationTimestamp = metav1.NewTime(epoch.Add(time.Hour)) }
	for _, c := range []struct {
		name      string
		pools     []v1alpha1.IPPool
		blocks    []v1alpha1.IPBlock
		endpoints []v1alpha1.WorkloadEndpoint
		nodes     []Node
		change    func(*Input)
		want      []string
	}{
		{name: "a node gets its first block",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26)}, nodes: []Node{node("n1", wants("a", 32, 0))},
			want: []string{"create 10.0.0.0/26 for n1"}},
		{name: "enough is enough",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26)}, blocks: []v1alpha1.IPBlock{block("10.0.0.0/26", "a", "n1")},
			nodes: []Node{node("n1", wants("a", 63, 0))}},
		{name: "an address in use counts",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26)}, blocks: []v1alpha1.IPBlock{block("10.0.0.0/26", "a", "n1")},
			endpoints: []v1alpha1.WorkloadEndpoint{endpoint("n1", "a", "10.0.0.1/32")},
			nodes:     []Node{node("n1", wants("a", 63, 0))}, want: []string{"create 10.0.0.64/26 for n1"}},
		{name: "a storm gets several at once, those who wait first, in turn",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 30)},
			nodes: []Node{node("n1", wants("a", 3, 0)), node("n2", wants("a", 3, 5)), node("n3", wants("a", 3, 4))},
			want:  []string{"create 10.0.0.0/30 for n2", "create 10.0.0.4/30 for n3", "create 10.0.0.8/30 for n2", "create 10.0.0.12/30 for n3", "create 10.0.0.16/30 for n1"}},
		{name: "what was just created counts",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26)}, nodes: []Node{node("n1", wants("a", 32, 0)), node("n2", wants("a", 32, 0))},
			change: func(in *Input) {
				in.Pending = []NewBlock{{Prefix: netip.MustParsePrefix("10.0.0.0/26"), Pool: "a", Node: "n1"}}
			},
			want: []string{"create 10.0.0.64/26 for n2"}},
		{name: "the budget ends a round",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 32)}, nodes: []Node{node("n1", wants("a", 1<<30, 0))},
			change: func(in *Input) { in.Budget = 2 }, want: []string{"create 10.0.0.0/32 for n1", "create 10.0.0.1/32 for n1", "more"}},
		{name: "an exhausted pool serves nobody's reserve",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26)}, nodes: []Node{node("n1", wants("a", 32, 0)), node("n2", wants("a", 64, 1))},
			change: func(in *Input) { in.Exhausted = map[string]bool{"a": true} }, want: []string{"create 10.0.0.0/26 for n2"}},
		{name: "a full pool says who waits",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/30", 30)}, blocks: []v1alpha1.IPBlock{block("10.0.0.0/30", "a", "n1")},
			nodes: []Node{node("n1", wants("a", 3, 0)), node("n2", wants("a", 3, 2)), node("n3", wants("a", 9, 0))},
			want:  []string{"short a 2 [n2]"}},
		{name: "a pool without our finalizer gives nothing yet",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26, func(p *v1alpha1.IPPool) { p.Finalizers = nil })}, nodes: []Node{node("n1", wants("a", 32, 0))}},
		{name: "disabled", pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26, func(p *v1alpha1.IPPool) { p.Spec.Disabled = true })}, nodes: []Node{node("n1", wants("a", 32, 0))}},
		{name: "terminating", pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26, func(p *v1alpha1.IPPool) { p.DeletionTimestamp = &metav1.Time{Time: epoch} })}, nodes: []Node{node("n1", wants("a", 32, 0))}},
		{name: "overlap: the younger gives nothing",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26, later), pool("b", "10.0.0.0/8", 26)},
			nodes: []Node{node("n1", wants("a", 32, 0), wants("b", 32, 0))}, want: []string{"create 10.0.0.0/26 for n1"}},
		{name: "the selector",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26, func(p *v1alpha1.IPPool) {
				p.Spec.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"rack": "1"}}
			})}, nodes: []Node{node("n1", wants("a", 32, 0))}},
		{name: "an absent node gets nothing",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26)}, nodes: []Node{{Name: "n1", Claims: []v1alpha1.PoolClaim{wants("a", 32, 9)}}}},
		{name: "released, and its prefix is not given out in the same breath",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/25", 26)}, blocks: []v1alpha1.IPBlock{block("10.0.0.0/26", "a", "n1", terminating)},
			nodes: []Node{node("n1", wants("a", 0, 0, "10.0.0.0/26")), node("n2", wants("a", 64, 0))},
			want:  []string{"create 10.0.0.64/26 for n2", "release 10.0.0.0/26"}},
		{name: "still listed as released after it went: not given out",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/26", 26)}, nodes: []Node{node("n1", wants("a", 32, 0, "10.0.0.0/26"))}},
		{name: "listed as released by a node that does not own it",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26)}, blocks: []v1alpha1.IPBlock{block("10.0.0.0/26", "a", "n1")},
			nodes: []Node{node("n1"), node("n2", wants("a", 0, 0, "10.0.0.0/26"))}},
		{name: "released but in use", pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26)},
			blocks:    []v1alpha1.IPBlock{block("10.0.0.0/26", "a", "n1")},
			endpoints: []v1alpha1.WorkloadEndpoint{endpoint("n1", "a", "10.0.0.5/32")},
			nodes:     []Node{node("n1", wants("a", 0, 0, "10.0.0.0/26"))}},
		{name: "deleted by hand: it stays, and a new one takes over",
			pools: []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26)}, blocks: []v1alpha1.IPBlock{block("10.0.0.0/26", "a", "n1", terminating)},
			endpoints: []v1alpha1.WorkloadEndpoint{endpoint("n1", "a", "10.0.0.5/32")},
			nodes:     []Node{node("n1", wants("a", 32, 0))}, want: []string{"create 10.0.0.64/26 for n1"}},
		{name: "vanished with addresses in it: made again, for the same node",
			pools:     []v1alpha1.IPPool{pool("a", "10.0.0.0/26", 26)},
			endpoints: []v1alpha1.WorkloadEndpoint{endpoint("n1", "a", "10.0.0.5/32")},
			nodes:     []Node{node("n1", wants("a", 32, 0)), node("n2", wants("a", 32, 1))},
			want:      []string{"create 10.0.0.0/26 for n1", "short a 1 [n2]"}},
		{name: "vanished, in a disabled pool",
			pools:     []v1alpha1.IPPool{pool("a", "10.0.0.0/26", 26, func(p *v1alpha1.IPPool) { p.Spec.Disabled = true })},
			endpoints: []v1alpha1.WorkloadEndpoint{endpoint("n1", "a", "10.0.0.5/32")},
			nodes:     []Node{node("n1")}, want: []string{"create 10.0.0.0/26 for n1"}},
		{name: "vanished, of a node that is gone: given to nobody",
			pools:     []v1alpha1.IPPool{pool("a", "10.0.0.0/26", 26)},
			endpoints: []v1alpha1.WorkloadEndpoint{endpoint("n9", "a", "10.0.0.5/32")},
			nodes:     []Node{node("n1", wants("a", 32, 0))}},
		{name: "addresses follow the node, and are never blanked",
			pools:  []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26)},
			blocks: []v1alpha1.IPBlock{block("10.0.0.0/26", "a", "n1"), block("10.0.0.64/26", "a", "n2")},
			nodes:  []Node{{Name: "n1", Present: true}, {Name: "n2", Present: true, Addresses: []string{"192.168.9.2"}}},
			want:   []string{"mend 10.0.0.64/26 [192.168.9.2]"}},
		{name: "a finalizer taken by hand comes back",
			pools:  []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26)},
			blocks: []v1alpha1.IPBlock{block("10.0.0.0/26", "a", "n1", func(b *v1alpha1.IPBlock) { b.Finalizers = nil })},
			nodes:  []Node{node("n1")}, want: []string{"mend 10.0.0.0/26 [192.168.0.1]"}},
		{name: "dual stack",
			pools:     []v1alpha1.IPPool{pool("a", "10.0.0.0/16", 26), pool("b", "fd00::/64", 122)},
			blocks:    []v1alpha1.IPBlock{block("10.0.0.0/26", "a", "n1"), block("fd00::/122", "b", "n1")},
			endpoints: []v1alpha1.WorkloadEndpoint{{Spec: v1alpha1.WorkloadEndpointSpec{Node: "n1", Addresses: []string{"10.0.0.1/32", "fd00::1/128"}, Pools: []string{"a", "b"}}}},
			nodes:     []Node{node("n1", wants("a", 62, 0), wants("b", 63, 0))}, want: []string{"create fd00::40/122 for n1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := Input{Ledger: Read(c.pools, c.blocks, c.endpoints), Nodes: c.nodes, Budget: 100}
			if c.change != nil {
				c.change(&in)
			}
			if got := show(Make(in)); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestNothingIsGivenTwice plays a cluster of greedy and forgetful nodes, with blocks and records vanishing, and checks after
// every step that no two blocks overlap and that no block covers another node's endpoint.
func TestNothingIsGivenTwice(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		pools := []v1alpha1.IPPool{pool("a", "10.0.0.0/25", 29), pool("b", "10.0.0.64/26", 30), pool("c", "fd00::/123", 125)}
		var blocks []v1alpha1.IPBlock
		var endpoints []v1alpha1.WorkloadEndpoint
		for range 60 {
			var nodes []Node
			for n := range 4 {
				var demands []v1alpha1.PoolClaim
				for _, p := range pools {
					demands = append(demands, wants(p.Name, int32(random.IntN(12)), int32(random.IntN(4))))
				}
				nodes = append(nodes, node(fmt.Sprint("n", n), demands...))
			}
			plan := Make(Input{Ledger: Read(pools, blocks, endpoints), Nodes: nodes, Budget: 3})
			for _, c := range plan.Create {
				blocks = append(blocks, block(c.Prefix.String(), c.Pool, c.Node))
			}
			checkDisjoint(t, blocks, endpoints)
			switch i := random.IntN(3); {
			case i == 0 && len(blocks) > 0: // by force
				blocks = slices.Delete(blocks, 0, 1)
			case i == 1 && len(endpoints) > 0:
				endpoints = slices.Delete(endpoints, 0, 1)
			case len(blocks) > 0:
				b := blocks[random.IntN(len(blocks))]
				a := netip.MustParsePrefix(b.Spec.CIDR).Addr().Next()
				endpoints = append(endpoints, endpoint(b.Spec.Node, b.Spec.Pool, netip.PrefixFrom(a, a.BitLen()).String()))
			}
		}
	}
}

func checkDisjoint(t *testing.T, blocks []v1alpha1.IPBlock, endpoints []v1alpha1.WorkloadEndpoint) {
	t.Helper()
	for i, b := range blocks {
		p := netip.MustParsePrefix(b.Spec.CIDR)
		for _, o := range blocks[:i] {
			if p.Overlaps(netip.MustParsePrefix(o.Spec.CIDR)) {
				t.Fatalf("%s of %s overlaps %s of %s", p, b.Spec.Node, o.Spec.CIDR, o.Spec.Node)
			}
		}
		for _, e := range endpoints {
			if p.Contains(netip.MustParsePrefix(e.Spec.Addresses[0]).Addr()) && e.Spec.Node != b.Spec.Node {
				t.Fatalf("%s of %s holds %s of %s", p, b.Spec.Node, e.Spec.Addresses[0], e.Spec.Node)
			}
		}
	}
}

func BenchmarkPlanOfALargeCluster(b *testing.B) {
	pools := []v1alpha1.IPPool{pool("a", "10.0.0.0/8", 26)}
	var blocks []v1alpha1.IPBlock
	var endpoints []v1alpha1.WorkloadEndpoint
	var nodes []Node
	gaps := FindGaps(netip.MustParsePrefix("10.0.0.0/8"), 26, nil)
	for n := range 1000 {
		name := fmt.Sprint("n", n)
		nodes = append(nodes, node(name, wants("a", 32, 0)))
		for range 3 {
			p, _ := gaps.Next()
			blocks = append(blocks, block(p.String(), "a", name))
			a := p.Addr()
			for range 17 {
				a = a.Next()
				endpoints = append(endpoints, endpoint(name, "a", a.String()+"/32"))
			}
		}
	}
	for b.Loop() {
		if plan := Make(Input{Ledger: Read(pools, blocks, endpoints), Nodes: nodes, Budget: 64}); len(plan.Create) != 0 {
			b.Fatal(show(plan)[:1])
		}
	}
}
