package sticky

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

var (
	db0     = types.NamespacedName{Namespace: "shop", Name: "db-0"}
	address = netip.MustParseAddr("10.0.0.5")
)

// world has what the watches show, and what the API server has.
type world struct {
	shown, stored client.WithWatch
	events        *events.FakeRecorder
	foreign       bool // the addresses lie in no block of the record's node
	holder        string
	r             *Reconciler
}

func (w *world) Synced() bool                         { return true }
func (w *world) IsInUse(netip.Addr) bool              { return w.holder != "" }
func (w *world) Owns(string, string, netip.Addr) bool { return !w.foreign }
func (w *world) Record(netip.Addr) (types.NamespacedName, bool) {
	return types.NamespacedName{Namespace: "shop", Name: w.holder}, w.holder != ""
}

// reader writes to the API server and reads what the watches show.
type reader struct {
	client.WithWatch
	shown client.Reader
}

func (r reader) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	return r.shown.Get(ctx, key, o, opts...)
}

func (r reader) List(ctx context.Context, o client.ObjectList, opts ...client.ListOption) error {
	return r.shown.List(ctx, o, opts...)
}

func set(uid string) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: types.UID(uid)}}
}

func stickyPool() *v1alpha1.IPPool {
	return &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/24", Sticky: v1alpha1.StickyStatefulSet}}
}

func podOf(uid, node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-0", OwnerReferences: []metav1.OwnerReference{
		*metav1.NewControllerRef(set(uid), appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}}, Spec: corev1.PodSpec{NodeName: node}}
}

func record(name, a string) *v1alpha1.WorkloadEndpoint {
	return &v1alpha1.WorkloadEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: v1alpha1.WorkloadEndpointSpec{Addresses: []string{a + "/32"}}}
}

func memory(uid, a string) *v1alpha1.StickyAddress {
	return &v1alpha1.StickyAddress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-0"},
		Spec: v1alpha1.StickyAddressSpec{StatefulSet: "db", StatefulSetUID: uid, Addresses: []string{a}, Pools: []string{"p"}}}
}

func newWorld(t *testing.T, shown, stored []client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	make := func(objects []client.Object) client.WithWatch {
		return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
	}
	w := &world{shown: make(shown), stored: make(stored), events: events.NewFakeRecorder(8)}
	w.r = New(Options{Client: reader{w.stored, w.shown}, Live: w.stored, Events: w.events, Blocks: w})
	return w
}

func (w *world) records(a string) {
	e := blockplan.NewEndpoint("shop", "n1", []netip.Addr{netip.MustParseAddr(a)}, []string{"p"})
	w.r.Recorded(types.NamespacedName{Namespace: "shop", Name: "db-0-0123456789a"}, "db-0", e, true)
}

func (w *world) reconcile(t *testing.T) []string {
	t.Helper()
	if _, err := w.r.Reconcile(t.Context(), reconcile.Request{NamespacedName: db0}); err != nil {
		t.Fatal(err)
	}
	var o v1alpha1.StickyAddress
	if err := w.stored.Get(t.Context(), db0, &o); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	return o.Spec.Addresses
}

// TestOnlyWhatTheAPIServerConfirmsIsRemembered: a node's record alone is not enough.
func TestOnlyWhatTheAPIServerConfirmsIsRemembered(t *testing.T) {
	const name = "db-0-0123456789a"
	for what, c := range map[string]struct {
		pod     *corev1.Pod
		record  *v1alpha1.WorkloadEndpoint
		foreign bool
		want    bool
	}{
		"the pod is there":                       {pod: podOf("u", "n1"), record: record(name, "10.0.0.5"), want: true},
		"it is on another node":                  {pod: podOf("u", "n2"), record: record(name, "10.0.0.5")},
		"it is of an older StatefulSet":          {pod: podOf("old", "n1"), record: record(name, "10.0.0.5")},
		"it is not of a StatefulSet":             {pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-0"}, Spec: corev1.PodSpec{NodeName: "n1"}}, record: record(name, "10.0.0.5")},
		"it is gone":                             {record: record(name, "10.0.0.5")},
		"its record is gone":                     {pod: podOf("u", "n1")},
		"its record says something else by now":  {pod: podOf("u", "n1"), record: record(name, "10.0.0.6")},
		"the address is in no block of the node": {pod: podOf("u", "n1"), record: record(name, "10.0.0.5"), foreign: true},
	} {
		stored := []client.Object{set("u"), stickyPool()}
		if c.pod != nil {
			stored = append(stored, c.pod)
		}
		if c.record != nil {
			stored = append(stored, c.record)
		}
		w := newWorld(t, []client.Object{set("u"), stickyPool()}, stored)
		w.foreign = c.foreign
		w.records("10.0.0.5")
		if got := w.reconcile(t); (len(got) == 1) != c.want {
			t.Errorf("%s: remembered is %v", what, got)
		}
	}
}

// TestAWatchThatIsBehindForgetsNothing: the API server is asked first.
func TestAWatchThatIsBehindForgetsNothing(t *testing.T) {
	plain := stickyPool()
	plain.Spec.Sticky = v1alpha1.StickyNone
	other := record("other-0123456789a", "10.0.0.5")
	for what, c := range map[string]struct {
		shown, stored []client.Object
		holder        string
		stuck         []blockplan.Stuck
		kept          bool
		event         string
	}{
		"nothing has changed":            {shown: []client.Object{set("u"), stickyPool()}, stored: []client.Object{set("u"), stickyPool()}, kept: true},
		"no StatefulSet is shown":        {shown: []client.Object{stickyPool()}, stored: []client.Object{set("u"), stickyPool()}, kept: true},
		"an older StatefulSet is shown":  {shown: []client.Object{set("old"), stickyPool()}, stored: []client.Object{set("u"), stickyPool()}, kept: true},
		"the StatefulSet is gone":        {shown: []client.Object{stickyPool()}, stored: []client.Object{stickyPool()}},
		"it was made again":              {shown: []client.Object{set("v"), stickyPool()}, stored: []client.Object{set("v"), stickyPool()}},
		"no pool is shown":               {shown: []client.Object{set("u")}, stored: []client.Object{set("u"), stickyPool()}, kept: true},
		"the pool is gone":               {shown: []client.Object{set("u")}, stored: []client.Object{set("u")}, event: "IPPool p is gone"},
		"it is shown as it was":          {shown: []client.Object{set("u"), plain}, stored: []client.Object{set("u"), stickyPool()}, kept: true},
		"it is not sticky any more":      {shown: []client.Object{set("u"), plain}, stored: []client.Object{set("u"), plain}, event: "not sticky any more"},
		"another pod had the address":    {shown: []client.Object{set("u"), stickyPool()}, stored: []client.Object{set("u"), stickyPool()}, holder: other.Name, kept: true},
		"another pod has it":             {shown: []client.Object{set("u"), stickyPool()}, stored: []client.Object{set("u"), stickyPool(), other}, holder: other.Name, event: "another pod has the address"},
		"a node says that it can't come": {shown: []client.Object{set("u"), stickyPool()}, stored: []client.Object{set("u"), stickyPool(), podOf("u", "n2")}, stuck: []blockplan.Stuck{{Address: address, Node: "n1", Reason: "it is stuck"}}, kept: true},
		"the pod waits there":            {shown: []client.Object{set("u"), stickyPool()}, stored: []client.Object{set("u"), stickyPool(), podOf("u", "n1")}, stuck: []blockplan.Stuck{{Address: address, Node: "n1", Reason: "it is stuck"}}, event: "it is stuck"},
	} {
		m := memory("u", "10.0.0.5")
		w := newWorld(t, append(slices.Clone(c.shown), m.DeepCopy()), append(slices.Clone(c.stored), m.DeepCopy()))
		w.holder = c.holder
		w.r.Stuck(c.stuck)
		if got := w.reconcile(t); (len(got) == 1) != c.kept {
			t.Errorf("%s: remembered is %v", what, got)
		}
		said := ""
		if len(w.events.Events) > 0 {
			said = <-w.events.Events
		}
		if (said == "") != (c.event == "") || !strings.Contains(said, c.event) {
			t.Errorf("%s: the event says %q", what, said)
		}
	}
}

// TestAPodWithAnotherAddress: what it has now is remembered in place of what it had.
func TestAPodWithAnotherAddress(t *testing.T) {
	shared := []client.Object{set("u"), stickyPool(), memory("u", "10.0.0.5")}
	w := newWorld(t, shared, append(slices.Clone(shared), podOf("u", "n1"), record("db-0-0123456789a", "10.0.0.9")))
	w.records("10.0.0.9")
	if got := w.reconcile(t); !slices.Equal(got, []string{"10.0.0.9"}) {
		t.Errorf("remembered is %v", got)
	}
	if said := <-w.events.Events; !strings.Contains(said, "Address 10.0.0.5 is not remembered for pod db-0 any longer: the pod has 10.0.0.9 now.") {
		t.Errorf("the event says %q", said)
	}
}
