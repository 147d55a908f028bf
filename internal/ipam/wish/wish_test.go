package wish

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func TestChoose(t *testing.T) {
	all, blue := labels.Everything(), labels.SelectorFromSet(labels.Set{"team": "blue"})
	pools := []Pool{
		{Name: "four", V4: true, Usable: true, Namespaces: all}, {Name: "other-four", V4: true, Usable: true, Namespaces: all},
		{Name: "six", Usable: true, Namespaces: all}, {Name: "other-six", Usable: true, Namespaces: all},
		{Name: "manual", V4: true, Usable: true, Manual: true, Namespaces: all}, {Name: "closed", V4: true, Namespaces: all},
		{Name: "blue", V4: true, Usable: true, Namespaces: blue}, {Name: "closed-six", Namespaces: all},
	}
	type annotations = map[string]string
	const both, v4, v6, dual = v1alpha1.AnnotationPools, v1alpha1.AnnotationV4Pools, v1alpha1.AnnotationV6Pools, v1alpha1.AnnotationRequireDualStack
	four, six := []string{"four", "other-four"}, []string{"six", "other-six"}
	for name, c := range map[string]struct {
		pod, namespace annotations
		labels         labels.Set
		want           [][]string
		err            string // a part of it
	}{
		"nobody asks":                        {want: [][]string{four, six}},
		"for one family":                     {pod: annotations{v4: "manual"}, want: [][]string{{"manual"}, six}},
		"for the other":                      {pod: annotations{v6: "other-six"}, want: [][]string{four, {"other-six"}}},
		"in an order of preference":          {pod: annotations{v4: "manual, other-four,four", v6: "other-six six"}, want: [][]string{{"manual", "other-four", "four"}, {"other-six", "six"}}},
		"for both at once, in an order":      {pod: annotations{both: "other-six,other-four,six,four"}, want: [][]string{{"other-four", "four"}, {"other-six", "six"}}},
		"for one family only":                {pod: annotations{both: "four"}, want: [][]string{{"four"}}},
		"the pod for one, the namespace too": {pod: annotations{v4: "manual"}, namespace: annotations{v4: "four", v6: "other-six"}, want: [][]string{{"manual"}, {"other-six"}}},
		"the pod has the last word":          {pod: annotations{both: "six"}, namespace: annotations{v4: "four"}, want: [][]string{{"six"}}},
		"one family beside both":             {pod: annotations{both: "four,six", v4: "manual"}, want: [][]string{{"manual"}, {"six"}}},
		"what is closed is passed over":      {pod: annotations{v4: "closed,four"}, want: [][]string{{"four"}, six}},
		"a pool of selected namespaces":      {pod: annotations{v4: "blue"}, labels: labels.Set{"team": "blue"}, want: [][]string{{"blue"}, six}},
		"and of others":                      {pod: annotations{v4: "blue"}, err: "IPPool blue, which the pod asks for, may not serve namespace n"},
		"asked by the namespace":             {namespace: annotations{v4: "four,blue"}, err: "which the namespace asks for, may not serve namespace n"},
		"a pool that does not exist":         {pod: annotations{v6: "nowhere"}, err: "IPPool nowhere, which the pod asks for, does not exist"},
		"a pool of the other family":         {pod: annotations{v4: "six"}, err: "the pod asks for IPPool six as an IPv4 pool, but it is an IPv6 pool"},
		"all closed":                         {pod: annotations{both: "closed"}, err: "no pool"},
		"both families there":                {pod: annotations{dual: "true"}, want: [][]string{four, six}},
		"no IPv6":                            {pod: annotations{dual: "true", v6: "closed-six"}, err: "no IPPool for IPv6 may serve it"},
		"no IPv4":                            {pod: annotations{both: "six"}, namespace: annotations{dual: "true"}, err: "no IPPool for IPv4 may serve it"},
		"the pod does not insist":            {pod: annotations{both: "six", dual: "false"}, namespace: annotations{dual: "true"}, want: [][]string{{"six"}}},
		"a value that is neither":            {namespace: annotations{dual: "yes"}, err: `the namespace asks for causeway.dev/require-dual-stack="yes"; write true or false`},
	} {
		got, err := Choose(pools, Namespace{"n", c.labels}, Read("the pod", c.pod), Read("the namespace", c.namespace))
		failed := (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err)
		if failed || !slices.EqualFunc(got, c.want, slices.Equal[[]string]) {
			t.Errorf("%s: got %v, %v; want %v, %q", name, got, err, c.want, c.err)
		}
	}
	var family *FamilyError
	if _, err := Choose(pools, Namespace{}, Wish{Pools: []string{"six"}, DualStack: RequireDualStack}); !errors.As(err, &family) || family.Family != "IPv4" {
		t.Errorf("%v", err)
	}
}

func TestOnlyAnnotationsOfWishesAreKept(t *testing.T) {
	if got := Keep(map[string]string{"other": "x"}); got != nil {
		t.Errorf("%v", got)
	}
	if got := Keep(map[string]string{"other": "x", v1alpha1.AnnotationV6Pools: "six"}); len(got) != 1 || got[v1alpha1.AnnotationV6Pools] != "six" {
		t.Errorf("%v", got)
	}
}
