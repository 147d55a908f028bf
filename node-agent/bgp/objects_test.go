package bgp

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

// waker counts what it is told.
type waker struct{ woken, pods int }

func (w *waker) Wake()        { w.woken++ }
func (w *waker) PodsChanged() { w.pods++ }

// TestAddressesOfASilentNodeStay has a node's agent write no addresses: the sessions with that node must not end.
func TestAddressesOfASilentNodeStay(t *testing.T) {
	o := NewCachedObjects("a", nil, nil, nil)
	node := func(uid string, addresses ...string) []v1alpha1.NodeNetwork {
		n := v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "b", UID: types.UID(uid)}}
		for _, a := range addresses {
			n.Status.Addresses = append(n.Status.Addresses, v1alpha1.NodeAddress{Address: a})
		}
		return []v1alpha1.NodeNetwork{n}
	}
	first := func(nodes []v1alpha1.NodeNetwork) string {
		if a := o.lastAddresses(nodes)[0].Status.Addresses; len(a) > 0 {
			return a[0].Address
		}
		return ""
	}
	for _, step := range []struct {
		what  string
		nodes []v1alpha1.NodeNetwork
		want  string
	}{
		{"a new node has none", node("1"), ""},
		{"it has one", node("1", "10.0.0.2"), "10.0.0.2"},
		{"its agent says none", node("1"), "10.0.0.2"},
		{"and again", node("1"), "10.0.0.2"},
		{"another one", node("1", "10.0.0.3"), "10.0.0.3"},
		{"another node of that name", node("2"), ""},
	} {
		if got := first(step.nodes); got != step.want {
			t.Errorf("%s: %q, not %q", step.what, got, step.want)
		}
	}
}

func TestOtherBlocksOfTheNodeWake(t *testing.T) {
	w := &waker{}
	var blocks []bgpplan.Block
	o := NewCachedObjects("a", nil, nil, func() []bgpplan.Block { return blocks })
	o.loop = w
	one := bgpplan.Block{CIDR: netip.MustParsePrefix("10.0.0.0/26"), Pool: "pods"}
	lent := bgpplan.Block{CIDR: netip.MustParsePrefix("10.0.0.70/32"), Pool: "pods", Lent: true}
	for _, step := range []struct {
		what   string
		blocks []bgpplan.Block
		woken  int
	}{
		{"none", nil, 0},
		{"a block", []bgpplan.Block{one}, 1},
		{"the same again", []bgpplan.Block{one}, 1},
		{"a range of another one", []bgpplan.Block{one, lent}, 2},
		{"the range is gone", []bgpplan.Block{one}, 3},
		{"all are gone", nil, 4},
	} {
		blocks = step.blocks
		o.BlocksChanged()
		if w.woken != step.woken {
			t.Errorf("%s: woken %d times", step.what, w.woken)
		}
	}
}

func TestCordonedNode(t *testing.T) {
	w := &waker{}
	o := NewCachedObjects("a", nil, nil, nil)
	o.loop = w
	node := func(name string, unschedulable bool) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Unschedulable: unschedulable}}
	}
	o.useNode(node("a", false), false)
	o.useNode(node("b", true), false)
	if o.Cordoned(t.Context()) || w.pods != 0 {
		t.Error("cordoned by another node")
	}
	o.useNode(node("a", true), false)
	o.useNode(node("a", true), false)
	if !o.Cordoned(t.Context()) || w.pods != 1 {
		t.Errorf("cordoned: %v, told %d times", o.Cordoned(t.Context()), w.pods)
	}
	if o.useNode(node("a", true), true); o.Cordoned(t.Context()) {
		t.Error("a node that is gone is cordoned")
	}
}

func TestPeerFacts(t *testing.T) {
	node := func(change func(*v1alpha1.NodeNetwork)) *v1alpha1.NodeNetwork {
		n := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"rack": "1"}}}
		n.Status.Addresses = []v1alpha1.NodeAddress{{Address: "10.0.0.1"}}
		change(n)
		return n
	}
	for what, c := range map[string]struct {
		change func(*v1alpha1.NodeNetwork)
		want   bool
	}{
		"nothing":   {func(*v1alpha1.NodeNetwork) {}, false},
		"MTU":       {func(n *v1alpha1.NodeNetwork) { n.Status.MTU = 9000; n.ResourceVersion = "2" }, false},
		"addresses": {func(n *v1alpha1.NodeNetwork) { n.Status.Addresses[0].Address = "10.0.0.2" }, true},
		"labels":    {func(n *v1alpha1.NodeNetwork) { n.Labels["rack"] = "2" }, true},
	} {
		if got := peerFactsDiffer(node(func(*v1alpha1.NodeNetwork) {}), node(c.change)); got != c.want {
			t.Errorf("a change of %s wakes: %v", what, got)
		}
	}
}

func TestTolerationOfACordonedNode(t *testing.T) {
	taint := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	for what, c := range map[string]struct {
		toleration corev1.Toleration
		want       bool
	}{
		"as DaemonSets have it": {corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}, true},
		"everything":            {corev1.Toleration{Operator: corev1.TolerationOpExists}, true},
		"equal":                 {corev1.Toleration{Key: corev1.TaintNodeUnschedulable}, true},
		"another taint":         {corev1.Toleration{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists}, false},
		"another effect":        {corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}, false},
		"another value":         {corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Value: "yes"}, false},
		"nothing":               {corev1.Toleration{}, false},
	} {
		if got := tolerates(&c.toleration, &taint); got != c.want {
			t.Errorf("%s tolerates it: %v", what, got)
		}
	}
}
