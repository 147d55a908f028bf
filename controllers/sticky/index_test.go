package sticky

import (
	"net/netip"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/internal/ipam/blockplan"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// TestOnlyPodsOfStickyPoolsAreLookedAt: most records of a cluster are none of a sticky pool, and a controller that starts hears of all of
// them before it gives its first block.
func TestOnlyPodsOfStickyPoolsAreLookedAt(t *testing.T) {
	x := newIndex()
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	x.lead(queue)
	expect := func(what string, want int) {
		t.Helper()
		if got := queue.Len(); got != want {
			t.Errorf("%s: %d pods are looked at, not %d", what, got, want)
		}
		for queue.Len() > 0 {
			one, _ := queue.Get()
			queue.Done(one)
		}
	}
	pod := types.NamespacedName{Namespace: "a", Name: "db-0"}
	record := types.NamespacedName{Namespace: "a", Name: "db-0-0123456789a"}
	e := blockplan.NewEndpoint("a", "n1", []netip.Addr{netip.MustParseAddr("10.0.0.5")}, []string{"p"})

	x.recorded(record, pod.Name, e, true)
	x.recorded(record, pod.Name, e, false)
	x.recorded(record, pod.Name, e, true)
	expect("a record of a pool that the controller has not heard of", 0)
	if got := x.recordsOf(pod); len(got) != 1 {
		t.Errorf("the pod's records are %+v", got)
	}
	x.poolChanged("p", false)
	expect("the pool is not sticky", 0)
	x.poolChanged("p", true)
	expect("the pool is sticky", 1)
	x.recorded(record, pod.Name, e, false)
	expect("its record goes", 1)
	x.recorded(record, pod.Name, e, true)
	expect("its record comes", 1)
	x.lead(queue)
	expect("the controller leads", 1)
	x.poolChanged("p", false)
	expect("the pool is sticky no more", 1)
	x.remembered(pod, &sticky.Memory{Set: "db", Addresses: []sticky.Address{{Addr: netip.MustParseAddr("10.0.0.5"), Pool: "p"}}})
	expect("something is remembered", 1)
	x.recorded(record, pod.Name, e, false)
	expect("its record goes, and the pool was sticky once", 1)
	x.lead(queue)
	expect("a controller leads that finds something remembered", 1)
	x.poolChanged("p", false)
	expect("the pool changes", 1)
}
