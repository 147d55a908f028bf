package records_test

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/records"
)

func source(t *testing.T, objects ...client.Object) records.Source {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return records.Source{
		Node: node, Server: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build(),
		OwnBlocks: func() []cluster.Block {
			return []cluster.Block{{Block: plan.Block{CIDR: blockOfTests.CIDR, Pool: "p", Node: node}}}
		},
	}
}

func TestThePastIsBlocksAndClaim(t *testing.T) {
	claim := &v1alpha1.BlockClaim{ObjectMeta: metav1.ObjectMeta{Name: node}}
	claim.Spec.Pools = []v1alpha1.PoolClaim{{Pool: "p", Held: []string{"10.0.0.4/30"}, Released: []v1alpha1.ReleasedBlock{{CIDR: "10.0.0.8/30", UID: "1"}},
		Given: []v1alpha1.GivenLoan{{CIDR: "10.0.0.1/32", ID: "a.1"}}}}
	past, err := source(t, claim).Past(t.Context())
	want := []addressbook.Block{blockOfTests, {CIDR: netip.MustParsePrefix("10.0.0.4/30"), Pool: "p"}}
	if err != nil || !reflect.DeepEqual(past.Held, want) || !slices.Equal(past.Released, []addressbook.Released{{CIDR: netip.MustParsePrefix("10.0.0.8/30"), UID: "1"}}) ||
		!slices.Equal(past.Given, []addressbook.Given{{CIDR: netip.MustParsePrefix("10.0.0.1/32"), Pool: "p", ID: "a.1"}}) {
		t.Errorf("%+v, %v", past, err)
	}
	if past, err := source(t).Past(t.Context()); err != nil || len(past.Held) != 1 {
		t.Errorf("without a claim: %+v, %v", past, err)
	}
}

func TestAPodIsGone(t *testing.T) {
	e := addressbook.Endpoint{Namespace: "default", Pod: "web", PodUID: "1"}
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		gone bool
	}{
		"deleted":         {nil, true},
		"there":           {pod("1", node), false},
		"another one":     {pod("2", node), true},
		"on another node": {pod("1", "node2"), true},
	} {
		var objects []client.Object
		if c.pod != nil {
			objects = append(objects, c.pod)
		}
		if gone, err := source(t, objects...).PodGone(t.Context(), e); err != nil || gone != c.gone {
			t.Errorf("%s: gone %v, %v", name, gone, err)
		}
	}
}

func pod(uid, on string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: on}}
	p.Namespace, p.Name, p.UID = "default", "web", "1"
	if uid != "1" {
		p.UID = "2"
	}
	return p
}
