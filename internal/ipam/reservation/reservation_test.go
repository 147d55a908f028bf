package reservation

import (
	"net/netip"
	"strings"
	"testing"
)

func TestEntriesAreReadOneByOne(t *testing.T) {
	pool := netip.MustParsePrefix("10.0.0.0/24")
	for _, tc := range []struct {
		name, problem string
		entries       []string
		in, out       []string
		ignored       bool
	}{
		{name: "an address", entries: []string{"10.0.0.5"}, in: []string{"10.0.0.5"}, out: []string{"10.0.0.4", "10.0.0.6"}},
		{name: "a range", entries: []string{"10.0.0.5-10.0.0.7"}, in: []string{"10.0.0.5", "10.0.0.6", "10.0.0.7"}, out: []string{"10.0.0.4", "10.0.0.8"}},
		{name: "a CIDR", entries: []string{"10.0.0.8/30"}, in: []string{"10.0.0.8", "10.0.0.11"}, out: []string{"10.0.0.7", "10.0.0.12"}},
		{name: "a range that leaves the pool", entries: []string{"10.0.0.250-10.0.1.5"}, in: []string{"10.0.0.255", "10.0.1.1"}},
		{name: "overlap", entries: []string{"10.0.0.4-10.0.0.9", "10.0.0.8/29"}, in: []string{"10.0.0.4", "10.0.0.15"}, problem: "10.0.0.4-10.0.0.9 and 10.0.0.8/29 overlap"},
		{name: "no address", entries: []string{"ten", "10.0.0.5"}, in: []string{"10.0.0.5"}, problem: `"ten" is no address`, ignored: true},
		{name: "a range the wrong way", entries: []string{"10.0.0.9-10.0.0.1"}, out: []string{"10.0.0.5"}, problem: "lower", ignored: true},
		{name: "a range of two families", entries: []string{"10.0.0.9-fd00::1"}, out: []string{"10.0.0.9"}, problem: "one family", ignored: true},
		{name: "host bits", entries: []string{"10.0.0.9/29"}, out: []string{"10.0.0.9"}, problem: "host bits", ignored: true},
		{name: "outside the pool", entries: []string{"10.9.0.0/24"}, out: []string{"10.9.0.1"}, problem: "outside the pool, which is 10.0.0.0/24", ignored: true},
		{name: "another family", entries: []string{"fd00::1"}, out: []string{"fd00::1"}, problem: "outside the pool", ignored: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, problems := Parse(tc.entries, pool)
			for _, a := range tc.in {
				if !set.Contains(netip.MustParseAddr(a)) {
					t.Errorf("%s is not reserved", a)
				}
			}
			for _, a := range tc.out {
				if set.Contains(netip.MustParseAddr(a)) {
					t.Errorf("%s is reserved", a)
				}
			}
			if tc.problem == "" {
				if len(problems) != 0 {
					t.Errorf("problems %v", problems)
				}
				return
			}
			if len(problems) != 1 || !strings.Contains(problems[0].Message, tc.problem) || problems[0].Ignored != tc.ignored {
				t.Errorf("problems %v, want one with %q", problems, tc.problem)
			}
		})
	}
}

func TestSetsOfSeveralLists(t *testing.T) {
	a, _ := Parse([]string{"10.0.0.0/25"}, netip.Prefix{})
	b, _ := Parse([]string{"10.0.0.128/25", "fd00::/64"}, netip.Prefix{})
	both := Union(a, nil, b)
	whole, _ := Parse([]string{"10.0.0.0/24", "fd00::/64"}, netip.Prefix{})
	if !both.Equal(whole) || both.Equal(a) || !Union().Equal(nil) || (&Set{}).Contains(netip.MustParseAddr("10.0.0.1")) {
		t.Errorf("the union is %v", both)
	}
	in := both.In(netip.MustParsePrefix("10.0.0.64/26"))
	if len(in) != 1 || in[0].String() != "10.0.0.64-10.0.0.127" {
		t.Errorf("in one block: %v", in)
	}
	if got := both.In(netip.MustParsePrefix("10.0.1.0/24")); got != nil {
		t.Errorf("in another network: %v", got)
	}
}

func TestUsableAddresses(t *testing.T) {
	for _, tc := range []struct {
		pool     string
		bits     int
		reserved []string
		want     int64
	}{
		{"10.0.0.0/24", 26, nil, 252},
		{"10.0.0.0/26", 26, nil, 63},
		{"10.0.0.0/24", 32, nil, 256},
		{"10.0.0.0/24", 26, []string{"10.0.0.5"}, 251},
		{"10.0.0.0/24", 26, []string{"10.0.0.0"}, 252},                     // the node's own address
		{"10.0.0.0/24", 26, []string{"10.0.0.0/26"}, 189},                  // a whole block
		{"10.0.0.0/24", 26, []string{"10.0.0.60-10.0.0.68"}, 244},          // across the border of two
		{"10.0.0.0/24", 26, []string{"9.0.0.0-10.0.0.3", "11.0.0.1"}, 249}, // what lies outside counts for nothing
		{"10.0.0.0/24", 32, []string{"10.0.0.0/25"}, 128},
		{"fd00::/120", 122, []string{"fd00::10-fd00::1f"}, 252 - 16},
		{"fd00::/48", 122, []string{"fd00::/64"}, 1<<63 - 1},
	} {
		set, problems := Parse(tc.reserved, netip.Prefix{})
		if got := set.Usable(netip.MustParsePrefix(tc.pool), tc.bits); got != tc.want || len(problems) > 0 {
			t.Errorf("%s in blocks of /%d without %v: %d, want %d %v", tc.pool, tc.bits, tc.reserved, got, tc.want, problems)
		}
	}
	set, _ := Parse([]string{"10.0.0.0-10.0.0.66"}, netip.Prefix{})
	if got := set.Prefixes(netip.MustParsePrefix("10.0.0.0/24")); len(got) != 3 || got[0] != netip.MustParsePrefix("10.0.0.0/26") {
		t.Errorf("prefixes %v", got)
	}
}
