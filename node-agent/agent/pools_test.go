package agent

import (
	"errors"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

func testPool(name, cidr string, age int, change func(*v1alpha1.IPPool)) v1alpha1.IPPool {
	p := v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(10000-age), 0))}}
	p.Spec = v1alpha1.IPPoolSpec{CIDR: cidr, Encapsulation: v1alpha1.EncapsulationVXLAN, AssignmentMode: v1alpha1.AssignmentAutomatic}
	if change != nil {
		change(&p)
	}
	return p
}

func label(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func TestCandidates(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"zone": "a"}}}
	pools := []v1alpha1.IPPool{
		testPool("old", "10.0.0.0/16", 9, nil),
		testPool("young", "10.1.0.0/16", 1, nil),
		testPool("six", "fd00::/64", 5, nil),
		testPool("disabled", "10.2.0.0/16", 99, func(p *v1alpha1.IPPool) { p.Spec.Disabled = true }),
		testPool("terminating", "10.3.0.0/16", 99, func(p *v1alpha1.IPPool) { p.DeletionTimestamp = &metav1.Time{} }),
		testPool("overlapping", "10.4.0.0/16", 99, func(p *v1alpha1.IPPool) {
			p.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionOverlapping, Status: metav1.ConditionTrue}}
		}),
		testPool("other-zone", "10.5.0.0/16", 99, func(p *v1alpha1.IPPool) { p.Spec.NodeSelector = label("zone", "b") }),
		testPool("zone", "10.6.0.0/16", 0, func(p *v1alpha1.IPPool) { p.Spec.NodeSelector = label("zone", "a") }),
		testPool("manual", "10.7.0.0/16", 99, func(p *v1alpha1.IPPool) { p.Spec.AssignmentMode = v1alpha1.AssignmentManual }),
		testPool("team", "10.8.0.0/16", 0, func(p *v1alpha1.IPPool) { p.Spec.NamespaceSelector = label("team", "blue") }),
	}
	facts := &poolFacts{namespaces: func(name string) (map[string]string, string, bool) {
		switch name {
		case "blue":
			return map[string]string{"team": "blue"}, "", true
		case "annotated":
			return nil, "manual, six", true
		}
		return nil, "", name == "default"
	}}
	facts.set(factsOf(pools, node))
	for _, tc := range []struct {
		namespace string
		asked     []string
		want      [][]string
		err       error
	}{
		{"default", nil, [][]string{{"old", "young", "zone"}, {"six"}}, nil},
		{"blue", nil, [][]string{{"team", "old", "young", "zone"}, {"six"}}, nil},
		{"annotated", nil, [][]string{{"manual"}, {"six"}}, nil},
		{"default", []string{"manual"}, [][]string{{"manual"}}, nil},
		{"default", []string{"disabled"}, nil, addressbook.ErrNoPool},
		{"default", []string{"nowhere"}, nil, addressbook.ErrNoPool},
		{"unknown", nil, [][]string{{"old", "young", "zone"}, {"six"}}, nil},
	} {
		got, err := facts.Candidates(tc.namespace, tc.asked)
		if !errors.Is(err, tc.err) || !slices.EqualFunc(got, tc.want, slices.Equal[[]string]) {
			t.Errorf("%s asks for %v: got %v, %v; want %v, %v", tc.namespace, tc.asked, got, err, tc.want, tc.err)
		}
	}
}

func TestNoPoolServesANodeThatDoesNotExist(t *testing.T) {
	for _, f := range factsOf([]v1alpha1.IPPool{testPool("p", "10.0.0.0/16", 1, nil)}, nil) {
		if f.pool.Usable {
			t.Errorf("pool %s is usable without a Node", f.pool.Name)
		}
	}
}

func TestMTUIsTheSmallestOfThePools(t *testing.T) {
	facts := &poolFacts{}
	facts.setMTU(map[string]int{"four": 1450, "six": 1430}, 1500)
	for want, pools := range map[int][]string{1430: {"four", "six"}, 1450: {"four"}, 1500: {"unknown"}} {
		if got := facts.MTU(pools); got != want {
			t.Errorf("%v: got %d, want %d", pools, got, want)
		}
	}
}
