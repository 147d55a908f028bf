package nodes

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// leases is an API server that has one lease and nothing else.
type leases struct {
	client.Reader // nil
	lease         *coordinationv1.Lease
}

// Get implements client.Reader.
func (l leases) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	if out, ok := into.(*coordinationv1.Lease); ok {
		l.lease.DeepCopyInto(out)
		return nil
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// noBlocks has no blocks.
type noBlocks struct{ Blocks }

// DeleteAll implements Blocks.
func (noBlocks) DeleteAll(context.Context, string) error { return nil }

// The watch of leases may hang while an agent renews its own: the API server is asked before anything is deleted. There is no
// client here, so a deletion would panic.
func TestAnAgentThatRenewsItsLeaseKeepsAllAlthoughTheWatchIsLate(t *testing.T) {
	now := time.Unix(1000, 0)
	clock := func() time.Time { return now }
	lease := &coordinationv1.Lease{}
	lease.Spec.RenewTime = &metav1.MicroTime{Time: now}
	r := &Reconciler{o: Options{Live: leases{lease: lease}, Blocks: noBlocks{}, Now: clock}, pulse: NewPulse(clock, 40*time.Second)}
	r.pulse.Observe("n", lease)
	now = now.Add(41 * time.Second)
	lease.Spec.RenewTime = &metav1.MicroTime{Time: now}
	if wait, err := r.cleanUp(t.Context(), "n"); err != nil || wait != 40*time.Second {
		t.Errorf("the clean-up waits %v (%v), want as long as the lease is good for", wait, err)
	}
}
