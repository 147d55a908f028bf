package controllers_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// conflicts says whether a pool is Conflicting, not Ready, and names what it hits.
func conflicts(names string) func(*v1alpha1.IPPool) bool {
	return func(p *v1alpha1.IPPool) bool {
		c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionConflicting)
		return c != nil && c.Status == metav1.ConditionTrue && strings.Contains(c.Message, names) && isNot(v1alpha1.ConditionReady)(p)
	}
}

func (w *world) deletePool(name string) {
	w.Helper()
	w.must(w.Delete(w.ctx, &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	w.wait("pool "+name+" is gone", func() string {
		if err := w.Get(w.ctx, client.ObjectKey{Name: name}, &v1alpha1.IPPool{}); err == nil {
			return "it is there"
		}
		return ""
	})
}

// TestThePoolThatWouldCutTheClusterOff is the pool in whose range nodes, API server and Services are, made before the nodes and after.
func TestThePoolThatWouldCutTheClusterOff(t *testing.T) {
	w := begin(t)
	slice := &discoveryv1.EndpointSlice{}
	w.must(w.Get(w.ctx, client.ObjectKey{Namespace: "default", Name: "kubernetes"}, slice))
	api := slice.Endpoints[0].Addresses[0]
	around := netip.PrefixFrom(netip.MustParseAddr(api), 24).Masked().String()
	nothing := func() {
		t.Helper()
		w.steady("nothing is given out", 300*time.Millisecond, func() string {
			if got := w.blocks(); len(got) > 0 {
				return fmt.Sprint(got)
			}
			return ""
		})
	}
	killer := func(name, cidr, hits string) {
		t.Helper()
		began := time.Now()
		w.pool(name, cidr)
		w.waitPool(name, "conflicting", conflicts(hits))
		t.Logf("pool %s says so after %s", cidr, time.Since(began))
	}
	killer("api", around, "the address "+api+" of the API server")
	killer("services", "10.96.128.0/24", "the Service range 10.96.0.0/16")
	w.pool("nodes", "192.168.0.0/16")
	w.waitPool("nodes", "no node is there yet", is(v1alpha1.ConditionReady))

	w.node("n1", "192.168.0.1", want("nodes", 99, 9), want("api", 99, 9), want("services", 99, 9), want("again", 99, 9), want("kubelet", 99, 9))
	w.waitPool("nodes", "conflicting when a node comes", conflicts("the subnet 192.168.0.0/24 of node n1"))
	killer("again", "192.168.0.128/25", "node n1")
	var n corev1.Node
	w.must(w.Get(w.ctx, client.ObjectKey{Name: "n1"}, &n))
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.20.5.5"}, {Type: corev1.NodeHostName, Address: "n1"}, {Type: corev1.NodeInternalIP, Address: "192.168.0.1"}}
	w.must(w.Status().Update(w.ctx, &n))
	killer("kubelet", "172.20.0.0/16", "the address 172.20.5.5 of node n1")
	nothing()
	for _, name := range []string{"api", "services", "nodes", "again", "kubelet"} {
		w.deletePool(name)
	}
}

// TestAConflictThatComesLater: the pool keeps its pods and gives out no more of the blocks that the conflict touches.
func TestAConflictThatComesLater(t *testing.T) {
	w := begin(t)
	w.pool("p", "10.0.0.0/24")
	w.node("n1", "192.168.0.1", want("p", 1, 0))
	w.waitBlocks("one", "10.0.0.0/26 n1")
	w.endpoint("e", "n1", "p", "10.0.0.5/32")
	w.node("n2", "192.168.0.2")
	w.report("n2", func(nn *v1alpha1.NodeNetwork) {
		nn.Status.Addresses = append(nn.Status.Addresses, v1alpha1.NodeAddress{Address: "10.0.0.65", Subnet: "10.0.0.64/27", Interface: "eth1"})
	})
	w.waitPool("p", "conflicting", conflicts("the subnet 10.0.0.64/27 of node n2"))
	w.setShare("n1", want("p", 200, 0))
	w.waitBlocks("all but what n2 needs", "10.0.0.0/26 n1", "10.0.0.128/26 n1", "10.0.0.192/26 n1")
	w.waitPool("p", "its pod keeps its address", func(p *v1alpha1.IPPool) bool { return p.Status.Allocated == 1 && p.Status.Blocks == 3 })
	w.dropNode("n2")
	w.waitPool("p", "the conflict goes with the node", isNot(v1alpha1.ConditionConflicting))
	w.wait("the last block", func() string {
		if got := w.blocks(); len(got) != 4 {
			return fmt.Sprint(got)
		}
		return ""
	})
}
