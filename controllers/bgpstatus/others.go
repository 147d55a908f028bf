package bgpstatus

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/conditions"
)

// Configuration returns a BGPConfiguration's status.
func (f Facts) Configuration(c *v1alpha1.BGPConfiguration) v1alpha1.BGPConfigurationStatus {
	s := *c.Status.DeepCopy()
	s.ObservedGeneration = c.Generation
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "InUse",
		Message: "The nodes' speakers use this configuration.", ObservedGeneration: c.Generation}
	if reason, sentence := f.secret(c.Spec.NodeToNodeMesh.Password); reason != "" {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, reason, sentence
	}
	s.Conditions = conditions.Set(s.Conditions, f.Now, ready)
	return s
}

// Filter returns a BGPFilter's status.
func (f Facts) Filter(b *v1alpha1.BGPFilter) v1alpha1.BGPFilterStatus {
	s := *b.Status.DeepCopy()
	s.ObservedGeneration = b.Generation
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Valid",
		Message: "All rules make sense.", ObservedGeneration: b.Generation}
	if sentence := contradiction(&b.Spec); sentence != "" {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, "Contradiction", sentence
	}
	s.Conditions = conditions.Set(s.Conditions, f.Now, ready)
	return s
}

// contradiction returns a sentence about the first rule that can never match.
func contradiction(spec *v1alpha1.BGPFilterSpec) string {
	for _, list := range []struct {
		name  string
		bits  int32
		rules []v1alpha1.BGPFilterRule
	}{{"importV4", 32, spec.ImportV4}, {"exportV4", 32, spec.ExportV4}, {"importV6", 128, spec.ImportV6}, {"exportV6", 128, spec.ExportV6}} {
		for i := range list.rules {
			if why := neverMatches(&list.rules[i], list.bits); why != "" {
				return fmt.Sprintf("%s[%d] can't match any route: %s; correct or remove the rule.", list.name, i, why)
			}
			rest := len(list.rules) - i - 1
			if rest > 0 && matchesAll(&list.rules[i]) {
				return fmt.Sprintf("%s[%d] matches every route, so the %d rules after it are never reached; move it to the end.", list.name, i, rest)
			}
		}
	}
	return ""
}
