package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func world(n int, sixToo bool) World {
	w := World{Service: "check.there", ServiceAddresses: []netip.Addr{netip.MustParseAddr("10.96.0.7"), netip.MustParseAddr("fd00:96::7")}}
	for i := range n {
		p := Pod{Name: fmt.Sprintf("pod-%d", i), Node: fmt.Sprintf("n%02d", i), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}}
		if sixToo {
			p.Addresses = append(p.Addresses, netip.MustParseAddr(fmt.Sprintf("fd00::%x", i+1)))
		}
		w.Pods = append(w.Pods, p)
	}
	return w
}

func TestPlan(t *testing.T) {
	for _, test := range []struct {
		nodes, sample int
		six           bool
		pairs, all    int // of each pod
	}{
		{nodes: 1, sample: 9, pairs: 0, all: 3},
		{nodes: 3, sample: 9, pairs: 2, all: 2*2 + 3},
		{nodes: 3, sample: 9, six: true, pairs: 4, all: 4*2 + 4},
		{nodes: 40, sample: 5, pairs: 5, all: 5*2 + 3},
	} {
		tests := Plan(world(test.nodes, test.six), test.sample)
		asks, asked := map[string]int{}, map[string]int{}
		for i, q := range tests {
			if q.Question.ID != i {
				t.Fatalf("the question %+v has another place", q)
			}
			if q.Kind == podToPod {
				asks[q.From]++
				asked[q.To]++
				if q.From == q.To {
					t.Errorf("a pod asks itself: %+v", q)
				}
			}
		}
		if len(tests) != test.nodes*test.all {
			t.Errorf("%+v: %d tests", test, len(tests))
		}
		for node, n := range asks {
			if n != test.pairs || asked[node] != test.pairs {
				t.Errorf("%+v: %s asks %d and is asked %d times", test, node, n, asked[node])
			}
		}
	}
}

func TestReport(t *testing.T) {
	fail := func(hit func(Test) bool) Report {
		r := Report{Nodes: 4, Tests: Plan(world(4, false), 9)}
		for i := range r.Tests {
			if hit(r.Tests[i]) {
				r.Tests[i].Problem = "no answer"
			}
		}
		return r
	}
	for name, test := range map[string]struct {
		hit      func(Test) bool
		fine     bool
		suspects []string
	}{
		"all is well":     {func(Test) bool { return false }, true, nil},
		"one pair":        {func(q Test) bool { return q.Kind == podToPod && q.From == "n00" && q.To == "n01" }, false, nil},
		"a deaf node":     {func(q Test) bool { return q.Kind == podToPod && q.To == "n02" }, false, []string{"No node reaches pods of node n02"}},
		"a lonely node":   {func(q Test) bool { return q.Kind == podToPod && (q.To == "n02" || q.From == "n02") }, false, []string{"Node n02 reaches no other by IPv4, and none"}},
		"large ones only": {func(q Test) bool { return q.Kind == fullPacket }, false, nil},
	} {
		r := fail(test.hit)
		got := r.Suspects()
		if r.Fine() != test.fine || !slices.EqualFunc(got, test.suspects, strings.HasPrefix) {
			t.Errorf("%s: fine %t, suspects %q", name, r.Fine(), got)
		}
		worst, found := r.Worst()
		if found != (strings.HasPrefix(name, "one") || strings.HasPrefix(name, "a ")) || found && (worst.Kind != podToPod || worst.Problem == "") {
			t.Errorf("%s: the worst is %+v", name, worst)
		}
		sum := 0
		for _, l := range r.Lines() {
			sum += l.Passed + l.Failed
		}
		if sum != len(r.Tests) {
			t.Errorf("%s: the lines count %d tests of %d", name, sum, len(r.Tests))
		}
	}
	if (Report{Troubles: []string{"Node n09 is not tested."}}).Fine() {
		t.Error("a report with a trouble is fine")
	}
}
