package route

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// TestHopsAreShownAsNodesReportThem: those of the node that has reported, in the packet's order when the next one has, and each once.
func TestHopsAreShownAsNodesReportThem(t *testing.T) {
	ctx, scheme := t.Context(), runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).Build()
	trace := &v1alpha1.PathTrace{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "kubectl-1", UID: "one"}, Status: v1alpha1.PathTraceStatus{Phase: v1alpha1.TraceRunning}}
	report := func(node, traceUID string, ttl int32) *v1alpha1.PathObservation {
		o := &v1alpha1.PathObservation{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: traceUID + "-" + node, Labels: map[string]string{v1alpha1.LabelPathTrace: traceUID}},
			Spec: v1alpha1.PathObservationSpec{Node: node, Probe: v1alpha1.ProbeSpec{Protocol: v1alpha1.TraceICMP}}}
		if ttl > 0 {
			o.Status.Packets = []v1alpha1.SeenPacket{{Interface: "eth0", Direction: "Out", Leg: "Request", Packet: v1alpha1.PathPacket{TTL: ttl}}}
		}
		return o
	}
	early := &Early{Reader: c}
	shows := func(when string, want ...string) {
		t.Helper()
		now, err := early.Look(ctx, trace)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if now != nil {
			for _, h := range now.Status.Hops {
				got = append(got, h.Node)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s, hops of %v are shown, want %v", when, got, want)
		}
	}
	watching := report("node1", "one", 0)
	for _, o := range []*v1alpha1.PathObservation{watching, report("node2", "one", 63), report("node3", "another", 62)} {
		if err := c.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	shows("when node2 has reported", "node2")
	shows("when nothing is new")
	watching.Status = report("node1", "one", 64).Status
	if err := c.Update(ctx, watching); err != nil {
		t.Fatal(err)
	}
	trace.Status.Phase = v1alpha1.TracePending
	shows("while the trace waits")
	trace.Status.Phase = v1alpha1.TraceRunning
	shows("when node1 has reported too", "node1", "node2")
}
