package blockplan

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// BenchmarkAggregatedRound is one round for a pool of /12 with 10,000 blocks of 1,000 nodes in 20 racks, all of which want more.
func BenchmarkAggregatedRound(b *testing.B) {
	benchmarkRound(b, aPool("a", "10.0.0.0/12", 26, byRack(17)))
}

// benchmarkRound measures a round for a pool, 10,000 blocks of which are with 1,000 nodes in 20 racks, all of which want more.
func benchmarkRound(b *testing.B, pool v1alpha1.IPPool) {
	b.Helper()
	s := New()
	s.SetPool(mustPool(pool))
	for i := range 1000 {
		name := fmt.Sprintf("n%d", i)
		s.SetNode(name, map[string]string{"rack": fmt.Sprintf("r%d", i%20)}, nil)
		s.SetFacts(name, Facts{Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 168, byte(i / 250), byte(i % 250)})}})
		s.SetClaim(name, []v1alpha1.PoolClaim{wants("a", 630, 0)})
	}
	for {
		plan := s.Plan(Turn{Now: epoch, Budget: 64})
		if len(plan.Create) == 0 {
			break
		}
		for _, c := range plan.Create {
			s.Created(c, epoch)
		}
	}
	for i := range 1000 {
		s.SetClaim(fmt.Sprintf("n%d", i), []v1alpha1.PoolClaim{wants("a", 700, 0)})
	}
	b.ReportMetric(float64(len(s.blocks)), "blocks")
	for b.Loop() {
		if plan := s.Plan(Turn{Now: epoch, Budget: 64}); len(plan.Create) != 64 {
			b.Fatalf("%d blocks are given", len(plan.Create))
		}
	}
}
