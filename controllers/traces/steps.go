package traces

import (
	"slices"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

const (
	// mostNodes take part in one trace.
	mostNodes = 8
	// beginWithin is how long an agent has to begin; one that takes longer is silent.
	beginWithin = 4 * time.Second
	// endWithin is how long a trace may take.
	endWithin = 15 * time.Second
	// followWithin is how long one may take that waits for what the pod sends by itself.
	followWithin = 25 * time.Second
)

// Action is what to do next for a trace.
type Action struct {
	// Ask are nodes that have no observation yet.
	Ask []string
	// Steps are the steps that observations are to take now, by node.
	Steps map[string]string
	// Finish says that there is nothing to wait for any more. Silent are the nodes that have not answered.
	Finish bool
	Silent []string
	// Again is when to look again if nothing happens until then.
	Again time.Duration
}

// Next decides the next step. age is the time since the trace began; have are its observations by node.
func Next(f *Facts, have map[string]*v1alpha1.PathObservation, age time.Duration) Action {
	nodes := Participants(f, have)
	var a Action
	var silent, busy []string
	for _, n := range nodes {
		switch o := have[n]; {
		case o == nil:
			a.Ask = append(a.Ask, n)
		case o.Status.State == "":
			silent = append(silent, n)
		case o.Status.State == v1alpha1.ObservationWatching:
			busy = append(busy, n)
		}
	}
	if len(a.Ask) > 0 {
		return Action{Ask: a.Ask, Again: beginWithin}
	}
	if len(silent) > 0 && age < beginWithin {
		return Action{Again: beginWithin - age}
	}
	source, begin, limit := have[f.Source.Node], v1alpha1.StepSend, endWithin
	if f.Probe.Observe {
		begin, limit = v1alpha1.StepFollow, followWithin
	}
	if len(busy) == 0 || source.Status.State != v1alpha1.ObservationWatching && source.Status.State != v1alpha1.ObservationDone || age > limit {
		return Action{Finish: true, Silent: append(silent, busy...)}
	}
	a = Action{Steps: map[string]string{}, Again: limit - age}
	if source.Status.State == v1alpha1.ObservationWatching {
		if source.Spec.Step == v1alpha1.StepWatch {
			a.Steps[f.Source.Node] = begin
		}
		return a
	}
	for _, n := range busy {
		if have[n].Spec.Step != v1alpha1.StepReport {
			a.Steps[n] = v1alpha1.StepReport
		}
	}
	return a
}

// Participants are the nodes whose agents are asked: the source's, the destination's, and those that the routes of the former
// lead to.
func Participants(f *Facts, have map[string]*v1alpha1.PathObservation) []string {
	out := []string{f.Source.Node}
	add := func(node string) {
		if node != "" && !slices.Contains(out, node) && len(out) < mostNodes {
			out = append(out, node)
		}
	}
	for _, p := range f.ends() {
		add(p.Node)
	}
	add(f.Nodes[f.Destination.Address])
	add(f.Block.Node)
	for i := 0; i < len(out); i++ {
		if o := have[out[i]]; o != nil && o.Status.State == v1alpha1.ObservationWatching {
			for _, r := range o.Status.Routes {
				add(f.nodeAt(r.Gateway))
				add(f.nodeAt(r.Tunnel))
			}
		}
	}
	for node := range have { // one that was asked stays
		add(node)
	}
	return out
}
