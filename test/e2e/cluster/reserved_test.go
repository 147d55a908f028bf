package cluster_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// TestReservedAddresses reserves addresses while pods have them: the pods keep them and answer, nobody gets them anew.
func TestReservedAddresses(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 2})
	ctx := t.Context()
	l.Create(t, pool("small", "10.70.0.0/28", func(s *v1alpha1.IPPoolSpec) {
		bits := int32(29)
		s.BlockSize, s.Reserved = &bits, []string{"10.70.0.2", "10.70.0.4-10.70.0.5"}
	}))
	l.Eventually(t, lab.Settle, "the pool is ready", func() error {
		if s, err := poolStatus(ctx, l, "small"); err != nil || s.NodesReady != 2 {
			return fmt.Errorf("%w: %+v", err, s)
		}
		return nil
	})
	first := l.MustStartPod(t, 0, "default/first")
	neighbour := l.MustStartPod(t, 1, "default/neighbour")
	kept := first.V4()

	// From now on the address of the running pod is reserved for all pools.
	if err := l.Client.Create(ctx, &v1alpha1.IPReservation{ObjectMeta: metav1.ObjectMeta{Name: "printers"},
		Spec: v1alpha1.IPReservationSpec{Addresses: []string{kept.String()}, Reason: "a printer will have it"}}); err != nil {
		t.Fatal(err)
	}
	holds := func(status metav1.ConditionStatus, text string) func() error {
		return func() error {
			var r v1alpha1.IPReservation
			if err := l.Client.Get(ctx, client.ObjectKey{Name: "printers"}, &r); err != nil {
				return err
			}
			c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReservedInUse)
			if c == nil || c.Status != status || !strings.Contains(c.Message, text) {
				return fmt.Errorf("%+v", r.Status)
			}
			return nil
		}
	}
	l.Eventually(t, lab.Settle, "the reservation says who has its address", holds(metav1.ConditionTrue, kept.String()+" (workloadendpoint default/first-"))
	if err := lab.Ping(ctx, neighbour, kept); err != nil {
		t.Errorf("the pod whose address was reserved later: %v", err)
	}

	// Others fill the pool without any reserved address.
	forbidden := map[netip.Addr]bool{kept: true}
	for _, a := range []string{"10.70.0.2", "10.70.0.4", "10.70.0.5"} {
		forbidden[netip.MustParseAddr(a)] = true
	}
	up := []*lab.Pod{neighbour}
	fill := func() (refused error) {
		for _, n := range l.Nodes {
			for refused = nil; refused == nil && len(up) < 20; {
				p, err := l.StartPod(ctx, n, fmt.Sprintf("default/more-%d", len(up)), lab.PodOptions{NoObject: true})
				if err != nil {
					_ = del(ctx, p)
					refused = err
					break
				}
				if forbidden[p.V4()] {
					t.Errorf("%s got the reserved address %s", p.Key(), p.V4())
				}
				up = append(up, p)
			}
		}
		return refused
	}
	wantError(t, fill(), "small")
	if len(up) < 3 {
		t.Errorf("only %d pods got an address", len(up))
	}
	if err := lab.PingMatrix(ctx, append(up, first)); err != nil {
		t.Error(err)
	}

	// When the pod ends, its address is free for the printer, not for the next pod.
	if err := del(ctx, first); err != nil {
		t.Fatal(err)
	}
	l.Eventually(t, lab.Settle, "nobody has the address", holds(metav1.ConditionFalse, "No pod"))
	wantError(t, fill(), "small")
	if err := l.Client.Delete(ctx, &v1alpha1.IPReservation{ObjectMeta: metav1.ObjectMeta{Name: "printers"}}); err != nil {
		t.Fatal(err)
	}
	l.Eventually(t, lab.Settle, "a pod gets the address once it is reserved no more", func() error {
		p, err := l.StartPod(ctx, l.Nodes[0], "default/last", lab.PodOptions{NoObject: true})
		if err != nil {
			_ = del(ctx, p)
			return err
		}
		if p.V4() != kept {
			t.Errorf("got %s, want %s", p.V4(), kept)
		}
		return lab.Ping(ctx, neighbour, p.V4())
	})
	checkConsistent(t, l)
}
