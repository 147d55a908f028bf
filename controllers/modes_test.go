package controllers_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func TestModeChangeOnTheAPI(t *testing.T) {
	w := begin(t)
	const before, after = v1alpha1.EncapsulationVXLAN, v1alpha1.EncapsulationIPIP
	made := w.pool("p", "10.0.0.0/24", func(p *v1alpha1.IPPool) { p.Spec.Encapsulation = before })
	w.waitPool("p", "no nodes yet", func(p *v1alpha1.IPPool) bool {
		return p.Status.Encapsulation == before && meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady).Reason == "NoNodes"
	})
	says := func(node string, generation int64, sends v1alpha1.Encapsulation) {
		w.claim(node, func(c *v1alpha1.BlockClaim) {
			c.Spec.Pools = []v1alpha1.PoolClaim{want("p", 1, 0)}
			c.Status.Pools = []v1alpha1.PoolReport{{Pool: "p", PoolUID: string(made.UID), ObservedGeneration: generation, Encapsulation: sends}}
		})
	}
	w.node("n1", "192.168.0.1")
	w.node("n2", "192.168.0.2")
	w.node("n3", "192.168.0.3")
	says("n1", 1, before)
	says("n2", 1, before)
	w.waitPool("p", "two of three", func(p *v1alpha1.IPPool) bool { return p.Status.NodesReady == 2 && p.Status.NodesTotal == 3 })
	says("n3", 1, before)
	w.waitPool("p", "ready", is(v1alpha1.ConditionReady))

	var p v1alpha1.IPPool
	w.must(w.Get(w.ctx, client.ObjectKey{Name: "p"}, &p))
	p.Spec.Encapsulation = after
	w.must(w.Update(w.ctx, &p))
	w.waitPool("p", "pending", func(p *v1alpha1.IPPool) bool {
		return p.Status.ObservedGeneration == 2 && isNot(v1alpha1.ConditionReady)(p) && p.Status.NodesReady == 0
	})
	says("n1", 2, before)
	says("n2", 2, before)
	w.steady("nobody sends the new before all can receive it", 500*time.Millisecond, func() string {
		w.must(w.Get(w.ctx, client.ObjectKey{Name: "p"}, &p))
		if p.Status.Encapsulation != before {
			return string(p.Status.Encapsulation)
		}
		return ""
	})
	// The third agent dies: it holds nobody up any longer.
	w.renew("n3", 1)
	w.waitPool("p", "the rest may send", func(p *v1alpha1.IPPool) bool { return p.Status.Encapsulation == after && p.Status.NodesTotal == 2 })
	says("n1", 2, after)
	w.report("n2", func(nn *v1alpha1.NodeNetwork) {
		nn.Status.Encapsulations = []v1alpha1.Encapsulation{v1alpha1.EncapsulationNone, before}
	})
	w.waitPool("p", "a kernel lacks it", func(p *v1alpha1.IPPool) bool {
		return isNot(v1alpha1.ConditionKernelSupport)(p) && p.Status.NodesReady == 1 &&
			meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady).Reason == v1alpha1.ConditionKernelSupport
	})
	w.report("n2", func(nn *v1alpha1.NodeNetwork) { nn.Status.Encapsulations = nil })
	says("n2", 2, after)
	w.waitPool("p", "arrived", func(p *v1alpha1.IPPool) bool {
		c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		return is(v1alpha1.ConditionReady)(p) && c.ObservedGeneration == 2 && c.Message == "2 of 2 nodes have rendered generation 2."
	})
}
