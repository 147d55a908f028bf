package controllers_test

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// waitKstatus waits until tools that wait for objects (kubectl, Flux, Argo) see an object so.
func (w *world) waitKstatus(o client.Object, want status.Status) {
	w.Helper()
	w.wait(fmt.Sprintf("%T %s is %s", o, o.GetName(), want), func() string {
		if err := w.Get(w.ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err.Error()
		}
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return err.Error()
		}
		got, err := status.Compute(&unstructured.Unstructured{Object: fields})
		if err != nil {
			return err.Error()
		}
		if got.Status != want {
			return fmt.Sprintf("it is %s: %s", got.Status, got.Message)
		}
		return ""
	})
}

func TestKstatus(t *testing.T) {
	w := &world{T: t, ctx: t.Context(), Client: cluster.Client}
	w.wipe()
	as := int64(64513)
	good := w.pool("good", "10.0.0.0/16")
	peer := &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "tor"}, Spec: v1alpha1.BGPPeerSpec{PeerIP: "192.168.0.254", ASNumber: &as}}
	bad := &v1alpha1.BGPFilter{ObjectMeta: metav1.ObjectMeta{Name: "bad"}, Spec: v1alpha1.BGPFilterSpec{
		ImportV4: []v1alpha1.BGPFilterRule{{Action: "Accept"}, {Action: "Reject"}}}}
	fine := &v1alpha1.BGPFilter{ObjectMeta: metav1.ObjectMeta{Name: "fine"}, Spec: v1alpha1.BGPFilterSpec{ImportV4: []v1alpha1.BGPFilterRule{{Action: "Accept"}}}}
	configuration := &v1alpha1.BGPConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	network := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	for _, o := range []client.Object{peer, bad, fine, configuration, network} {
		w.must(w.Create(w.ctx, o))
	}
	for _, o := range []client.Object{good, peer, bad, fine, configuration, network} {
		w.waitKstatus(o, status.InProgressStatus) // nobody has looked at it
	}
	w.controller()
	w.waitKstatus(good, status.CurrentStatus)
	w.waitKstatus(fine, status.CurrentStatus)
	w.waitKstatus(configuration, status.CurrentStatus)
	w.waitKstatus(bad, status.FailedStatus)
	w.waitKstatus(peer, status.InProgressStatus) // no node is there yet
	w.waitKstatus(w.pool("over", "10.0.0.0/20"), status.FailedStatus)
	w.waitKstatus(w.pool("services", "10.96.0.0/12"), status.FailedStatus)
	w.waitKstatus(w.pool("unreadable", "10.64.0.0/16", func(p *v1alpha1.IPPool) {
		p.Spec.NodeSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
	}), status.FailedStatus)

	w.node("n1", "192.168.0.1", want("good", 1, 0))
	w.waitBlocks("one", "10.0.0.0/26 n1")
	w.waitKstatus(good, status.CurrentStatus) // a node that joins takes nothing away
	w.must(w.Patch(w.ctx, good, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"encapsulation":"None"}}`))))
	w.waitKstatus(good, status.InProgressStatus)
	w.must(w.Delete(w.ctx, good))
	w.waitKstatus(good, status.TerminatingStatus)
}
