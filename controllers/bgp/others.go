package bgp

import (
	"fmt"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/conditions"
	"github.com/causeway-net/causeway/internal/bgpcheck"
)

// configuration returns a BGPConfiguration's status.
func (f *facts) configuration(c *v1alpha1.BGPConfiguration) v1alpha1.BGPConfigurationStatus {
	s := *c.Status.DeepCopy()
	s.ObservedGeneration = c.Generation
	problems := bgpcheck.Configuration(&c.Spec)
	if problem := bgpcheck.Password(c.Spec.NodeToNodeMesh.Password, f.secrets); problem != nil {
		problems = append(problems, *problem)
	}
	valid := conditions.State{Ready: true, Reason: "InUse", Message: "The nodes' speakers use this configuration."}
	s.Conditions = conditions.Sum(s.Conditions, f.now, c.Generation, first(problems, valid))
	return s
}

// filter returns a BGPFilter's status.
func (f *facts) filter(b *v1alpha1.BGPFilter) v1alpha1.BGPFilterStatus {
	s := *b.Status.DeepCopy()
	s.ObservedGeneration = b.Generation
	problems := bgpcheck.Filter(&b.Spec)
	if problem := bgpcheck.NeverReached(&b.Spec); problem != nil {
		problems = append(problems, *problem)
	}
	s.Conditions = conditions.Sum(s.Conditions, f.now, b.Generation, first(problems, conditions.State{Ready: true, Reason: "Valid", Message: "All rules make sense."}))
	return s
}

// first is the state that the first of some problems makes.
func first(problems []bgpcheck.Problem, valid conditions.State) conditions.State {
	if len(problems) == 0 {
		return valid
	}
	s := stalled(&problems[0])
	if more := len(problems) - 1; more > 0 {
		s.Message += fmt.Sprintf(" There are %d more problems.", more)
	}
	return s
}
