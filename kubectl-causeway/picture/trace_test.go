package picture_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/picture"
)

func hop(node, iface, direction, leg string, outer *v1alpha1.OuterHeader, route string) v1alpha1.PathHop {
	p := v1alpha1.PathPacket{Source: "10.211.0.1", Destination: "10.211.0.65", Kind: "echo request", TTL: 63, Length: 84, Outer: outer}
	if leg == "Reply" {
		p.Source, p.Destination, p.Kind = p.Destination, p.Source, "echo reply"
	}
	return v1alpha1.PathHop{Node: node, Interface: iface, Direction: direction, Leg: leg, Packet: p, Route: route,
		Time: metav1.NewMicroTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}
}

// traced is a trace between two pods that has got as far as the hops say.
func traced(end *v1alpha1.PathEnd, hops ...v1alpha1.PathHop) *v1alpha1.PathTrace {
	return &v1alpha1.PathTrace{
		ObjectMeta: named("kubectl-1"),
		Spec:       v1alpha1.PathTraceSpec{SourcePod: "web", Destination: v1alpha1.PathDestination{Pod: "db"}, Protocol: v1alpha1.TraceICMP},
		Status:     v1alpha1.PathTraceStatus{Phase: v1alpha1.TraceRunning, Source: "10.211.0.1", Destination: "10.211.0.65", Hops: hops, End: end},
	}
}

var (
	tunnel = &v1alpha1.OuterHeader{Encapsulation: "VXLAN", Source: "172.30.1.11", Destination: "172.30.2.13", VNI: 4096, TTL: 64}
	there  = []v1alpha1.PathHop{
		hop("node1", "cw1a2b3c", "In", "Request", nil, "10.211.0.64/26 via 10.211.0.64 dev vxlan.cw src 172.30.1.11 onlink proto 202 metric 64"),
		hop("node1", "vxlan.cw", "Out", "Request", nil, ""), hop("node1", "eth0", "Out", "Request", tunnel, ""),
		hop("node3", "eth0", "In", "Request", tunnel, ""), hop("node3", "cw4d5e6f", "Out", "Request", nil, "10.211.0.65 dev cw4d5e6f scope link"),
	}
	back = []v1alpha1.PathHop{hop("node3", "cw4d5e6f", "In", "Reply", nil, ""), hop("node1", "cw1a2b3c", "Out", "Reply", nil, "")}
)

func TestTrace(t *testing.T) {
	refused := &v1alpha1.PathEnd{Result: v1alpha1.PathDropped, Node: "node3", Cause: "Firewall",
		Message: "The packet was dropped by nftables on node node3: table inet <foreign>, chain f: ip daddr 10.211.0.65 drop"}
	nowhere := &v1alpha1.PathEnd{Result: v1alpha1.PathDropped, Node: "node1", Cause: "NoEndpoints", Message: "Service default/empty has no endpoints."}
	for name, c := range map[string]struct {
		trace    *v1alpha1.PathTrace
		want     []string
		wantNone []string
	}{
		"answered": {traced(&v1alpha1.PathEnd{Result: v1alpha1.PathAnswered, Message: "The pod got the answer."}, append(there, back...)...),
			[]string{"node node1", "node node3", "pod default/web", "in VXLAN 172.30.1.11 → 172.30.2.13, VNI 4096", "The answer: echo reply", ">Answered<", ">10.211.0.65<"}, []string{"#c00"}},
		"dropped": {traced(refused, there[:4]...),
			[]string{"Dropped at node node3 (Firewall)", "inet &lt;foreign&gt;", "<circle", "#c00"}, []string{"The answer", ">10.211.0.65<", "<foreign>"}},
		"refused by the pod": {traced(&v1alpha1.PathEnd{Result: v1alpha1.PathDropped, Node: "node3", Cause: "NotListening", Message: "Nothing listens."}, append(there, back...)...),
			[]string{`<circle cx="531"`, ">10.211.0.65<"}, []string{`<circle cx="185"`}},
		"nothing was sent": {traced(nowhere), []string{"Dropped at node node1 (NoEndpoints)", "<circle", "node node1"}, []string{"The packet:"}},
		"under way":        {traced(nil, there[:1]...), []string{"The agents look for the packet", "in by cw1a2b3c"}, []string{"<circle", "#c00"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := string(picture.Trace(c.trace))
			wellFormed(t, text)
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("the picture does not say %q", want)
				}
			}
			for _, not := range append(c.wantNone, "<style") {
				if strings.Contains(text, not) {
					t.Errorf("the picture says %q", not)
				}
			}
			if name == "dropped" {
				same(t, "testdata/trace.svg", text)
			}
		})
	}
}
