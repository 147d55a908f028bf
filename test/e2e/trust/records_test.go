package trust_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
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
	check(t, w.Client.Create(ctx, forged), "spec.interface")
	check(t, w.Client.Create(ctx, endpoint("own")), "Only the agent of a node creates WorkloadEndpoints")
	check(t, w.controller.Create(ctx, endpoint("own")), noRight)
	for name, change := range map[string]func(*v1alpha1.WorkloadEndpoint){
		"neither finalizers nor owners":  func(e *v1alpha1.WorkloadEndpoint) { e.Finalizers = []string{"example.com/keep"} },
		"neither labels nor annotations": func(e *v1alpha1.WorkloadEndpoint) { e.Annotations = map[string]string{"a": "b"} },
	} {
		check(t, w.own.Create(ctx, endpoint("own", change)), name)
	}
	for want, change := range map[string]func(*v1alpha1.WorkloadEndpointSpec){
		"spec.interface":             func(s *v1alpha1.WorkloadEndpointSpec) { s.Interface = "bond0" },
		"spec.containerInterface":    func(s *v1alpha1.WorkloadEndpointSpec) { s.ContainerInterface = "../eth0" },
		"spec.mac":                   func(s *v1alpha1.WorkloadEndpointSpec) { s.MAC = "aa:bb" },
		"spec.networkNamespace":      func(s *v1alpha1.WorkloadEndpointSpec) { s.NetworkNamespace = "netns/x" },
		"not one address with /32":   func(s *v1alpha1.WorkloadEndpointSpec) { s.Addresses[0] = "10.9.0.0/24" },
		"written the shortest way":   func(s *v1alpha1.WorkloadEndpointSpec) { s.Addresses[1] = "fd00:0009::5/128" },
		"one address of each family": func(s *v1alpha1.WorkloadEndpointSpec) { s.Addresses[1] = "10.9.0.6/32" },
		"one pool for each address":  func(s *v1alpha1.WorkloadEndpointSpec) { s.Pools = s.Pools[:1] },
		"joined by commas":           func(s *v1alpha1.WorkloadEndpointSpec) { s.Networks = "10.9.0.7/32" },
		"named after its pod":        func(s *v1alpha1.WorkloadEndpointSpec) { s.Interface = "cw00000000000" },
		"spec.pod":                   func(s *v1alpha1.WorkloadEndpointSpec) { s.Pod = "../x" },
		"spec.containerID":           func(s *v1alpha1.WorkloadEndpointSpec) { s.ContainerID = "a b" },
		"spec.pools[0]":              func(s *v1alpha1.WorkloadEndpointSpec) { s.Pools[0] = "A/B" },
	} {
		bad := endpoint("own", func(e *v1alpha1.WorkloadEndpoint) { change(&e.Spec) })
		check(t, w.own.Create(ctx, bad), want)
	}
	e := endpoint("own", func(e *v1alpha1.WorkloadEndpoint) { e.Spec.Networks = "10.9.0.5/32,fd00:9::5/128" })
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
		w.checkBlock(t, c.cidr, c.pool, c.want)
	}
	t.Run("pools that overlap", func(t *testing.T) { w.checkOverlaps(t, pool) })
	b := block("10.9.0.0/26", "four")
	check(t, w.Client.Create(ctx, b.DeepCopy()), "Only Causeway's controller creates IPBlocks")
	foreign := b.DeepCopy()
	foreign.Finalizers = append(foreign.Finalizers, "example.com/keep")
	check(t, w.controller.Create(ctx, foreign), "neither owners nor finalizers")
	misnamed := b.DeepCopy()
	misnamed.Name = "another"
	check(t, w.controller.Create(ctx, misnamed), "named after its cidr")
	b.Spec.NodeAddresses = []string{"192.0.2.1", "fd01::1"}
	create(ctx, t, w.controller, b)
	if want := "192.0.2.1,fd01::1"; b.Spec.Addresses != want {
		t.Errorf("the column of addresses shows %q, want %q", b.Spec.Addresses, want)
	}
	check(t, w.Client.Patch(ctx, b.DeepCopy(), client.RawPatch(merge, []byte(`{"spec":{"nodeAddresses":["192.0.2.9"]}}`))), "Only Causeway's controller changes")
	check(t, w.Client.Patch(ctx, b.DeepCopy(), client.RawPatch(merge, []byte(`{"metadata":{"finalizers":["causeway.dev/addresses","example.com/keep"]}}`))),
		"neither owners nor finalizers")
	check(t, w.controller.Patch(ctx, b.DeepCopy(), client.RawPatch(merge, []byte(`{"spec":{"nodeAddresses":["192.0.2.9"]}}`))), "")
	check(t, w.Client.Delete(ctx, b, client.PropagationPolicy(metav1.DeletePropagationForeground)), "in the background")
	check(t, w.Client.Delete(ctx, b), "")
}

// checkBlock asks for a block as the controller. The API server hears of pools by a watch, so its answer may be a moment behind.
func (w *world) checkBlock(t *testing.T, cidr, pool, want string) {
	t.Helper()
	err := retry.Until(t.Context(), 5*time.Second, func() error {
		err := w.controller.Create(t.Context(), block(cidr, pool), client.DryRunAll)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			return fmt.Errorf("%s of %s: %v, want %q", cidr, pool, err, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// checkOverlaps: of pools that overlap the older gives blocks out, and no block lies in an older pool of another name, also
// while that is being deleted, when a leader that has lost its lease asks, and whatever the sizes of their blocks.
func (w *world) checkOverlaps(t *testing.T, pool func(name, cidr string, finalizers ...string) *v1alpha1.IPPool) {
	t.Helper()
	old := pool("old", "10.20.0.0/16", v1alpha1.FinalizerPool)
	later := retry.Until(t.Context(), 5*time.Second, func() error {
		// Timestamps count whole seconds. Names decide within the same, and b-inner comes before old.
		if time.Since(old.CreationTimestamp.Time) < 2*time.Second {
			return errors.New("the same second")
		}
		return nil
	})
	must(t, later)
	pool("b-inner", "10.20.128.0/24", v1alpha1.FinalizerPool)
	pool("c-outer", "10.16.0.0/12", v1alpha1.FinalizerPool)
	w.checkBlock(t, "10.20.0.0/26", "old", "")
	w.checkBlock(t, "10.20.128.0/26", "old", "")
	w.checkBlock(t, "10.20.128.0/26", "b-inner", "older pool old")
	w.checkBlock(t, "10.20.0.0/26", "c-outer", "older pool old")
	w.checkBlock(t, "10.21.0.0/26", "c-outer", "")
	must(t, w.Client.Delete(t.Context(), old.DeepCopy()))
	w.checkBlock(t, "10.20.128.0/26", "b-inner", "older pool old")
	w.checkBlock(t, "10.20.0.0/26", "c-outer", "older pool old")
	must(t, w.Client.Patch(t.Context(), old.DeepCopy(), client.RawPatch(merge, []byte(`{"metadata":{"finalizers":null}}`))))
	w.checkBlock(t, "10.20.128.0/26", "b-inner", "")
	w.checkBlock(t, "10.20.0.0/26", "c-outer", "")
	w.checkBlock(t, "10.20.128.0/26", "c-outer", "older pool b-inner")
}

// TestTheControllerOnlyLiftsItsTaint: the controller may patch Nodes, but nothing of them besides one taint.
func TestTheControllerOnlyLiftsItsTaint(t *testing.T) {
	w := begin(t)
	ctx := t.Context()
	ours := corev1.Taint{Key: v1alpha1.TaintAgentNotReady, Effect: corev1.TaintEffectNoSchedule}
	foreign := corev1.Taint{Key: "example.com/other", Value: "a", Effect: corev1.TaintEffectNoSchedule}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "tainted", Labels: map[string]string{"rack": "1"}}, Spec: corev1.NodeSpec{Taints: []corev1.Taint{ours, foreign}}}
	create(ctx, t, w.Client, node)
	patch := func(change func(*corev1.Node)) error {
		after := node.DeepCopy()
		change(after)
		return w.controller.Patch(ctx, after, client.MergeFrom(node), client.DryRunAll)
	}
	must(t, retry.Until(ctx, 30*time.Second, func() error { // The API server hears of policies by a watch.
		if err := patch(func(n *corev1.Node) { n.Spec.Unschedulable = true }); err == nil || !strings.Contains(err.Error(), "changes nothing else") {
			return fmt.Errorf("the policy is not yet in force: %v", err)
		}
		return nil
	}))
	const onlyTaint, nothingElse = "changes no other taint", "changes nothing else"
	for name, c := range map[string]struct {
		want   string
		change func(*corev1.Node)
	}{
		"lifts its taint": {"", func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{foreign} }},
		"lifts another":   {onlyTaint, func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{ours} }},
		"lifts all":       {onlyTaint, func(n *corev1.Node) { n.Spec.Taints = nil }},
		"adds one": {onlyTaint, func(n *corev1.Node) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "x", Effect: corev1.TaintEffectNoExecute})
		}},
		"changes a value":        {onlyTaint, func(n *corev1.Node) { n.Spec.Taints[1].Value = "b" }},
		"makes its taint evict":  {onlyTaint, func(n *corev1.Node) { n.Spec.Taints[0].Effect = corev1.TaintEffectNoExecute }},
		"cordons":                {nothingElse, func(n *corev1.Node) { n.Spec.Unschedulable = true }},
		"relabels":               {nothingElse, func(n *corev1.Node) { n.Labels["rack"] = "2" }},
		"annotates":              {nothingElse, func(n *corev1.Node) { n.Annotations = map[string]string{"a": "b"} }},
		"keeps it from going":    {nothingElse, func(n *corev1.Node) { n.Finalizers = []string{"example.com/never"} }},
		"gives it another CIDR":  {nothingElse, func(n *corev1.Node) { n.Spec.PodCIDR, n.Spec.PodCIDRs = "10.0.0.0/24", []string{"10.0.0.0/24"} }},
		"gives it to a provider": {nothingElse, func(n *corev1.Node) { n.Spec.ProviderID = "example://1" }},
		"lifts it and relabels":  {nothingElse, func(n *corev1.Node) { n.Spec.Taints, n.Labels = []corev1.Taint{foreign}, nil }},
	} {
		t.Run(name, func(t *testing.T) { check(t, patch(c.change), c.want) })
	}
	check(t, w.controller.Delete(ctx, node.DeepCopy()), noRight)
	check(t, w.controller.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "own"}}), noRight)
	check(t, w.controller.Status().Patch(ctx, node.DeepCopy(), client.RawPatch(merge, []byte(`{"status":{"phase":"Running"}}`))), noRight)
	after := node.DeepCopy()
	after.Labels["rack"] = "2"
	check(t, w.Client.Patch(ctx, after, client.MergeFrom(node)), "")
}
