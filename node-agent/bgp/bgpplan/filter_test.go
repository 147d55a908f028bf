package bgpplan

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/bgpcheck"
)

// longestMatch is how GoBGP looks at a set of ranges: the longest prefix that covers a route decides alone.
func longestMatch(ranges []PrefixRange, p netip.Prefix) bool {
	var best *PrefixRange
	for i := range ranges {
		if r := &ranges[i]; contains(r.Prefix, p) && (best == nil || best.Prefix.Bits() < r.Prefix.Bits()) {
			best = r
		}
	}
	return best != nil && int(best.Min) <= p.Bits() && p.Bits() <= int(best.Max)
}

// TestPrefixRanges compares the compiled ranges with the definition, near to the rule's cidr and far from it.
func TestPrefixRanges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		bits := []int{32, 128}[random.IntN(2)]
		cidr := randomPrefix(random, bits)
		rule := v1alpha1.BGPFilterRule{
			CIDR: cidr.String(), MatchOperator: []v1alpha1.CIDRMatch{"Equal", "NotEqual", "In", "NotIn"}[random.IntN(4)],
		}
		lo, hi := 0, bits
		if random.IntN(2) == 0 {
			lo = random.IntN(bits + 1)
			hi = lo + random.IntN(bits-lo+1)
			rule.PrefixLength = &v1alpha1.PrefixLength{Min: ptr(int32(lo)), Max: ptr(int32(hi))}
		}
		rule.Action = v1alpha1.FilterAccept
		spec := v1alpha1.BGPFilterSpec{ImportV4: []v1alpha1.BGPFilterRule{rule}}
		if bits == 128 {
			spec = v1alpha1.BGPFilterSpec{ImportV6: spec.ImportV4}
		}
		var ranges []PrefixRange
		err := bgpcheck.Filter(&spec)
		if err == nil {
			if ranges = prefixRanges(&rule, bits); len(ranges) == 0 {
				t.Fatalf("%s %s /%d-/%d is valid and matches nothing", rule.MatchOperator, cidr, lo, hi)
			}
		}
		any := false
		for range 60 {
			p := randomPrefix(random, bits)
			switch random.IntN(4) {
			case 0:
				p = netip.PrefixFrom(cidr.Addr(), random.IntN(bits+1)).Masked()
			case 1:
				if cidr.Bits() > 0 {
					p = netip.PrefixFrom(flip(cidr.Addr(), random.IntN(cidr.Bits())), random.IntN(bits+1)).Masked()
				}
			}
			want := lo <= p.Bits() && p.Bits() <= hi
			switch rule.MatchOperator {
			case "Equal":
				want = want && p == cidr
			case "NotEqual":
				want = want && p != cidr
			case "In":
				want = want && contains(cidr, p)
			case "NotIn":
				want = want && !contains(cidr, p)
			}
			any = any || want
			if got := err == nil && longestMatch(ranges, p); got != want {
				t.Fatalf("%s %s /%d-/%d: %s matches: %t, want %t (%v)", rule.MatchOperator, cidr, lo, hi, p, got, want, err)
			}
			if err == nil && anyCovers(ranges, p) != want {
				t.Fatalf("%s %s /%d-/%d: %s: ranges overlap: %v", rule.MatchOperator, cidr, lo, hi, p, ranges)
			}
		}
		if err != nil && any {
			t.Fatalf("%s %s: %v, but something matches", rule.MatchOperator, cidr, err)
		}
	}
}

func randomPrefix(r *rand.Rand, bits int) netip.Prefix {
	raw := make([]byte, bits/8)
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	a, _ := netip.AddrFromSlice(raw)
	return netip.PrefixFrom(a, r.IntN(bits+1)).Masked()
}

func TestContradictions(t *testing.T) {
	for name, rule := range map[string]v1alpha1.BGPFilterRule{
		"min above max":         {Action: "Accept", PrefixLength: &v1alpha1.PrefixLength{Min: ptr(int32(24)), Max: ptr(int32(16))}},
		"longer than addresses": {Action: "Accept", PrefixLength: &v1alpha1.PrefixLength{Min: ptr(int32(33))}},
		"equal, but longer":     {Action: "Accept", CIDR: "10.0.0.0/8", MatchOperator: "Equal", PrefixLength: &v1alpha1.PrefixLength{Min: ptr(int32(9))}},
		"in, but shorter":       {Action: "Accept", CIDR: "10.0.0.0/8", MatchOperator: "In", PrefixLength: &v1alpha1.PrefixLength{Max: ptr(int32(7))}},
		"not in everything":     {Action: "Accept", CIDR: "0.0.0.0/0", MatchOperator: "NotIn"},
		"of the other family":   {Action: "Accept", CIDR: "::/0", MatchOperator: "In"},
		"no operator":           {Action: "Accept", CIDR: "10.0.0.0/8"},
		"no action":             {},
		"community too large":   {Action: "Accept", Communities: []v1alpha1.Community{"70000:1"}},
		"operation on a reject": {Action: "Reject", Operations: []v1alpha1.BGPFilterOperation{{AddCommunity: ptr(v1alpha1.Community("1:1"))}}},
	} {
		t.Run(name, func(t *testing.T) {
			in := threeNodes()
			in.Filters = []v1alpha1.BGPFilter{{Spec: v1alpha1.BGPFilterSpec{ImportV4: []v1alpha1.BGPFilterRule{rule}}}}
			in.Filters[0].Name = "f"
			in.Peers = []v1alpha1.BGPPeer{
				bgpPeer("with", 1, func(s *v1alpha1.BGPPeerSpec) { router("192.0.2.1", 65001)(s); s.Filters = []string{"f"} }),
				bgpPeer("without", 1, router("192.0.2.2", 65001)),
			}
			p := Make(in)
			if got := short(p); !slices.Equal(got, []string{"192.0.2.2 AS65001 BGPPeer/without"}) {
				t.Errorf("sessions are %q", got)
			}
			if len(p.Problems) != 2 || p.Problems[0].Reason != "InvalidRule" || p.Problems[1].Reason != "InvalidFilter" {
				t.Errorf("problems are %q", p.Problems)
			}
			for _, pr := range p.Problems {
				if !strings.HasSuffix(pr.Message, ".") {
					t.Errorf("not a sentence: %q", pr.Message)
				}
			}
		})
	}
}

func TestSourceBecomesPrefixes(t *testing.T) {
	in := threeNodes()
	in.Blocks = []Block{{CIDR: netip.MustParsePrefix("10.211.0.0/26")}, {CIDR: netip.MustParsePrefix("10.219.0.0/26")}}
	in.Filters = []v1alpha1.BGPFilter{{Spec: v1alpha1.BGPFilterSpec{ExportV4: []v1alpha1.BGPFilterRule{
		{Action: "Accept", Source: v1alpha1.FilterSourceLocalBlocks, CIDR: "10.211.0.0/16", MatchOperator: "In"},
		{Action: "Reject", Source: v1alpha1.FilterSourceServices},
		{Action: "Reject", Communities: []v1alpha1.Community{"1:1", "1:1:1"}},
		{Action: "Reject"},
	}}}}
	in.Filters[0].Name = "f"
	in.Peers = []v1alpha1.BGPPeer{bgpPeer("p", 1, func(s *v1alpha1.BGPPeerSpec) { router("192.0.2.1", 65001)(s); s.Filters = []string{"f"} })}
	rules := Make(in).Sessions[0].Export
	if len(rules) != 4 || rules[0].Origin != OriginLocal || !slices.Equal(rules[0].Prefixes, []PrefixRange{exactly(netip.MustParsePrefix("10.211.0.0/26"))}) {
		t.Errorf("rules are %+v", rules)
	}
}
