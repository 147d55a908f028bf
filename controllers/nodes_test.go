package controllers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// traces counts what is left of a node.
func (w *world) traces(node string) string {
	w.Helper()
	var text string
	if err := w.Get(w.ctx, client.ObjectKey{Name: node}, &v1alpha1.NodeNetwork{}); err == nil {
		text += " NodeNetwork"
	}
	if err := w.Get(w.ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.AgentLeasePrefix + node}, &coordinationv1.Lease{}); err == nil {
		text += " Lease"
	}
	var endpoints v1alpha1.WorkloadEndpointList
	w.must(w.List(w.ctx, &endpoints, client.MatchingFields{"spec.node": node}))
	if len(endpoints.Items) > 0 {
		text += " WorkloadEndpoint"
	}
	var blocks v1alpha1.IPBlockList
	w.must(w.List(w.ctx, &blocks))
	for _, b := range blocks.Items {
		if b.Spec.Node == node {
			text += " IPBlock"
		}
	}
	return text
}

const allTraces = " NodeNetwork Lease WorkloadEndpoint IPBlock"

func (w *world) waitTraces(node, want string) {
	w.Helper()
	w.wait("what is left of "+node, func() string {
		if got := w.traces(node); got != want {
			return fmt.Sprintf("%q, want %q", got, want)
		}
		return ""
	})
}

func (w *world) dropNode(name string) {
	w.Helper()
	w.must(w.Delete(w.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
}

func TestDeletedNode(t *testing.T) {
	w := begin(t)
	w.pool("p", "10.0.0.0/24")
	w.node("n1", "192.168.0.1", want("p", 1, 0))
	w.waitBlocks("one", "10.0.0.0/26 n1")
	w.endpoint("e", "n1", "p", "10.0.0.5/32")

	w.dropNode("n1")
	w.steady("a live agent keeps everything", time.Second, func() string {
		if got := w.traces("n1"); got != allTraces {
			return got
		}
		return ""
	})
	// The Node comes back: nothing is taken away even when the lease runs out.
	w.must(w.Create(w.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}))
	w.renew("n1", 1)
	w.wait("the agent is silent", func() string {
		var nn v1alpha1.NodeNetwork
		w.must(w.Get(w.ctx, client.ObjectKey{Name: "n1"}, &nn))
		c := meta.FindStatusCondition(nn.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil || c.Status != metav1.ConditionUnknown || c.Reason != "AgentSilent" {
			return fmt.Sprint(c)
		}
		return ""
	})
	if got := w.traces("n1"); got != allTraces {
		t.Fatal(got)
	}
	w.dropNode("n1")
	w.waitTraces("n1", "")
	w.waitPool("p", "all came back", func(p *v1alpha1.IPPool) bool { return p.Status.Allocated == 0 && p.Status.Blocks == 0 })
}

func TestNodeDeletedWhileNoControllerRan(t *testing.T) {
	w := &world{T: t, ctx: t.Context(), Client: cluster.Client}
	w.wipe()
	stop := w.controller()
	w.pool("p", "10.0.0.0/24")
	w.node("n1", "192.168.0.1", want("p", 1, 0))
	w.node("n2", "192.168.0.2", want("p", 1, 0))
	w.wait("two blocks", func() string {
		if got := w.blocks(); len(got) != 2 {
			return fmt.Sprint(got)
		}
		return ""
	})
	stop()
	w.dropNode("n1")
	w.dropNode("n2")
	for _, n := range []string{"n1", "n2"} {
		w.must(w.Delete(w.ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.AgentLeasePrefix + n}}))
	}
	// Of n2 not even the NodeNetwork is left.
	w.must(w.Delete(w.ctx, &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}))
	w.controller()
	w.steady("not before the time of a lease", time.Second, func() string {
		if got := w.traces("n1") + w.traces("n2"); got != " NodeNetwork IPBlock IPBlock" {
			return got
		}
		return ""
	})
	w.waitTraces("n1", "")
	w.waitTraces("n2", "")
}

func TestNodeNetworkFollowsItsNode(t *testing.T) {
	w := begin(t)
	w.node("n1", "192.168.0.1")
	var n corev1.Node
	w.must(w.Get(w.ctx, client.ObjectKey{Name: "n1"}, &n))
	n.Labels = map[string]string{"rack": "7"}
	w.must(w.Update(w.ctx, &n))
	w.wait("labels", func() string {
		var nn v1alpha1.NodeNetwork
		w.must(w.Get(w.ctx, client.ObjectKey{Name: "n1"}, &nn))
		if len(nn.Labels) != 1 || nn.Labels["rack"] != "7" || len(nn.OwnerReferences) != 0 {
			return fmt.Sprint(nn.ObjectMeta)
		}
		return ""
	})
	w.must(w.Delete(w.ctx, &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}))
	w.waitTraces("n1", " NodeNetwork Lease")
}

func TestTaintOfANewNode(t *testing.T) {
	w := begin(t)
	foreign := corev1.Taint{Key: "example.com/maintenance", Effect: corev1.TaintEffectNoSchedule}
	w.must(w.Create(w.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{Taints: []corev1.Taint{
		{Key: v1alpha1.TaintAgentNotReady, Effect: corev1.TaintEffectNoSchedule}, foreign, {Key: v1alpha1.TaintAgentNotReady, Effect: corev1.TaintEffectNoExecute}}}}))
	taints := func() string {
		var n corev1.Node
		w.must(w.Get(w.ctx, client.ObjectKey{Name: "n1"}, &n))
		var keys []string
		for _, t := range n.Spec.Taints {
			if !strings.HasPrefix(t.Key, "node.kubernetes.io/") { // The API server's own.
				keys = append(keys, t.Key)
			}
		}
		return fmt.Sprint(keys)
	}
	const all = "[causeway.dev/agent-not-ready example.com/maintenance causeway.dev/agent-not-ready]"
	stays := func(why string) {
		t.Helper()
		w.steady(why, time.Second, func() string {
			if got := taints(); got != all {
				return got
			}
			return ""
		})
	}
	ready := func(status metav1.ConditionStatus) {
		w.report("n1", func(nn *v1alpha1.NodeNetwork) {
			meta.SetStatusCondition(&nn.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: status, Reason: "Test"})
		})
	}
	stays("there is no agent yet")
	ready(metav1.ConditionTrue)
	stays("a report without a live agent is of an earlier life of the node")
	ready(metav1.ConditionFalse)
	stays("the report is of a node that is not ready") // the controller hears of it before it hears of the lease
	w.renew("n1", 3600)
	stays("the agent lives, but the kernel does not show its plan")
	ready(metav1.ConditionTrue)
	w.wait("the taint goes, and no other", func() string {
		if got := taints(); got != "[example.com/maintenance]" {
			return got
		}
		return ""
	})
	// Somebody taints the node again: its agent serves, so the taint goes again.
	var n corev1.Node
	w.must(w.Get(w.ctx, client.ObjectKey{Name: "n1"}, &n))
	n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: v1alpha1.TaintAgentNotReady, Effect: corev1.TaintEffectNoSchedule})
	w.must(w.Update(w.ctx, &n))
	w.wait("the taint goes again", func() string {
		if got := taints(); got != "[example.com/maintenance]" {
			return got
		}
		return ""
	})
}
