package blockplan

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
)

func reserved(entries ...string) func(*v1alpha1.IPPool) {
	return func(p *v1alpha1.IPPool) { p.Spec.Reserved = entries }
}

func TestReservedAddressesAreNoReasonForABlock(t *testing.T) {
	for _, c := range []struct {
		name     string
		reserved []string
		blocks   []v1alpha1.IPBlock
		want     []string
	}{
		{name: "a whole block is not cut", reserved: []string{"10.0.0.0/28"}, want: []string{"create 10.0.0.64/28 for n1"}},
		{name: "nor one of which the node's own address is left", reserved: []string{"10.0.0.1-10.0.0.15"}, want: []string{"create 10.0.0.16/28 for n1"}},
		{name: "nor one that several entries fill", reserved: []string{"10.0.0.1-10.0.0.8", "10.0.0.9-10.0.0.17"}, want: []string{"create 10.0.0.16/28 for n1"}},
		{name: "a node whose free addresses are reserved gets another", reserved: []string{"10.0.0.0/28"}, blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "a", "n1")},
			want: []string{"create 10.0.0.64/28 for n1"}},
		{name: "one whose are not does not", reserved: []string{"10.0.0.5"}, blocks: []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "a", "n1")}},
		{name: "everything", reserved: []string{"10.0.0.0/24"}, want: []string{"short a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := feed([]v1alpha1.IPPool{aPool("a", "10.0.0.0/24", 28, reserved(c.reserved...))}, c.blocks, nil, []testNode{aNode("n1", wants("a", 1, 1))})
			plan := s.Plan(Turn{Now: epoch, Budget: 100})
			got := show(Plan{Create: plan.Create})
			for _, one := range plan.Shortages {
				got = append(got, "short "+one.Pool)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestAVastReservation: an IPv6 pool has more blocks than one could walk over.
func TestAVastReservation(t *testing.T) {
	s := feed([]v1alpha1.IPPool{aPool("a", "fd00::/48", 122, reserved("fd00::/64"))}, nil, nil, []testNode{aNode("n1", wants("a", 1, 1))})
	if got, want := show(s.Plan(Turn{Now: epoch, Budget: 100})), []string{"create fd00:0:0:1::/122 for n1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestReservationsOfTheClusterComeAndGo(t *testing.T) {
	s := feed([]v1alpha1.IPPool{aPool("a", "10.0.0.0/24", 28)}, []v1alpha1.IPBlock{aBlock("10.0.0.0/28", "a", "n1")},
		[]v1alpha1.WorkloadEndpoint{anEndpoint("n1", "a", "10.0.0.3/32")}, []testNode{aNode("n1", wants("a", 1, 1))})
	if got := show(s.Plan(Turn{Now: epoch, Budget: 100})); len(got) != 0 {
		t.Fatalf("%q", got)
	}
	set, _ := reservation.Parse([]string{"10.0.0.0/28", "fd00::/64"}, netip.Prefix{})
	s.SetReservation("printers", set)
	if got, want := show(s.Plan(Turn{Now: epoch, Budget: 100})), []string{"create 10.0.0.64/28 for n1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	sum := s.Summary("a")
	if sum.Usable != 15*15 || sum.ReservedInUseCount != 1 || sum.ReservedInUse[0] != netip.MustParseAddr("10.0.0.3") {
		t.Errorf("%+v", sum)
	}
	s.SetReservation("printers", nil)
	if sum := s.Summary("a"); sum.Usable != 16*15 || sum.ReservedInUseCount != 0 || len(show(s.Plan(Turn{Now: epoch, Budget: 100}))) != 0 {
		t.Errorf("%+v", sum)
	}
}
