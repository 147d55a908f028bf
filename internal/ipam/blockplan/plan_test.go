package blockplan

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func aPool(name, cidr string, bits int32, change ...func(*v1alpha1.IPPool)) v1alpha1.IPPool {
	p := v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{v1alpha1.FinalizerPool}, CreationTimestamp: metav1.NewTime(epoch)}}
	p.Spec = v1alpha1.IPPoolSpec{CIDR: cidr, BlockSize: &bits}
	for _, c := range change {
		c(&p)
	}
	return p
}

func aBlock(cidr, pool, node string, change ...func(*v1alpha1.IPBlock)) v1alpha1.IPBlock {
	b := v1alpha1.IPBlock{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.BlockName(netip.MustParsePrefix(cidr)), UID: "u", Finalizers: []string{v1alpha1.FinalizerBlock}}}
	b.Spec = v1alpha1.IPBlockSpec{CIDR: cidr, Pool: pool, Node: node, NodeAddresses: []string{"192.168.0." + node[1:]}}
	for _, c := range change {
		c(&b)
	}
	return b
}

func anEndpoint(node, pool string, addresses ...string) v1alpha1.WorkloadEndpoint {
	w := v1alpha1.WorkloadEndpoint{}
	w.Spec.Node, w.Spec.Addresses = node, addresses
	for range addresses {
		w.Spec.Pools = append(w.Spec.Pools, pool)
	}
	return w
}

// testNode is a node as the tests describe it.
type testNode struct {
	name    string
	absent  bool
	labels  map[string]string
	address string
	claims  []v1alpha1.PoolClaim
}

func aNode(name string, claims ...v1alpha1.PoolClaim) testNode {
	return testNode{name: name, address: "192.168.0." + name[1:], claims: claims}
}

func (n testNode) feed(s *State) {
	if !n.absent {
		s.SetNode(n.name, n.labels, nil)
	}
	if n.address != "" {
		s.SetFacts(n.name, Facts{Addresses: []netip.Addr{netip.MustParseAddr(n.address)}})
	}
	s.SetClaim(n.name, n.claims)
}

func mustPool(o v1alpha1.IPPool) Pool {
	p, err := PoolOf(&o)
	if err != nil {
		panic(err)
	}
	return p
}

func readBlock(o v1alpha1.IPBlock) Block {
	return Block{Prefix: netip.MustParsePrefix(o.Spec.CIDR), Pool: o.Spec.Pool, Node: o.Spec.Node, Addresses: o.Spec.NodeAddresses,
		Loans: LoansOf(&o), Terminating: !o.DeletionTimestamp.IsZero(), Held: slices.Contains(o.Finalizers, v1alpha1.FinalizerBlock), Object: &o}
}

func readEndpoint(o v1alpha1.WorkloadEndpoint) Endpoint {
	var addrs []netip.Addr
	for _, a := range o.Spec.Addresses {
		addrs = append(addrs, netip.MustParsePrefix(a).Addr())
	}
	return NewEndpoint(o.Namespace, o.Spec.Node, addrs, o.Spec.Pools)
}

// feed tells a new state of everything.
func feed(pools []v1alpha1.IPPool, blocks []v1alpha1.IPBlock, endpoints []v1alpha1.WorkloadEndpoint, nodes []testNode) *State {
	s := New()
	for _, p := range pools {
		s.SetPool(mustPool(p))
	}
	for _, b := range blocks {
		s.SetBlock(readBlock(b))
	}
	for _, e := range endpoints {
		s.AddEndpoint(readEndpoint(e))
	}
	for _, n := range nodes {
		n.feed(s)
	}
	return s
}

// wants is a claim; the released blocks are those of aBlock.
func wants(pool string, wanted, waiting int32, released ...string) v1alpha1.PoolClaim {
	c := v1alpha1.PoolClaim{Pool: pool, Wanted: wanted, Waiting: waiting}
	for _, cidr := range released {
		c.Released = append(c.Released, v1alpha1.ReleasedBlock{CIDR: cidr, UID: "u"})
	}
	return c
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
	for _, l := range p.Lend {
		text := "lend of " + l.Object.Spec.CIDR + ":"
		for _, loan := range l.Loans {
			text += fmt.Sprintf(" %s to %s (%s, granted %t)", loan.Prefix, loan.Node, loan.ID, loan.Granted)
		}
		out = append(out, text)
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
		nodes     []testNode
		change    func(*State, *Turn)
		want      []string
	}{
		{name: "a node gets its first block",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26)}, nodes: []testNode{aNode("n1", wants("a", 32, 0))},
			want: []string{"create 10.0.0.0/26 for n1"}},
		{name: "enough is enough",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26)}, blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1")},
			nodes: []testNode{aNode("n1", wants("a", 63, 0))}},
		{name: "an address in use counts",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26)}, blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1")},
			endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n1", "a", "10.0.0.1/32")},
			nodes:     []testNode{aNode("n1", wants("a", 63, 0))}, want: []string{"create 10.0.0.64/26 for n1"}},
		{name: "a storm gets several at once, those who wait first, in turn",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 30)},
			nodes: []testNode{aNode("n1", wants("a", 3, 0)), aNode("n2", wants("a", 3, 5)), aNode("n3", wants("a", 3, 4))},
			want:  []string{"create 10.0.0.0/30 for n2", "create 10.0.0.16/30 for n3", "create 10.0.0.4/30 for n2", "create 10.0.0.20/30 for n3", "create 10.0.0.32/30 for n1"}},
		{name: "what was just created counts",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26)}, nodes: []testNode{aNode("n1", wants("a", 32, 0)), aNode("n2", wants("a", 32, 0))},
			change: func(s *State, _ *Turn) {
				s.Created(NewBlock{Prefix: netip.MustParsePrefix("10.0.0.0/26"), Pool: "a", Node: "n1"}, epoch)
			},
			want: []string{"create 10.0.1.0/26 for n2"}},
		{name: "the budget ends a round",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 32)}, nodes: []testNode{aNode("n1", wants("a", 1<<30, 0))},
			change: func(_ *State, t *Turn) { t.Budget = 2 }, want: []string{"create 10.0.0.0/32 for n1", "create 10.0.0.1/32 for n1", "more"}},
		{name: "an exhausted pool serves nobody's reserve",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26)}, nodes: []testNode{aNode("n1", wants("a", 32, 0)), aNode("n2", wants("a", 64, 1))},
			change: func(_ *State, t *Turn) { t.Exhausted = map[string]bool{"a": true} }, want: []string{"create 10.0.0.0/26 for n2"}},
		{name: "a full pool says who waits",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/30", 30)}, blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/30", "a", "n1")},
			endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n1", "a", "10.0.0.1/32"), anEndpoint("n1", "a", "10.0.0.2/32"), anEndpoint("n1", "a", "10.0.0.3/32")},
			nodes:     []testNode{aNode("n1", wants("a", 3, 0)), aNode("n2", wants("a", 3, 2)), aNode("n3", wants("a", 9, 0))},
			want:      []string{"short a 2 [n2]"}},
		{name: "a pool without our finalizer gives nothing yet",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26, func(p *v1alpha1.IPPool) { p.Finalizers = nil })}, nodes: []testNode{aNode("n1", wants("a", 32, 0))}},
		{name: "disabled", pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26, func(p *v1alpha1.IPPool) { p.Spec.Disabled = true })}, nodes: []testNode{aNode("n1", wants("a", 32, 0))}},
		{name: "terminating", pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26, func(p *v1alpha1.IPPool) { p.DeletionTimestamp = &metav1.Time{Time: epoch} })}, nodes: []testNode{aNode("n1", wants("a", 32, 0))}},
		{name: "overlap: the younger gives nothing",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26, later), aPool("b", "10.0.0.0/8", 26)},
			nodes: []testNode{aNode("n1", wants("a", 32, 0), wants("b", 32, 0))}, want: []string{"create 10.0.0.0/26 for n1"}},
		{name: "the selector",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26, func(p *v1alpha1.IPPool) {
				p.Spec.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"rack": "1"}}
			})}, nodes: []testNode{aNode("n1", wants("a", 32, 0))}},
		{name: "an absent node gets nothing",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26)}, nodes: []testNode{{name: "n1", absent: true, address: "192.168.0.1", claims: []v1alpha1.PoolClaim{wants("a", 32, 9)}}}},
		{name: "released, and its prefix is not given out in the same breath",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/25", 26)}, blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1", terminating)},
			nodes: []testNode{aNode("n1", wants("a", 0, 0, "10.0.0.0/26")), aNode("n2", wants("a", 64, 0))},
			want:  []string{"create 10.0.0.64/26 for n2", "release 10.0.0.0/26"}},
		{name: "still listed as released after it went: given to others only",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/25", 26)}, nodes: []testNode{aNode("n1", wants("a", 64, 0, "10.0.0.0/26")), aNode("n2", wants("a", 1, 0))},
			want: []string{"create 10.0.0.64/26 for n1", "create 10.0.0.0/26 for n2"}},
		{name: "listed as released by a node that does not own it",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26)}, blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1")},
			nodes: []testNode{aNode("n1"), aNode("n2", wants("a", 0, 0, "10.0.0.0/26"))}},
		{name: "released but in use", pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26)},
			blocks:    []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1")},
			endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n1", "a", "10.0.0.5/32")},
			nodes:     []testNode{aNode("n1", wants("a", 0, 0, "10.0.0.0/26"))}},
		{name: "deleted by hand: it stays, and a new one takes over",
			pools: []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26)}, blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1", terminating)},
			endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n1", "a", "10.0.0.5/32")},
			nodes:     []testNode{aNode("n1", wants("a", 32, 0))}, want: []string{"create 10.0.0.64/26 for n1"}},
		{name: "vanished with addresses in it: made again, for the same node",
			pools:     []v1alpha1.IPPool{aPool("a", "10.0.0.0/26", 26)},
			endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n1", "a", "10.0.0.5/32")},
			nodes:     []testNode{aNode("n1", wants("a", 32, 0)), aNode("n2", wants("a", 32, 1))},
			want:      []string{"create 10.0.0.0/26 for n1", "short a 1 [n2]"}},
		{name: "vanished, in a disabled pool",
			pools:     []v1alpha1.IPPool{aPool("a", "10.0.0.0/26", 26, func(p *v1alpha1.IPPool) { p.Spec.Disabled = true })},
			endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n1", "a", "10.0.0.5/32")},
			nodes:     []testNode{aNode("n1")}, want: []string{"create 10.0.0.0/26 for n1"}},
		{name: "vanished, of a node that is gone: given to nobody",
			pools:     []v1alpha1.IPPool{aPool("a", "10.0.0.0/26", 26)},
			endpoints: []v1alpha1.WorkloadEndpoint{anEndpoint("n9", "a", "10.0.0.5/32")},
			nodes:     []testNode{aNode("n1", wants("a", 32, 0))}},
		{name: "addresses follow the node, and are never blanked",
			pools:  []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26)},
			blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1"), aBlock("10.0.0.64/26", "a", "n2")},
			nodes:  []testNode{{name: "n1"}, {name: "n2", address: "192.168.9.2"}},
			want:   []string{"mend 10.0.0.64/26 [192.168.9.2]"}},
		{name: "a finalizer taken by hand comes back",
			pools:  []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26)},
			blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1", func(b *v1alpha1.IPBlock) { b.Finalizers = nil })},
			nodes:  []testNode{aNode("n1")}, want: []string{"mend 10.0.0.0/26 [192.168.0.1]"}},
		{name: "dual stack",
			pools:     []v1alpha1.IPPool{aPool("a", "10.0.0.0/16", 26), aPool("b", "fd00::/64", 122)},
			blocks:    []v1alpha1.IPBlock{aBlock("10.0.0.0/26", "a", "n1"), aBlock("fd00::/122", "b", "n1")},
			endpoints: []v1alpha1.WorkloadEndpoint{{Spec: v1alpha1.WorkloadEndpointSpec{Node: "n1", Addresses: []string{"10.0.0.1/32", "fd00::1/128"}, Pools: []string{"a", "b"}}}},
			nodes:     []testNode{aNode("n1", wants("a", 62, 0), wants("b", 63, 0))}, want: []string{"create fd00::40/122 for n1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, turn := feed(c.pools, c.blocks, c.endpoints, c.nodes), Turn{Now: epoch, Budget: 100}
			if c.change != nil {
				c.change(s, &turn)
			}
			if got := show(s.Plan(turn)); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}
