package addresses

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
	"github.com/causeway-net/causeway/internal/ipam/wish"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

func testPool(name, cidr string, age int, change func(*v1alpha1.IPPool)) *v1alpha1.IPPool {
	p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(10000-age), 0))}}
	p.Spec = v1alpha1.IPPoolSpec{CIDR: cidr, Encapsulation: v1alpha1.EncapsulationVXLAN, AssignmentMode: v1alpha1.AssignmentAutomatic}
	if change != nil {
		change(p)
	}
	return p
}

func label(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func views(pools ...*v1alpha1.IPPool) []cluster.Pool {
	var out []cluster.Pool
	for _, p := range pools {
		out = append(out, cluster.Pool{Object: p, Route: plan.Pool{Name: p.Name, CIDR: netip.MustParsePrefix(p.Spec.CIDR)}})
	}
	return out
}

func condition(kind string) func(*v1alpha1.IPPool) {
	return func(p *v1alpha1.IPPool) {
		p.Status.Conditions = []metav1.Condition{{Type: kind, Status: metav1.ConditionTrue}}
	}
}

var unparsable = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Near"}}}

func TestCandidates(t *testing.T) {
	pools := NewPools(func(name string) (cluster.Namespace, bool) {
		switch name {
		case "blue":
			return cluster.Namespace{Labels: map[string]string{"team": "blue"}}, true
		case "annotated":
			return cluster.Namespace{Annotations: map[string]string{v1alpha1.AnnotationPools: "manual, six"}}, true
		case "thief":
			return cluster.Namespace{Annotations: map[string]string{v1alpha1.AnnotationPools: "team"}}, true
		}
		return cluster.Namespace{}, name == "default"
	})
	pools.set(views(
		testPool("old", "10.0.0.0/16", 9, nil),
		testPool("young", "10.1.0.0/16", 1, nil),
		testPool("six", "fd00::/64", 5, nil),
		testPool("disabled", "10.2.0.0/16", 99, func(p *v1alpha1.IPPool) { p.Spec.Disabled = true }),
		testPool("terminating", "10.3.0.0/16", 99, func(p *v1alpha1.IPPool) { p.DeletionTimestamp = &metav1.Time{} }),
		testPool("overlapping", "10.4.0.0/16", 99, condition(v1alpha1.ConditionOverlapping)),
		testPool("conflicting", "10.9.0.0/16", 99, condition(v1alpha1.ConditionConflicting)),
		testPool("other-zone", "10.5.0.0/16", 99, func(p *v1alpha1.IPPool) { p.Spec.NodeSelector = label("zone", "b") }),
		testPool("odd-zone", "10.10.0.0/16", 99, func(p *v1alpha1.IPPool) { p.Spec.NodeSelector = unparsable }),
		testPool("zone", "10.6.0.0/16", 0, func(p *v1alpha1.IPPool) { p.Spec.NodeSelector = label("zone", "a") }),
		testPool("manual", "10.7.0.0/16", 99, func(p *v1alpha1.IPPool) { p.Spec.AssignmentMode = v1alpha1.AssignmentManual }),
		testPool("team", "10.8.0.0/16", 0, func(p *v1alpha1.IPPool) { p.Spec.NamespaceSelector = label("team", "blue") }),
		testPool("odd-team", "10.11.0.0/16", 99, func(p *v1alpha1.IPPool) { p.Spec.NamespaceSelector = unparsable }),
	), nil, cluster.Node{Name: "n", Labels: map[string]string{"zone": "a"}}, true)
	for _, tc := range []struct {
		namespace string
		asked     []string
		want      [][]string
		err       string // a part of it
	}{
		{"default", nil, [][]string{{"old", "young", "zone"}, {"six"}}, ""},
		{"blue", nil, [][]string{{"team", "old", "young", "zone"}, {"six"}}, ""},
		{"annotated", nil, [][]string{{"manual"}, {"six"}}, ""},
		{"default", []string{"manual"}, [][]string{{"manual"}}, ""},
		{"blue", []string{"team"}, [][]string{{"team"}}, ""},
		{"default", []string{"disabled"}, nil, "no pool"},
		{"default", []string{"conflicting"}, nil, "no pool"},
		{"default", []string{"nowhere"}, nil, "IPPool nowhere, which the pod asks for, does not exist"},
		{"default", []string{"team"}, nil, "may not serve namespace default"},
		{"default", []string{"old", "team"}, nil, "may not serve namespace default"},
		{"thief", nil, nil, "may not serve namespace thief"},
		{"blue", []string{"odd-team"}, nil, "may not serve namespace blue"},
		{"unknown", nil, nil, addressbook.ErrUnknownNamespace.Error()},
		{"unknown", []string{"old"}, nil, addressbook.ErrUnknownNamespace.Error()},
	} {
		got, err := pools.Candidates(tc.namespace, []wish.Wish{{Source: "the pod", Pools: tc.asked}})
		failed := (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err)
		if failed || !slices.EqualFunc(got, tc.want, slices.Equal[[]string]) {
			t.Errorf("%s asks for %v: got %v, %v; want %v, %q", tc.namespace, tc.asked, got, err, tc.want, tc.err)
		}
	}
}

func TestNoPoolServesANodeThatDoesNotExist(t *testing.T) {
	for _, p := range NewPools(nil).set(views(testPool("p", "10.0.0.0/16", 1, nil)), nil, cluster.Node{}, false) {
		if p.Usable {
			t.Errorf("pool %s is usable without a Node", p.Name)
		}
	}
}

func TestMTUIsTheSmallestOfThePools(t *testing.T) {
	pools := NewPools(nil)
	pools.SetMTU(map[string]int{"four": 1450, "six": 1430}, 1500)
	for want, names := range map[int][]string{1430: {"four", "six"}, 1450: {"four"}, 1500: {"unknown"}} {
		if got := pools.MTU(names); got != want {
			t.Errorf("%v: got %d, want %d", names, got, want)
		}
	}
}

func TestReservedAddressesOfThePoolAndOfTheCluster(t *testing.T) {
	own := testPool("p", "10.0.0.0/16", 1, func(p *v1alpha1.IPPool) { p.Spec.Reserved = []string{"10.0.0.5", "nonsense"} })
	everywhere, _ := reservation.Parse([]string{"10.0.0.8-10.0.0.9"}, netip.Prefix{})
	known := NewPools(nil).set(views(own), everywhere, cluster.Node{}, true)
	for a, want := range map[string]bool{"10.0.0.5": true, "10.0.0.9": true, "10.0.0.6": false} {
		if known[0].Reserved.Contains(netip.MustParseAddr(a)) != want {
			t.Errorf("%s reserved: %t", a, !want)
		}
	}
}
