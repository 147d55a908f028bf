package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// TestJoinedPrefixes: a learned prefix that consists of one node's blocks is as good as a route to each of them. Another one is judged as ever.
func TestJoinedPrefixes(t *testing.T) {
	lent := func(cidr, node, lender string) *Block {
		b := block(cidr, "four", node, 1, "192.168.0.7")
		b.Lender = lender
		return b
	}
	for _, c := range []struct {
		name    string
		e       v1alpha1.Encapsulation
		blocks  []*Block
		learned string
		via     string
		want    []string // the routes below 10.0.4.0/22
		refused string
	}{
		{name: "in another subnet, without encapsulation", e: none, learned: "10.0.4.0/25", via: "192.168.0.254",
			blocks: []*Block{block("10.0.4.0/26", "four", "c", 1, "192.168.1.3"), block("10.0.4.64/26", "four", "c", 1, "192.168.1.3")},
			want:   []string{"10.0.4.0/26 via 192.168.0.254 dev eth0 proto 203", "10.0.4.64/26 via 192.168.0.254 dev eth0 proto 203"}},
		{name: "three blocks and a longer one", e: none, learned: "10.0.4.0/24", via: "192.168.0.2",
			blocks: []*Block{block("10.0.4.0/25", "four", "b", 1, "192.168.0.2"), block("10.0.4.128/26", "four", "b", 1, "192.168.0.2"), block("10.0.4.192/26", "four", "b", 1, "192.168.0.2")},
			want:   []string{"10.0.4.0/25 via 192.168.0.2 dev eth0 proto 203", "10.0.4.128/26 via 192.168.0.2 dev eth0 proto 203", "10.0.4.192/26 via 192.168.0.2 dev eth0 proto 203"}},
		{name: "a range that is lent goes to its borrower", e: none, learned: "10.0.4.0/25", via: "192.168.0.2",
			blocks: []*Block{block("10.0.4.0/26", "four", "b", 1, "192.168.0.2"), block("10.0.4.64/26", "four", "b", 1, "192.168.0.2"), lent("10.0.4.96/28", "d", "b")},
			want: []string{"10.0.4.0/26 via 192.168.0.2 dev eth0 proto 203", "10.0.4.64/26 via 192.168.0.2 dev eth0 proto 203",
				"10.0.4.96/28 via 192.168.0.7 dev eth0 proto 202"}},
		{name: "through a tunnel it says nothing new, and is not refused", e: vxlan, learned: "10.0.4.0/25", via: "192.168.0.2",
			blocks: []*Block{block("10.0.4.0/26", "four", "b", 2, "192.168.0.2"), block("10.0.4.64/26", "four", "b", 2, "192.168.0.2")},
			want:   []string{"10.0.4.0/26 via 10.0.1.0 dev vxlan.cw onlink proto 202", "10.0.4.64/26 via 10.0.1.0 dev vxlan.cw onlink proto 202"}},
		{name: "through a tunnel, one of the blocks is another node's", e: vxlan, learned: "10.0.4.0/25", via: "192.168.0.2",
			blocks: []*Block{block("10.0.4.0/26", "four", "b", 2, "192.168.0.2"), block("10.0.4.64/26", "four", "c", 2, "192.168.1.3")},
			want:   []string{"10.0.4.0/26 via 10.0.1.0 dev vxlan.cw onlink proto 202", "10.0.4.64/26 via 10.0.2.0 dev vxlan.cw onlink proto 202"}, refused: "10.0.4.0/25"},
		{name: "through a tunnel, half of it is nobody's", e: vxlan, learned: "10.0.4.0/25", via: "192.168.0.2",
			blocks: []*Block{block("10.0.4.0/26", "four", "b", 2, "192.168.0.2")},
			want:   []string{"10.0.4.0/26 via 10.0.1.0 dev vxlan.cw onlink proto 202"}, refused: "10.0.4.0/25"},
		{name: "through a tunnel, half of it is this node's", e: vxlan, learned: "10.0.4.0/25", via: "192.168.0.2",
			blocks: []*Block{block("10.0.4.0/26", "four", "b", 2, "192.168.0.2"), block("10.0.4.64/26", "four", "a", 2, "192.168.0.1")},
			want:   []string{"10.0.4.0/26 via 10.0.1.0 dev vxlan.cw onlink proto 202", "blackhole 10.0.4.64/26 proto 202"}, refused: "10.0.4.0/25"},
		{name: "without encapsulation, half of it is nobody's", e: none, learned: "10.0.4.0/25", via: "192.168.0.254",
			blocks: []*Block{block("10.0.4.0/26", "four", "b", 1, "192.168.0.2")},
			want:   []string{"10.0.4.0/25 via 192.168.0.254 dev eth0 proto 203", "10.0.4.0/26 via 192.168.0.2 dev eth0 proto 202"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := cluster(c.e, "")
			in.Blocks = append(in.Blocks, c.blocks...)
			in.Learned = []LearnedRoute{{pfx(c.learned), []netip.Addr{addr(c.via)}}}
			p := Make(in)
			var got, refused []string
			for _, r := range p.Routes {
				if pfx("10.0.4.0/22").Contains(r.Dst.Addr()) {
					got = append(got, r.String())
				}
			}
			for _, r := range p.Refused {
				refused = append(refused, r.Prefix.String())
			}
			if !slices.Equal(got, c.want) || strings.Join(refused, " ") != c.refused {
				t.Errorf("got\n%s\nrefused %q, want\n%s\nrefused %q", strings.Join(got, "\n"), refused, strings.Join(c.want, "\n"), c.refused)
			}
		})
	}
}

// TestTheKernelKeepsItsRoutesWhenPrefixesJoin: the node's routes are the same before, while and after a peer announces two blocks as one.
func TestTheKernelKeepsItsRoutesWhenPrefixesJoin(t *testing.T) {
	in := cluster(none, "")
	in.Blocks = append(in.Blocks, block("10.0.4.0/26", "four", "c", 1, "192.168.1.3"), block("10.0.4.64/26", "four", "c", 1, "192.168.1.3"))
	via := []netip.Addr{addr("192.168.0.254")}
	lower, upper, both := LearnedRoute{pfx("10.0.4.0/26"), via}, LearnedRoute{pfx("10.0.4.64/26"), via}, LearnedRoute{pfx("10.0.4.0/25"), via}
	in.Learned = []LearnedRoute{lower, upper}
	p := New(in)
	before := p.Plan().String()
	gone := func(l LearnedRoute) LearnedRoute { return LearnedRoute{Prefix: l.Prefix} }
	for _, l := range []LearnedRoute{both, gone(lower), gone(upper), lower, upper, gone(both)} {
		p.SetLearned([]LearnedRoute{l})
		if c := p.Flush(); !c.Empty() {
			t.Errorf("learning %v changes %+v", l, c)
		}
	}
	if after := p.Plan().String(); after != before {
		t.Errorf("the plan was\n%s\nand is\n%s", before, after)
	}
}
