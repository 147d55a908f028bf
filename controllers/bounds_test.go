package controllers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// TestOneNodeHasOneNodesShare: whatever a node's claim says, it gets its share, and the others are served.
func TestOneNodeHasOneNodesShare(t *testing.T) {
	w := begin(t)
	w.pool("p", "10.0.0.0/24", func(p *v1alpha1.IPPool) {
		size := int32(28)
		p.Spec.BlockSize, p.Spec.MaxBlocksPerNode = &size, 3
	})
	w.node("honest", "192.168.0.1", want("p", 1, 0))
	w.waitBlocks("of the honest one", "10.0.0.0/28 honest")
	greedy := want("p", 65536, 65536, v1alpha1.ReleasedBlock{CIDR: "0.0.0.0/0", UID: "1"}, v1alpha1.ReleasedBlock{CIDR: "10.0.0.0/28", UID: "1"}, v1alpha1.ReleasedBlock{CIDR: "10.0.0.0/24", UID: "1"})
	for i := range 16 {
		greedy.Held = append(greedy.Held, fmt.Sprintf("10.0.0.%d/28", i*16))
	}
	w.node("greedy", "192.168.0.2", greedy)
	all := []string{"10.0.0.0/28 honest", "10.0.0.16/28 greedy", "10.0.0.32/28 greedy", "10.0.0.48/28 greedy"}
	w.waitBlocks("three and no more", all...)
	w.setShare("honest", want("p", 20, 1))
	w.waitBlocks("the honest one is served", "10.0.0.0/28 honest", "10.0.0.16/28 greedy", "10.0.0.32/28 greedy", "10.0.0.48/28 greedy", "10.0.0.64/28 honest")
	w.waitPool("p", "and the pool is not exhausted", isNot(v1alpha1.ConditionExhausted))
	w.waitPool("p", "and says who may have no more", func(p *v1alpha1.IPPool) bool {
		c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionNodesAtLimit)
		return c != nil && c.Status == metav1.ConditionTrue && strings.Contains(c.Message, "node greedy") && strings.Contains(c.Message, "lets one node have 3")
	})
}

// TestANodeNetworkBeforeItsNode: a person, or Git, may make one before the Node comes. It stays; one whose Node went goes.
func TestANodeNetworkBeforeItsNode(t *testing.T) {
	w := begin(t)
	early := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	w.must(w.Create(w.ctx, early))
	w.node("n2", "192.168.0.2")
	w.renew("n2", 1)
	w.dropNode("n2")
	w.waitTraces("n2", "")
	// A NodeNetwork that could go had gone by now: n1's is as old as n2's.
	w.steady("that of the coming node stays", time.Second, func() string {
		var nn v1alpha1.NodeNetwork
		if err := w.Get(w.ctx, client.ObjectKey{Name: "n1"}, &nn); err != nil {
			return err.Error()
		}
		if nn.UID != early.UID {
			return "it was made anew"
		}
		return ""
	})
	w.node("n1", "192.168.0.1")
	w.renew("n1", 1)
	w.dropNode("n1")
	w.waitTraces("n1", "")
}

// TestWithEveryLeaseRunOut: no encapsulation flips, and the pool is not Ready.
func TestWithEveryLeaseRunOut(t *testing.T) {
	w := begin(t)
	const before, after = v1alpha1.EncapsulationVXLAN, v1alpha1.EncapsulationNone
	p := w.pool("p", "10.0.0.0/24", func(p *v1alpha1.IPPool) { p.Spec.Encapsulation = before })
	w.node("n1", "192.168.0.1", want("p", 1, 0))
	w.waitBlocks("one", "10.0.0.0/26 n1")
	w.renew("n1", 1)
	reason := func(want string) func(*v1alpha1.IPPool) bool {
		return func(p *v1alpha1.IPPool) bool { return readyReason(p) == want }
	}
	w.waitPool("p", "nobody lives", reason("NoLiveAgents"))
	w.must(w.Patch(w.ctx, p, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"encapsulation":%q}}`, after))))
	w.waitPool("p", "seen", func(p *v1alpha1.IPPool) bool { return p.Status.ObservedGeneration == p.Generation })
	w.steady("nothing flips", 500*time.Millisecond, func() string {
		w.must(w.Get(w.ctx, client.ObjectKeyFromObject(p), p))
		if p.Status.Encapsulation != before || readyReason(p) != "NoLiveAgents" {
			return fmt.Sprintf("%+v", p.Status)
		}
		return ""
	})
	w.renew("n1", 3600)
	w.waitPool("p", "it is back, and has not rendered the new generation", reason("NodesPending"))
}

func readyReason(p *v1alpha1.IPPool) string {
	for _, c := range p.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady {
			return c.Reason
		}
	}
	return ""
}

// TestANodeWithoutAddressesGetsNoBlock: before a node has said what it stands on, nobody knows what it conflicts with.
func TestANodeWithoutAddressesGetsNoBlock(t *testing.T) {
	w := begin(t)
	w.pool("p", "10.0.0.0/24")
	w.must(w.Create(w.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}))
	w.renew("n1", 3600)
	w.setShare("n1", want("p", 1, 0))
	w.node("n2", "192.168.0.2", want("p", 1, 0))
	w.waitBlocks("of the other", "10.0.0.0/26 n2")
	w.report("n1", func(nn *v1alpha1.NodeNetwork) {
		nn.Status.Addresses = []v1alpha1.NodeAddress{{Address: "192.168.0.1", Subnet: "192.168.0.0/24", Interface: "eth0"}}
	})
	w.waitBlocks("and now its own", "10.0.0.0/26 n2", "10.0.0.128/26 n1")
}
