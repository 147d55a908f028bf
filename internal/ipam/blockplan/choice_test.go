package blockplan

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// TestWhichBlock: a node's blocks come to lie beside each other, and its first one has room beside it.
func TestWhichBlock(t *testing.T) {
	one := func(p *v1alpha1.IPPool) { p.Spec.MaxBlocksPerNode = 1 }
	b := func(cidr, node string) v1alpha1.IPBlock { return aBlock(cidr, "a", node) }
	for _, c := range []struct {
		name   string
		pool   v1alpha1.IPPool
		blocks []v1alpha1.IPBlock
		nodes  []testNode
		want   []string
	}{
		{name: "first blocks have room for three more", pool: aPool("a", "10.0.0.0/22", 26), nodes: []testNode{aNode("n1", wants("a", 1, 0)), aNode("n2", wants("a", 1, 0))},
			want: []string{"create 10.0.0.0/26 for n1", "create 10.0.1.0/26 for n2"}},
		{name: "where that room is not left, for one more, then for none", pool: aPool("a", "10.0.0.0/24", 26),
			nodes: []testNode{aNode("n1", wants("a", 1, 0)), aNode("n2", wants("a", 1, 0)), aNode("n3", wants("a", 1, 0)), aNode("n4", wants("a", 1, 0))},
			want:  []string{"create 10.0.0.0/26 for n1", "create 10.0.0.128/26 for n2", "create 10.0.0.64/26 for n3", "create 10.0.0.192/26 for n4"}},
		{name: "no room where a node may have one block only", pool: aPool("a", "10.0.0.0/22", 26, one), nodes: []testNode{aNode("n1", wants("a", 1, 0)), aNode("n2", wants("a", 1, 0))},
			want: []string{"create 10.0.0.0/26 for n1", "create 10.0.0.64/26 for n2"}},
		{name: "four blocks make one prefix", pool: aPool("a", "10.0.0.0/22", 26), blocks: []v1alpha1.IPBlock{b("10.0.1.0/26", "n1")}, nodes: []testNode{aNode("n1", wants("a", 250, 250))},
			want: []string{"create 10.0.1.64/26 for n1", "create 10.0.1.128/26 for n1", "create 10.0.1.192/26 for n1"}},
		{name: "the buddy may be the lower one", pool: aPool("a", "10.0.0.0/22", 26), blocks: []v1alpha1.IPBlock{b("10.0.1.64/26", "n1")}, nodes: []testNode{aNode("n1", wants("a", 64, 0))},
			want: []string{"create 10.0.1.0/26 for n1"}},
		{name: "a whole group has a buddy, too", pool: aPool("a", "10.0.0.0/22", 26), blocks: []v1alpha1.IPBlock{b("10.0.0.128/26", "n1"), b("10.0.0.192/26", "n1"), b("10.0.1.0/26", "n2")},
			nodes: []testNode{aNode("n1", wants("a", 127, 0)), aNode("n2")}, want: []string{"create 10.0.0.0/26 for n1"}},
		{name: "of several places the one that makes a prefix whole", pool: aPool("a", "10.0.0.0/22", 26), blocks: []v1alpha1.IPBlock{b("10.0.0.0/26", "n1"), b("10.0.0.64/26", "n1"), b("10.0.2.64/26", "n1")},
			nodes: []testNode{aNode("n1", wants("a", 190, 0))}, want: []string{"create 10.0.2.0/26 for n1"}},
		{name: "not into the room of another node", pool: aPool("a", "10.0.0.0/22", 26), blocks: []v1alpha1.IPBlock{b("10.0.0.0/26", "n1"), b("10.0.0.64/26", "n2")},
			nodes: []testNode{aNode("n1", wants("a", 64, 0)), aNode("n2")}, want: []string{"create 10.0.1.0/26 for n1"}},
		{name: "into it where nothing else is left", pool: aPool("a", "10.0.0.0/24", 26), blocks: []v1alpha1.IPBlock{b("10.0.0.0/26", "n1"), b("10.0.0.64/26", "n2"), b("10.0.0.128/26", "n2")},
			nodes: []testNode{aNode("n1", wants("a", 64, 0)), aNode("n2")}, want: []string{"create 10.0.0.192/26 for n1"}},
		{name: "not the buddy that it has just released", pool: aPool("a", "10.0.0.0/22", 26), blocks: []v1alpha1.IPBlock{b("10.0.0.0/26", "n1")},
			nodes: []testNode{aNode("n1", wants("a", 64, 0, "10.0.0.64/26"))}, want: []string{"create 10.0.0.128/26 for n1"}},
		{name: "not over a smaller block", pool: aPool("a", "10.0.0.0/22", 26), blocks: []v1alpha1.IPBlock{b("10.0.0.0/26", "n1"), aBlock("10.0.0.96/28", "gone", "n1")},
			nodes: []testNode{aNode("n1", wants("a", 64, 0))}, want: []string{"create 10.0.1.0/26 for n1"}},
		{name: "not inside a larger one", pool: aPool("a", "10.0.0.0/22", 26), blocks: []v1alpha1.IPBlock{b("10.0.0.0/26", "n1"), aBlock("10.0.0.0/25", "gone", "n1")},
			nodes: []testNode{aNode("n1", wants("a", 64, 0))}, want: []string{"create 10.0.1.0/26 for n1"}},
		{name: "not what is reserved", pool: aPool("a", "10.0.0.0/22", 26, reserved("10.0.0.65-10.0.0.127")), blocks: []v1alpha1.IPBlock{b("10.0.0.0/26", "n1")},
			nodes: []testNode{aNode("n1", wants("a", 64, 0))}, want: []string{"create 10.0.0.128/26 for n1"}},
		{name: "only in prefixes of the node's rack", pool: aPool("a", "10.0.0.0/22", 26, byRack(25)), blocks: []v1alpha1.IPBlock{b("10.0.0.0/26", "n1"), b("10.0.0.64/26", "n1")},
			nodes: []testNode{inRack("x", aNode("n1", wants("a", 127, 127))), inRack("y", aNode("n2", wants("a", 1, 0)))}, want: []string{"create 10.0.0.128/26 for n1", "create 10.0.1.0/26 for n2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := show(feed([]v1alpha1.IPPool{c.pool}, c.blocks, nil, c.nodes).Plan(Turn{Now: epoch, Budget: 100})); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// joined is the least number of prefixes that say exactly which blocks a node has.
func joined(s *State, node string) int {
	blocks := map[netip.Prefix]bool{}
	for p, b := range s.blocks {
		if b.Node == node {
			blocks[p] = true
		}
	}
	for again := true; again; {
		again = false
		for p := range blocks {
			whole := netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
			other := netip.PrefixFrom(flip(p), p.Bits())
			if blocks[other] {
				delete(blocks, p)
				delete(blocks, other)
				blocks[whole], again = true, true
			}
		}
	}
	return len(blocks)
}

// flip is the first address of the other half of the prefix that is one bit shorter.
func flip(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	b[(p.Bits()-1)/8] ^= 0x80 >> ((p.Bits() - 1) % 8)
	a, _ := netip.AddrFromSlice(b)
	return a
}

// TestManyPodsOnSomeNodes: 100 nodes have some pods each, then a tenth of them has 200. What each of these has is one prefix.
func TestManyPodsOnSomeNodes(t *testing.T) {
	s := New()
	s.SetPool(mustPool(aPool("a", "10.0.0.0/16", 26)))
	for i := range 100 {
		aNode(fmt.Sprintf("n%d", i), wants("a", 32, 0)).feed(s)
	}
	settle(t, s)
	for i := range 10 {
		s.SetClaim(fmt.Sprintf("n%d", i*10), []v1alpha1.PoolClaim{wants("a", 232, 200)})
	}
	settle(t, s)
	for i := range 10 {
		if n := joined(s, fmt.Sprintf("n%d", i*10)); n != 1 {
			t.Errorf("n%d has %d prefixes", i*10, n)
		}
	}
}

// TestNoBlockIsOutOfReach: whatever order nodes ask and give back in, a pool is short only when all of it is given.
func TestNoBlockIsOutOfReach(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 9))
		s := New()
		s.SetPool(mustPool(aPool("a", "10.0.0.0/24", 29)))
		for i := range 6 {
			aNode(fmt.Sprint("n", i)).feed(s)
		}
		for range 40 {
			node := fmt.Sprint("n", random.IntN(6))
			if random.IntN(3) == 0 {
				for p, b := range s.blocks {
					if b.Node == node && random.IntN(2) == 0 {
						s.LetGo(p)
						s.DropBlock(p, epoch)
					}
				}
			}
			s.SetClaim(node, []v1alpha1.PoolClaim{wants("a", int32(random.IntN(60)), int32(random.IntN(60)))})
			if plan := settle(t, s); len(plan.Shortages) > 0 && len(s.blocks) < 32 {
				t.Fatalf("seed %d: short with %d of 32 blocks given", seed, len(s.blocks))
			}
		}
	}
}
