package traces

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// known is a directory of addresses that has been read, and is empty.
type known struct{}

func (known) Synced() bool { return true }

func (known) Record(netip.Addr) (types.NamespacedName, bool) { return types.NamespacedName{}, false }

// TestTracesWaitInAQueue: one that waits asks for no other look, and the end of another one wakes the oldest.
func TestTracesWaitInAQueue(t *testing.T) {
	ctx, scheme := context.Background(), runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	phase := func(o client.Object) []string { return []string{o.(*v1alpha1.PathTrace).Status.Phase} }
	c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.PathTrace{}).WithIndex(&v1alpha1.PathTrace{}, phaseField, phase).Build()
	r := &Reconciler{Client: c, Live: c, Addresses: known{}, Now: time.Now}
	create := func(name, phase string, age time.Duration) types.NamespacedName {
		t.Helper()
		trace := &v1alpha1.PathTrace{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Now().Add(-age))}}
		trace.Status.Phase = phase
		if err := c.Create(ctx, trace); err != nil {
			t.Fatal(err)
		}
		return client.ObjectKeyFromObject(trace)
	}
	waits := func(key types.NamespacedName) {
		t.Helper()
		result, err := r.Reconcile(ctx, reconcile.Request{NamespacedName: key})
		var after v1alpha1.PathTrace
		if err == nil {
			err = c.Get(ctx, key, &after)
		}
		if err != nil || after.Status.Phase != v1alpha1.TracePending || result != (reconcile.Result{}) {
			t.Errorf("%s: phase %q, %+v (%v), want that it waits", key, after.Status.Phase, result, err)
		}
	}
	for i := range mostTraces {
		create(fmt.Sprintf("running-%d", i), v1alpha1.TraceRunning, time.Hour)
	}
	young, old := create("young", "", time.Minute), create("old", "", 2*time.Minute)
	waits(young)
	waits(old)
	if woken := r.waiting(ctx, nil); len(woken) > 0 {
		t.Errorf("%v are woken while %d run", woken, mostTraces)
	}
	if err := c.Delete(ctx, &v1alpha1.PathTrace{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "running-0"}}); err != nil {
		t.Fatal(err)
	}
	waits(create("new", "", 0)) // although there is room: others came before
	if woken := r.waiting(ctx, nil); len(woken) != 1 || woken[0].NamespacedName != old {
		t.Errorf("%v are woken, want %s", woken, old)
	}
}
