package datapath

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// subject is a condition that tells of problems of some kinds.
type subject struct {
	condition string
	reasons   []plan.Reason
	// wrong is the condition's status when there are such problems.
	wrong metav1.ConditionStatus
	// fine says in a reason and a sentence that there are none.
	fine, sentence string
}

// subjects have each problem in one of them.
var subjects = []subject{
	{v1alpha1.ConditionKernelSupport, []plan.Reason{plan.ModuleMissing}, metav1.ConditionFalse,
		"AllSupported", "The kernel can do all that the pools need."},
	{v1alpha1.ConditionConflicting, []plan.Reason{plan.TouchesInfrastructure}, metav1.ConditionTrue,
		"NoConflict", "No pool, block or pod touches a network that the cluster stands on."},
	{v1alpha1.ConditionBlocksReachable, []plan.Reason{plan.AddressMissing, plan.AddressShared, plan.FamilyNotCarried, plan.UnknownEncapsulation, plan.PoolMissing, plan.BlocksOverlap},
		metav1.ConditionFalse, "AllReachable", "There is a way to every other node's blocks, or none is needed."},
	{v1alpha1.ConditionAddressesUnique, []plan.Reason{plan.AddressTwice}, metav1.ConditionFalse,
		"AllUnique", "No two pods of this node have the same address."},
	{v1alpha1.ConditionMTUSufficient, []plan.Reason{plan.MTUTooSmall}, metav1.ConditionFalse,
		"Sufficient", "Every pod gets an MTU that its addresses need."},
}

// Conditions says what the state means for the node, each thing under its own name.
func (s State) Conditions() []metav1.Condition {
	if s.Failure != nil {
		return []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "KernelNotRead", Message: "The node's kernel can't be read: " + s.Failure.Error()}}
	}
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "PlanApplied", Message: "The kernel shows the plan."}
	applied := metav1.Condition{Type: v1alpha1.ConditionRoutesApplied, Status: metav1.ConditionTrue, Reason: "AllApplied", Message: "The kernel takes everything that is planned."}
	if n := len(s.Refused); n > 0 {
		refused := make([]string, 0, n)
		for _, f := range s.Refused {
			refused = append(refused, f.Error()+".")
		}
		applied.Status, applied.Reason = metav1.ConditionFalse, "Refused"
		applied.Message = sentences(fmt.Sprintf("The kernel refuses %d objects; the rest is in place, and the node tries again by itself.", n), refused)
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, applied.Reason, applied.Message
	}
	out := []metav1.Condition{ready, applied}
	for _, subject := range subjects {
		out = append(out, subject.of(s.Problems))
	}
	return out
}

func (s subject) of(problems []plan.Problem) metav1.Condition {
	var messages []string
	reason := ""
	for _, p := range problems {
		if slices.Contains(s.reasons, p.Reason) {
			if messages == nil {
				reason = string(p.Reason)
			}
			messages = append(messages, p.Message)
		}
	}
	if messages != nil {
		return metav1.Condition{Type: s.condition, Status: s.wrong, Reason: reason, Message: sentences("", messages)}
	}
	opposite := metav1.ConditionTrue
	if s.wrong == metav1.ConditionTrue {
		opposite = metav1.ConditionFalse
	}
	return metav1.Condition{Type: s.condition, Status: opposite, Reason: s.fine, Message: s.sentence}
}

// mostText is how long a condition's message gets. The window has all.
const mostText = 4096

// sentences joins as many as fit, and says how many don't.
func sentences(first string, others []string) string {
	var out strings.Builder
	out.WriteString(first)
	said := map[string]bool{}
	for i, s := range others {
		if said[s] {
			continue
		}
		said[s] = true
		if out.Len()+len(s) > mostText {
			fmt.Fprintf(&out, " And %d more; causeway-agent debug plan shows them.", len(others)-i)
			break
		}
		if out.Len() > 0 {
			out.WriteByte(' ')
		}
		out.WriteString(s)
	}
	return out.String()
}
