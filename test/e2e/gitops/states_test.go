package gitops_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// argoStates asks Argo CD for what Flux has not brought about.
func argoStates(t *testing.T, c *cluster) {
	ctx := t.Context()
	must(t, c.StopController("controller", syscall.SIGTERM))
	off := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "off"}, Spec: v1alpha1.IPPoolSpec{CIDR: "10.217.0.0/24", Encapsulation: v1alpha1.EncapsulationVXLAN, Disabled: true}}
	peer := &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "unfiltered"}, Spec: v1alpha1.BGPPeerSpec{PeerSelector: &metav1.LabelSelector{}, Filters: []string{"nowhere"}}}
	filter := &v1alpha1.BGPFilter{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: v1alpha1.BGPFilterSpec{ImportV4: []v1alpha1.BGPFilterRule{{Action: "Accept"}}}}
	reservation := &v1alpha1.IPReservation{ObjectMeta: metav1.ObjectMeta{Name: "kept"}, Spec: v1alpha1.IPReservationSpec{Addresses: []string{c.pods[0].V4().String()}}}
	for _, o := range []client.Object{off, peer, filter, reservation} {
		c.Create(t, o)
	}
	awaitArgo(t, c.Lab, "ippool off", "Progressing", "has not looked at it yet")
	must(t, c.StartController("controller-2"))
	awaitArgo(t, c.Lab, "ippool off", "Suspended", "spec.disabled is true")
	awaitArgo(t, c.Lab, "bgppeer unfiltered", "Degraded", "nowhere")
	awaitArgo(t, c.Lab, "bgpfilter all", "Healthy", "All rules make sense.")
	awaitArgo(t, c.Lab, "ippool web", "Healthy", c.pods[0].V4().String())

	c.Create(t, &v1alpha1.PathTrace{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "t"},
		Spec: v1alpha1.PathTraceSpec{SourcePod: c.pods[0].Name, Destination: v1alpha1.PathDestination{Pod: c.pods[1].Name}}})
	awaitArgo(t, c.Lab, "pathtrace t -n default", "Healthy", "")
	for _, node := range c.Nodes {
		awaitArgo(t, c.Lab, "nodenetwork "+node.Name, "Healthy", "")
		awaitArgo(t, c.Lab, "blockclaim "+node.Name, "Healthy", "")
	}
	for _, o := range []client.Object{off, peer, filter, reservation} {
		must(t, c.Client.Delete(ctx, o))
	}
	awaitArgo(t, c.Lab, "bgpnodestate node1", "Healthy", "")
}

func hasCondition(list []metav1.Condition, kind, text string) error {
	c := meta.FindStatusCondition(list, kind)
	if c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, text) {
		return fmt.Errorf("its %s is %+v", kind, c)
	}
	return nil
}

// startIn starts a pod in a namespace that takes its addresses from a pool.
func (c *cluster) startIn(t *testing.T, pool string) {
	t.Helper()
	p, err := c.StartPod(t.Context(), c.Nodes[0], "default/in-"+pool, lab.PodOptions{Annotations: map[string]string{v1alpha1.AnnotationPools: pool}})
	must(t, err)
	c.pods = []*lab.Pod{p}
}

// stopPods stops the pods, and waits until their pool is gone.
func (c *cluster) stopPods(t *testing.T, pool string) {
	t.Helper()
	for _, p := range c.pods {
		must(t, c.StopPod(t.Context(), p))
	}
	c.pods = nil
	c.Eventually(t, lab.Settle, "the pool goes with its last address", func() error {
		if err := c.Object(t.Context(), pool, &v1alpha1.IPPool{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is still there: %w", err)
		}
		return nil
	})
}
