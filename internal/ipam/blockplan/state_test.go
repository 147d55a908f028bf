package blockplan

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unique"

	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// history is a cluster of greedy, forgetful and lying nodes, with blocks and records vanishing.
type history struct {
	random    *rand.Rand
	state     *State
	pools     []v1alpha1.IPPool
	blocks    []v1alpha1.IPBlock
	endpoints []v1alpha1.WorkloadEndpoint
	nodes     []testNode
	forced    map[netip.Prefix]string // whose block it was that somebody took by force
	memories  map[types.NamespacedName][]sticky.Address
}

func (h *history) step() {
	switch h.random.IntN(6) {
	case 0, 1:
		n := h.random.IntN(len(h.nodes))
		h.nodes[n].claims = h.claims()
		h.state.SetClaim(h.nodes[n].name, h.nodes[n].claims)
	case 2:
		if len(h.blocks) > 0 { // by force
			i := h.random.IntN(len(h.blocks))
			h.forced[netip.MustParsePrefix(h.blocks[i].Spec.CIDR)] = h.blocks[i].Spec.Node
			h.state.DropBlock(netip.MustParsePrefix(h.blocks[i].Spec.CIDR), epoch) // and its time is over at once
			h.blocks = slices.Delete(h.blocks, i, i+1)
		}
	case 3:
		if len(h.endpoints) > 0 {
			i := h.random.IntN(len(h.endpoints))
			h.state.DropEndpoint(readEndpoint(h.endpoints[i]))
			h.endpoints = slices.Delete(h.endpoints, i, i+1)
		}
	case 4:
		if len(h.blocks) > 0 { // a pod gets an address of its node's block, mostly
			b := h.blocks[h.random.IntN(len(h.blocks))]
			owner := b.Spec.Node
			if h.random.IntN(10) == 0 {
				owner = h.nodes[h.random.IntN(len(h.nodes))].name
			}
			a := netip.MustParsePrefix(b.Spec.CIDR).Addr().Next()
			e := anEndpoint(owner, b.Spec.Pool, netip.PrefixFrom(a, a.BitLen()).String())
			h.endpoints = append(h.endpoints, e)
			h.state.AddEndpoint(readEndpoint(e))
		}
	case 5:
		i := h.random.IntN(len(h.pools))
		h.pools[i].Spec.Disabled = !h.pools[i].Spec.Disabled
		h.state.SetPool(mustPool(h.pools[i]))
	}
}

// remember changes what is remembered for one of a few pods.
func (h *history) remember(random *rand.Rand) {
	pod := types.NamespacedName{Namespace: "ns", Name: fmt.Sprint("db-", random.IntN(5))}
	h.memories[pod] = nil
	for range random.IntN(3) {
		p := h.pools[random.IntN(len(h.pools))]
		a := netip.MustParsePrefix(p.Spec.CIDR).Addr()
		for range random.IntN(24) {
			a = a.Next()
		}
		h.memories[pod] = append(h.memories[pod], sticky.Address{Addr: a, Pool: p.Name}, sticky.Address{Addr: a.Next(), Pool: p.Name})
	}
	h.state.SetRemembered(pod, h.memories[pod])
}

func (h *history) claims() (out []v1alpha1.PoolClaim) {
	for _, p := range h.pools {
		c := wants(p.Name, int32(h.random.IntN(12)), int32(h.random.IntN(4)))
		for range h.random.IntN(3) {
			c.Held = append(c.Held, h.prefix())
		}
		for range h.random.IntN(3) {
			c.Released = append(c.Released, v1alpha1.ReleasedBlock{CIDR: h.prefix(), UID: []string{"u", "v"}[h.random.IntN(2)]})
		}
		out = append(out, c)
	}
	return out
}

// prefix is that of a block, or anything near one.
func (h *history) prefix() string {
	a := netip.MustParsePrefix(h.pools[h.random.IntN(len(h.pools))].Spec.CIDR).Addr().AsSlice()
	a[len(a)-1] = byte(h.random.IntN(256))
	addr, _ := netip.AddrFromSlice(a)
	return netip.PrefixFrom(addr, addr.BitLen()-h.random.IntN(6)).Masked().String()
}

// TestNothingIsGivenTwice checks after every step that no two blocks overlap, that no block covers another node's endpoint unless
// that endpoint was forged into it, that no node has more than its share, and that a state that was told everything one by one plans
// what a new one plans.
func TestNothingIsGivenTwice(t *testing.T) {
	for seed := range uint64(400) {
		h := &history{random: rand.New(rand.NewPCG(seed, 4)), state: New(), forced: map[netip.Prefix]string{}, memories: map[types.NamespacedName][]sticky.Address{}}
		few := func(p *v1alpha1.IPPool) { p.Spec.MaxBlocksPerNode = 3 }
		h.pools = []v1alpha1.IPPool{aPool("a", "10.0.0.0/25", 29, few), aPool("b", "10.0.0.64/26", 30, few), aPool("c", "fd00::/123", 125, few)}
		for n := range 4 {
			h.nodes = append(h.nodes, aNode(fmt.Sprint("n", n)))
		}
		h.state = feed(h.pools, nil, nil, h.nodes)
		now, memories := epoch, rand.New(rand.NewPCG(seed, 5))
		for range 150 {
			h.step()
			if memories.IntN(4) == 0 {
				h.remember(memories)
			}
			now = now.Add(time.Second)
			plan := h.state.Plan(Turn{Now: now, Budget: 3})
			again := feed(h.pools, h.blocks, h.endpoints, h.nodes)
			for pod, addresses := range h.memories {
				again.SetRemembered(pod, addresses)
			}
			fresh := again.Plan(Turn{Now: now, Budget: 3})
			for _, p := range h.pools {
				if got, want := h.state.Summary(p.Name).Remembered, again.Summary(p.Name).Remembered; got != want || !maps.Equal(h.state.census[unique.Make(p.Name)], again.census[unique.Make(p.Name)]) {
					t.Fatalf("seed %d: of pool %s %d addresses are remembered, told anew: %d; census %v, %v", seed, p.Name, got, want, h.state.census, again.census)
				}
			}
			if got, want := show(plan), show(fresh); !slices.Equal(got, want) {
				t.Fatalf("seed %d: told one by one: %q\ntold anew: %q", seed, got, want)
			}
			h.carryOut(t, plan, now)
		}
	}
}

func (h *history) carryOut(t *testing.T, plan Plan, now time.Time) {
	t.Helper()
	for _, r := range plan.Release {
		h.state.LetGo(r.Prefix)
		h.state.DropBlock(r.Prefix, now)
		h.blocks = slices.DeleteFunc(h.blocks, func(b v1alpha1.IPBlock) bool { return b.Spec.CIDR == r.Prefix.String() })
	}
	for _, c := range plan.Create {
		for _, e := range h.endpoints {
			a := netip.MustParsePrefix(e.Spec.Addresses[0]).Addr()
			again := h.forced[c.Prefix] == c.Node // a block that vanished is made again for its node, whatever others say they have of it
			if c.Prefix.Contains(a) && !again && !h.isRival(a, c.Node) {
				t.Fatalf("%s for %s holds %s of %s", c.Prefix, c.Node, a, e.Spec.Node)
			}
		}
		b := aBlock(c.Prefix.String(), c.Pool, c.Node)
		h.blocks = append(h.blocks, b)
		h.state.Created(c, now)
		h.state.SetBlock(readBlock(b))
	}
	share := map[string]int{}
	for i, b := range h.blocks {
		share[b.Spec.Pool+b.Spec.Node]++
		for _, o := range h.blocks[:i] {
			if netip.MustParsePrefix(b.Spec.CIDR).Overlaps(netip.MustParsePrefix(o.Spec.CIDR)) {
				t.Fatalf("%s of %s overlaps %s of %s", b.Spec.CIDR, b.Spec.Node, o.Spec.CIDR, o.Spec.Node)
			}
		}
	}
	for who, n := range share {
		if n > 3 {
			t.Fatalf("%s has %d blocks", who, n)
		}
	}
}

// isRival says whether a node has an endpoint in the same block as an address, so that the two contradict each other.
func (h *history) isRival(a netip.Addr, nodeName string) bool {
	return slices.ContainsFunc(h.endpoints, func(e v1alpha1.WorkloadEndpoint) bool {
		return e.Spec.Node == nodeName && netip.PrefixFrom(a, a.BitLen()-5).Masked().Contains(netip.MustParsePrefix(e.Spec.Addresses[0]).Addr())
	})
}

// large is a cluster with two blocks a node, and 30 pods.
func large(nodes int) *State {
	s := New()
	s.SetPool(mustPool(aPool("a", "10.0.0.0/8", 26)))
	gaps := FindGaps(netip.MustParsePrefix("10.0.0.0/8"), 26, nil)
	for n := range nodes {
		name := fmt.Sprint("n", n)
		s.SetNode(name, map[string]string{"kubernetes.io/hostname": name}, nil)
		s.SetFacts(name, Facts{Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 168, byte(n >> 8), byte(n)})}})
		c := v1alpha1.PoolClaim{Pool: "a", Wanted: 32}
		for range 2 {
			p, _ := gaps.Next()
			s.SetBlock(Block{Prefix: p, Pool: "a", Node: name, Held: true, Object: &v1alpha1.IPBlock{},
				Addresses: []string{netip.AddrFrom4([4]byte{192, 168, byte(n >> 8), byte(n)}).String()}})
			c.Held = append(c.Held, p.String())
			a := p.Addr()
			for range 15 {
				a = a.Next()
				s.AddEndpoint(NewEndpoint("default", name, []netip.Addr{a}, []string{"a"}))
			}
		}
		s.SetClaim(name, []v1alpha1.PoolClaim{c})
	}
	return s
}

func TestALargeClusterAtRest(t *testing.T) {
	if plan := large(200).Plan(Turn{Now: epoch, Budget: 64}); len(show(plan)) != 0 {
		t.Errorf("%q", show(plan))
	}
}

// BenchmarkARoundWithOneChangedClaim is a round of the controller at 5,000 nodes, 10,000 blocks and 150,000 endpoints.
func BenchmarkARoundWithOneChangedClaim(b *testing.B) {
	s := large(5000)
	s.Plan(Turn{Now: epoch, Budget: 64})
	claims := [][]v1alpha1.PoolClaim{{wants("a", 200, 0)}, {wants("a", 32, 0)}}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		s.SetClaim("n77", claims[i%2])
		if plan := s.Plan(Turn{Now: epoch, Budget: 64}); len(plan.Create) != 2*(1-i%2) {
			b.Fatal(i, show(plan))
		}
		i++
	}
}

// BenchmarkFiveThousandNodesClaimAtOnce is what the planning of their first blocks costs in all.
func BenchmarkFiveThousandNodesClaimAtOnce(b *testing.B) {
	for b.Loop() {
		s := New()
		s.SetPool(mustPool(aPool("a", "10.0.0.0/8", 26)))
		for n := range 5000 {
			name := fmt.Sprint("n", n)
			s.SetNode(name, nil, nil)
			s.SetFacts(name, Facts{Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 168, byte(n >> 8), byte(n)})}})
			s.SetClaim(name, []v1alpha1.PoolClaim{wants("a", 32, 0)})
		}
		for done := 0; done < 5000; {
			plan := s.Plan(Turn{Now: epoch, Budget: 64})
			for _, c := range plan.Create {
				s.Created(c, epoch)
			}
			done += len(plan.Create)
		}
	}
}
