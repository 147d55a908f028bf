package poolstatus

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

func facts(spec, status v1alpha1.Encapsulation, generation int64, nodes ...Node) Facts {
	size := int32(26)
	object := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: generation}}
	object.Spec = v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/24", BlockSize: &size, Encapsulation: spec}
	object.Status.Encapsulation = status
	return Facts{Pool: &blockplan.Pool{Object: object, Blocks: 2, Allocated: 3, PerBlock: 63}, Nodes: nodes, Now: metav1.NewTime(time.Unix(1000, 0))}
}

func TestModeChange(t *testing.T) {
	const none, ipip, vxlan = v1alpha1.EncapsulationNone, v1alpha1.EncapsulationIPIP, v1alpha1.EncapsulationVXLAN
	all := []v1alpha1.Encapsulation{none, ipip, vxlan}
	noIPIP := []v1alpha1.Encapsulation{none, vxlan}
	for _, c := range []struct {
		name    string
		facts   Facts
		sends   v1alpha1.Encapsulation
		ready   string
		message string
		support metav1.ConditionStatus
	}{
		{"no nodes yet", facts(vxlan, "", 1), vxlan, "True NoNodes", "no nodes yet", "True"},
		{"phase 1: one has not prepared", facts(ipip, vxlan, 4, Node{"n1", all, 4, vxlan}, Node{"n2", all, 3, vxlan}),
			vxlan, "False NodesPending", "0 of 2 nodes have rendered generation 4; waiting for nodes n1, n2.", "True"},
		{"phase 2: all may send", facts(ipip, vxlan, 4, Node{"n1", all, 4, vxlan}, Node{"n2", all, 4, vxlan}),
			ipip, "False NodesPending", "0 of 2", "True"},
		{"phase 2: one sends", facts(ipip, ipip, 4, Node{"n1", all, 4, ipip}, Node{"n2", all, 4, vxlan}),
			ipip, "False NodesPending", "1 of 2 nodes have rendered generation 4; waiting for node n2.", "True"},
		{"arrived", facts(ipip, ipip, 4, Node{"n1", all, 4, ipip}, Node{"n2", all, 5, ipip}),
			ipip, "True AllNodesReady", "2 of 2 nodes have rendered generation 4.", "True"},
		{"a kernel that can't holds nobody up", facts(ipip, vxlan, 4, Node{"n1", all, 4, ipip}, Node{"n2", noIPIP, 4, vxlan}),
			ipip, "False KernelSupport", "module ipip is missing on node n2", "False"},
		{"unless its agent has not said so", facts(ipip, vxlan, 4, Node{"n1", all, 4, vxlan}, Node{"n2", noIPIP, 3, vxlan}),
			vxlan, "False NodesPending", "waiting for nodes n1, n2", "False"},
		{"a new node comes in the middle", facts(ipip, ipip, 4, Node{"n1", all, 4, ipip}, Node{"n2", nil, 0, ""}),
			ipip, "False NodesPending", "waiting for node n2", "True"},
		{"changed again before all arrived", facts(none, ipip, 5, Node{"n1", all, 4, ipip}, Node{"n2", all, 5, vxlan}),
			ipip, "False NodesPending", "0 of 2", "True"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Compute(c.facts)
			r := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
			k := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionKernelSupport)
			if got := fmt.Sprintf("%s %s", r.Status, r.Reason); s.Encapsulation != c.sends || got != c.ready || !strings.Contains(r.Message, c.message) || k.Status != c.support {
				t.Errorf("encapsulation %s, %s %q, support %s; want %s, %s %q, %s", s.Encapsulation, got, r.Message, k.Status, c.sends, c.ready, c.message, c.support)
			}
		})
	}
}

func TestModeOfAPoolWithoutBlocks(t *testing.T) {
	f := facts(v1alpha1.EncapsulationIPIP, v1alpha1.EncapsulationVXLAN, 2, Node{Name: "n1", ObservedGeneration: 1})
	f.Pool.Blocks = 0
	if s := Compute(f); s.Encapsulation != v1alpha1.EncapsulationIPIP {
		t.Errorf("encapsulation %s", s.Encapsulation)
	}
}

func TestNumbersAndConditions(t *testing.T) {
	f := facts(v1alpha1.EncapsulationNone, "", 1)
	f.Pool.Older = []string{"b"}
	f.Pool.Object.Spec.Disabled = true
	f.Pool.Object.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	f.Exhausted = "Full."
	s := Compute(f)
	if s.Capacity != 252 || s.Allocated != 3 || s.Free != 249 || s.Blocks != 2 {
		t.Errorf("%+v", s)
	}
	if s.Conditions[0].Type != v1alpha1.ConditionReady {
		t.Error("Ready is not first")
	}
	for _, kind := range []string{v1alpha1.ConditionOverlapping, v1alpha1.ConditionDisabled, v1alpha1.ConditionTerminating, v1alpha1.ConditionExhausted} {
		if !meta.IsStatusConditionTrue(s.Conditions, kind) {
			t.Errorf("%s is not True", kind)
		}
	}
	for _, c := range s.Conditions {
		if c.ObservedGeneration != 1 || !strings.HasSuffix(c.Message, ".") {
			t.Errorf("%+v", c)
		}
	}
	if h := Happened(nil, s.Conditions, v1alpha1.ConditionOverlapping); len(h) != 1 {
		t.Errorf("%v", h)
	}
	// The same facts later give the same status: nothing is written for nothing.
	f.Pool.Object.Status = s
	f.Now = metav1.NewTime(time.Unix(2000, 0))
	if again := Compute(f); !equality.Semantic.DeepEqual(again, s) {
		t.Errorf("%+v differs from %+v", again, s)
	}
}
