package trust_test

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/retry"
)

const merge = "application/merge-patch+json"

// TestRecordsOfPods: nobody but an agent makes a WorkloadEndpoint, and nobody can make one keep its address.
func TestRecordsOfPods(t *testing.T) {
	w := begin(t)
	ctx := t.Context()
	forged := endpoint("own", func(e *v1alpha1.WorkloadEndpoint) { e.Spec.Interface = "bond0" })
	check(t, w.Client.Create(ctx, forged), "Only the agent of a node creates WorkloadEndpoints")
	check(t, w.controller.Create(ctx, endpoint("own")), noRight)
	for name, change := range map[string]func(*v1alpha1.WorkloadEndpoint){
		"neither finalizers nor owners":  func(e *v1alpha1.WorkloadEndpoint) { e.Finalizers = []string{"example.com/keep"} },
		"neither labels nor annotations": func(e *v1alpha1.WorkloadEndpoint) { e.Annotations = map[string]string{"a": "b"} },
	} {
		check(t, w.own.Create(ctx, endpoint("own", change)), name)
	}
	e := endpoint("own")
	create(ctx, t, w.own, e)
	for _, patch := range []string{
		`{"metadata":{"finalizers":["example.com/keep"]}}`,
		`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"1"}]}}`,
	} {
		check(t, w.Client.Patch(ctx, e.DeepCopy(), client.RawPatch(merge, []byte(patch))), "neither finalizers nor owners")
	}
	check(t, w.Client.Delete(ctx, e, client.PropagationPolicy(metav1.DeletePropagationForeground)), "in the background")
	check(t, w.Client.Delete(ctx, e), "")
}

// TestBlocksFitTheirPool: only the controller makes blocks, and only such as their pool allows now.
func TestBlocksFitTheirPool(t *testing.T) {
	w := begin(t)
	ctx := t.Context()
	pool := func(name, cidr string, finalizers ...string) *v1alpha1.IPPool {
		p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: finalizers}, Spec: v1alpha1.IPPoolSpec{CIDR: cidr}}
		create(ctx, t, w.Client, p)
		return p
	}
	pool("four", "10.9.0.0/16", v1alpha1.FinalizerPool)
	pool("six", "fd00:9::/48", v1alpha1.FinalizerPool)
	pool("fresh", "10.10.0.0/16")
	going := pool("going", "10.11.0.0/16", v1alpha1.FinalizerPool)
	gone := pool("gone", "10.12.0.0/16")
	must(t, w.Client.Delete(ctx, going))
	must(t, w.Client.Delete(ctx, gone))
	for _, c := range []struct{ cidr, pool, want string }{
		{"10.9.0.0/26", "four", ""},
		{"fd00:9::/122", "six", ""},
		{"10.9.1.0/24", "four", "are /26, but this one is"},
		{"10.9.1.0/28", "four", "are /26, but this one is"},
		{"fd00:9::1:0/120", "six", "are /122, but this one is"},
		{"10.8.0.0/26", "four", "does not lie in its pool four"},
		{"fd00:9::40/122", "four", "does not lie in its pool four"},
		{"10.9.0.64/26", "six", "does not lie in its pool six"},
		{"0.0.0.0/0", "four", "does not lie in its pool four"},
		{"10.10.0.0/26", "fresh", "lacks the finalizer"},
		{"10.11.0.0/26", "going", "is being deleted"},
		{"10.12.0.0/26", "gone", "There is no IPPool gone"},
		{"10.13.0.0/26", "never", "There is no IPPool never"},
	} {
		// The API server hears of pools by a watch, so its answer may be a moment behind.
		err := retry.Until(ctx, 5*time.Second, func() error {
			b := block(c.cidr, c.pool)
			err := w.controller.Create(ctx, b, client.DryRunAll)
			if (err == nil) != (c.want == "") {
				return fmt.Errorf("%s of %s: %v, want %q", c.cidr, c.pool, err, c.want)
			}
			check(t, err, c.want)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	b := block("10.9.0.0/26", "four")
	check(t, w.Client.Create(ctx, b.DeepCopy()), "Only Causeway's controller creates IPBlocks")
	foreign := b.DeepCopy()
	foreign.Finalizers = append(foreign.Finalizers, "example.com/keep")
	check(t, w.controller.Create(ctx, foreign), "neither owners nor finalizers")
	create(ctx, t, w.controller, b)
	check(t, w.Client.Patch(ctx, b.DeepCopy(), client.RawPatch(merge, []byte(`{"spec":{"nodeAddresses":["192.0.2.9"]}}`))), "Only Causeway's controller changes")
	check(t, w.Client.Patch(ctx, b.DeepCopy(), client.RawPatch(merge, []byte(`{"metadata":{"finalizers":["causeway.dev/addresses","example.com/keep"]}}`))),
		"neither owners nor finalizers")
	check(t, w.controller.Patch(ctx, b.DeepCopy(), client.RawPatch(merge, []byte(`{"spec":{"nodeAddresses":["192.0.2.9"]}}`))), "")
	check(t, w.Client.Delete(ctx, b, client.PropagationPolicy(metav1.DeletePropagationForeground)), "in the background")
	check(t, w.Client.Delete(ctx, b), "")
}
