package controllers_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// TestAGroupWithoutAPrefix: each group gets a prefix of its own; the one for which none is left waits, and the pool says so until it is served.
func TestAGroupWithoutAPrefix(t *testing.T) {
	w := begin(t)
	w.pool("p", "10.0.0.0/24", func(p *v1alpha1.IPPool) {
		p.Spec.Aggregation = &v1alpha1.Aggregation{TopologyKey: "name", PrefixLength: 25}
	})
	w.node("n1", "192.168.0.1", want("p", 1, 0))
	w.waitBlocks("the first", "10.0.0.0/26 n1")
	w.node("n2", "192.168.0.2", want("p", 1, 0))
	w.waitBlocks("in another prefix", "10.0.0.0/26 n1", "10.0.0.128/26 n2")
	w.node("n3", "192.168.0.3", want("p", 1, 1))
	w.waitPool("p", "the third waits", func(p *v1alpha1.IPPool) bool {
		c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionAggregatesFull)
		return c != nil && c.Status == metav1.ConditionTrue && strings.Contains(c.Message, "node n3, where 1 pods wait")
	})
	w.waitPool("p", "the pool is not exhausted", isNot(v1alpha1.ConditionExhausted))
	w.setShare("n1", want("p", 70, 1))
	w.waitBlocks("others are served", "10.0.0.0/26 n1", "10.0.0.128/26 n2", "10.0.0.64/26 n1")
	w.setShare("n2", want("p", 0, 0, w.released("10.0.0.128/26")))
	w.waitBlocks("the third gets the prefix that came free", "10.0.0.0/26 n1", "10.0.0.128/26 n3", "10.0.0.64/26 n1")
}
