package bgpplan

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go4.org/netipx"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// blocks makes blocks of the pool "pods"; those after "lent" are ranges of other nodes' blocks.
func blocks(text string) (out []Block) {
	lent := false
	for _, f := range strings.Fields(text) {
		if lent = lent || f == "lent"; f != "lent" {
			out = append(out, Block{CIDR: netip.MustParsePrefix(f), Pool: "pods", Lent: lent})
		}
	}
	return out
}

func podsPool(in *Input) {
	in.Pools = []Pool{
		{Name: "pods", CIDR: netip.MustParsePrefix("10.211.0.0/16"), Export: true}, {Name: "more", CIDR: netip.MustParsePrefix("10.212.0.0/25"), Export: true},
		{Name: "others", CIDR: netip.MustParsePrefix("10.212.0.128/25"), Export: true}, {Name: "six", CIDR: netip.MustParsePrefix("fd00:211::/64"), Export: true},
	}
}

func announced(p Plan) string {
	var out []string
	for _, a := range p.Announcements {
		out = append(out, a.Prefix.String())
	}
	return strings.Join(out, " ")
}

func TestNeighbouringBlocksAreOnePrefix(t *testing.T) {
	filter := func(change func(*v1alpha1.BGPFilterRule)) func(*Input) {
		return func(in *Input) {
			r := v1alpha1.BGPFilterRule{Action: v1alpha1.FilterAccept}
			change(&r)
			in.Filters = []v1alpha1.BGPFilter{{Spec: v1alpha1.BGPFilterSpec{ExportV4: []v1alpha1.BGPFilterRule{r}}}}
		}
	}
	in := func(cidr string, op v1alpha1.CIDRMatch) func(*Input) {
		return filter(func(r *v1alpha1.BGPFilterRule) { r.CIDR, r.MatchOperator = cidr, op })
	}
	for _, c := range []struct {
		name   string
		blocks []Block
		change func(*Input)
		want   string
	}{
		{name: "two", blocks: blocks("10.211.0.0/26 10.211.0.64/26"), want: "10.211.0.0/25"},
		{name: "four, in any order", blocks: blocks("10.211.0.192/26 10.211.0.0/26 10.211.0.128/26 10.211.0.64/26"), want: "10.211.0.0/24"},
		{name: "neighbours that are no pair", blocks: blocks("10.211.0.64/26 10.211.0.128/26"), want: "10.211.0.64/26 10.211.0.128/26"},
		{name: "three and one far away", blocks: blocks("10.211.0.0/26 10.211.0.64/26 10.211.0.128/26 10.211.9.0/26"), want: "10.211.0.0/25 10.211.0.128/26 10.211.9.0/26"},
		{name: "IPv6", blocks: []Block{{CIDR: netip.MustParsePrefix("fd00:211::/122"), Pool: "six"}, {CIDR: netip.MustParsePrefix("fd00:211::40/122"), Pool: "six"}}, want: "fd00:211::/121"},
		{name: "of two pools", blocks: []Block{{CIDR: netip.MustParsePrefix("10.212.0.0/25"), Pool: "more"}, {CIDR: netip.MustParsePrefix("10.212.0.128/25"), Pool: "others"}},
			want: "10.212.0.0/25 10.212.0.128/25"},
		{name: "lent ranges stay as they are", blocks: blocks("10.211.0.0/26 10.211.0.64/26 lent 10.211.3.0/28 10.211.3.16/28"), want: "10.211.0.0/25 10.211.3.0/28 10.211.3.16/28"},
		{name: "communities for one of them", blocks: blocks("10.211.0.0/26 10.211.0.64/26"), want: "10.211.0.0/26 10.211.0.64/26", change: func(in *Input) {
			in.Configuration.Spec.PrefixAdvertisements = []v1alpha1.PrefixAdvertisement{{CIDR: "10.211.0.64/26", Communities: []v1alpha1.Community{"64512:7"}}}
		}},
		{name: "communities for each by itself", blocks: blocks("10.211.0.0/26 10.211.0.64/26"), want: "10.211.0.0/26 10.211.0.64/26", change: func(in *Input) {
			in.Configuration.Spec.PrefixAdvertisements = []v1alpha1.PrefixAdvertisement{
				{CIDR: "10.211.0.0/26", Communities: []v1alpha1.Community{"64512:7"}}, {CIDR: "10.211.0.64/26", Communities: []v1alpha1.Community{"64512:7"}}}
		}},
		{name: "communities for all", blocks: blocks("10.211.0.0/26 10.211.0.64/26"), want: "10.211.0.0/25", change: func(in *Input) {
			in.Configuration.Spec.PrefixAdvertisements = []v1alpha1.PrefixAdvertisement{{CIDR: "10.211.0.0/16", Communities: []v1alpha1.Community{"64512:7"}}}
		}},
		{name: "a filter for all", blocks: blocks("10.211.0.0/26 10.211.0.64/26"), want: "10.211.0.0/25", change: in("10.211.0.0/16", v1alpha1.CIDRIn)},
		{name: "a filter for one", blocks: blocks("10.211.0.0/26 10.211.0.64/26"), want: "10.211.0.0/26 10.211.0.64/26", change: in("10.211.0.64/26", v1alpha1.CIDREqual)},
		{name: "a filter for the joined one", blocks: blocks("10.211.0.0/26 10.211.0.64/26"), want: "10.211.0.0/26 10.211.0.64/26", change: in("10.211.0.0/25", v1alpha1.CIDRNotEqual)},
		{name: "a filter by length", blocks: blocks("10.211.0.0/26 10.211.0.64/26 10.211.0.128/26 10.211.0.192/26"), want: "10.211.0.0/25 10.211.0.128/25",
			change: filter(func(r *v1alpha1.BGPFilterRule) {
				r.CIDR, r.MatchOperator, r.PrefixLength = "10.211.0.0/16", v1alpha1.CIDRIn, &v1alpha1.PrefixLength{Min: ptr(int32(25))}
			})},
	} {
		t.Run(c.name, func(t *testing.T) {
			input := threeNodes()
			input.Configuration, input.Blocks = mesh(), c.blocks
			podsPool(&input)
			if c.change != nil {
				c.change(&input)
			}
			if got := announced(Make(input)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestWhatIsJoinedOverlaps: a joined prefix is there before its parts are withdrawn, and the parts before it is.
func TestWhatIsJoinedOverlaps(t *testing.T) {
	in := threeNodes()
	in.Configuration, in.Now = mesh(), noon
	podsPool(&in)
	one, two, four := "10.211.0.0/26", "10.211.0.0/26 10.211.0.64/26", "10.211.0.0/26 10.211.0.64/26 10.211.0.128/26 10.211.0.192/26"
	for _, step := range []struct {
		after  time.Duration
		blocks string
		drain  bool
		want   string
		next   time.Duration // from noon, zero for never
	}{
		{0, one, false, "10.211.0.0/26", 0},
		{time.Second, two, false, "10.211.0.0/25 10.211.0.0/26", 33 * time.Second},
		{5 * time.Second, two, false, "10.211.0.0/25 10.211.0.0/26", 33 * time.Second},
		{20 * time.Second, four, false, "10.211.0.0/24 10.211.0.0/25 10.211.0.0/26", 33 * time.Second},
		{33 * time.Second, four, false, "10.211.0.0/24 10.211.0.0/25", 52 * time.Second},
		{52 * time.Second, four, false, "10.211.0.0/24", 0},
		{60 * time.Second, two, false, "10.211.0.0/24 10.211.0.0/25", 62 * time.Second},
		{61 * time.Second, four, false, "10.211.0.0/24 10.211.0.0/25", 93 * time.Second},
		{70 * time.Second, one, false, "10.211.0.0/24 10.211.0.0/25 10.211.0.0/26", 72 * time.Second},
		{72 * time.Second, one, false, "10.211.0.0/26", 0},
		{80 * time.Second, "10.211.9.0/26", false, "10.211.9.0/26", 0},
		{90 * time.Second, "10.211.9.0/26 10.211.9.64/26", false, "10.211.9.0/25 10.211.9.0/26", 122 * time.Second},
		{91 * time.Second, "10.211.9.0/26 10.211.9.64/26", true, "", 0},
	} {
		in.Now, in.Blocks, in.Draining = noon.Add(step.after), blocks(step.blocks), step.drain
		p := Make(in)
		var next time.Duration
		for _, e := range p.Ending {
			if left := e.Until.Sub(noon); next == 0 || left < next {
				next = left
			}
		}
		if got := announced(p); got != step.want || next != step.next {
			t.Errorf("after %s it announces %s, next at %s; want %s, at %s", step.after, got, next, step.want, step.next)
		}
		in.Announced, in.Ending = p.Announcements, p.Ending
	}
}

// TestJoinedPrefixesCoverTheBlocksExactly: whatever blocks a node has, what it announces covers each of their addresses and no other, by as few
// prefixes as there can be.
func TestJoinedPrefixesCoverTheBlocksExactly(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		in := threeNodes()
		in.Configuration = mesh()
		podsPool(&in)
		var want, got netipx.IPSetBuilder
		for i := range 64 {
			if random.IntN(4) > 0 {
				block := netip.MustParsePrefix(fmt.Sprintf("10.211.%d.%d/26", i/4, i%4*64))
				in.Blocks = append(in.Blocks, Block{CIDR: block, Pool: "pods"})
				want.AddPrefix(block)
			}
		}
		random.Shuffle(len(in.Blocks), func(i, j int) { in.Blocks[i], in.Blocks[j] = in.Blocks[j], in.Blocks[i] })
		var prefixes []netip.Prefix
		for _, a := range Make(in).Announcements {
			prefixes = append(prefixes, a.Prefix)
			got.AddPrefix(a.Prefix)
		}
		owned, _ := want.IPSet()
		said, _ := got.IPSet()
		if !owned.Equal(said) || !slices.Equal(prefixes, owned.Prefixes()) {
			t.Fatalf("seed %d: announced %v, the blocks are %v", seed, prefixes, owned.Prefixes())
		}
	}
}
