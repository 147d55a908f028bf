package uninstall

import (
	"slices"
	"strings"
	"testing"
)

func TestNext(t *testing.T) {
	full := State{Controller: true, Agents: true, AgentPods: []string{"a"}, ControllerPods: []string{"a"}, Nodes: []Node{{Name: "a"}}, Objects: 9}
	with := func(change func(*State)) State {
		s := full
		s.Nodes = slices.Clone(s.Nodes)
		change(&s)
		return s
	}
	stopped := func(change func(*State)) State {
		return with(func(s *State) {
			s.Controller, s.Agents, s.AgentPods, s.ControllerPods = false, false, nil, nil
			change(s)
		})
	}
	for _, c := range []struct {
		name  string
		state State
		force bool
		want  Step
		says  string
	}{
		{"pods run", with(func(s *State) { s.Pods = []string{"x/1", "x/2", "x/3", "x/4", "x/5", "x/6", "x/7"} }), false, Refuse,
			"7 pods of the network still run: x/1, x/2, x/3, x/4, x/5 and 2 more. Delete them"},
		{"pods run, and that is known", with(func(s *State) { s.Pods = []string{"x/1"} }), true, StopController, ""},
		{"all is there", full, false, StopController, ""},
		{"without the controller", with(func(s *State) { s.Controller = false }), false, StopAgents, ""},
		{"somebody has deleted the workloads by hand", with(func(s *State) { s.Controller, s.Agents = false, false }), false, AwaitEnd, "still run on a, a"},
		{"a pod came too late", stopped(func(s *State) { s.Pods = []string{"x/1"} }), false, StartCleaning, ""},
		{"nobody is left", stopped(func(*State) {}), false, StartCleaning, ""},
		{"a node is not clean", stopped(func(s *State) {
			s.Cleanup, s.Nodes = true, []Node{{Name: "a", Clean: true}, {Name: "b", Problem: "no nft\n"}, {Name: "c", Silent: true}}
		}),
			false, AwaitCleaning, "1 of 3 nodes are not clean yet: b (no nft)."},
		{"nodes are clean", stopped(func(s *State) { s.Cleanup, s.Nodes[0].Clean = true, true }), false, ReleaseObjects, "9 objects"},
		{"cleaned before", stopped(func(s *State) { s.Cleaned, s.Nodes[0].Clean = true, false }), false, ReleaseObjects, ""},
		{"objects are gone", stopped(func(s *State) { s.Cleanup, s.Cleaned, s.Objects = true, true, 0 }), false, FinishCleaning, ""},
		{"all is gone", stopped(func(s *State) { s.Cleaned, s.Objects = true, 0 }), false, NothingIsLeft, "every node is as it was"},
		{"a node does not answer", stopped(func(s *State) { s.Cleaned, s.Objects, s.Nodes = true, 0, []Node{{Name: "c", Silent: true}} }), false, NothingIsLeft, "don't answer: c"},
	} {

		step, sentence := Next(c.state, c.force)
		if step != c.want || !strings.Contains(sentence, c.says) {
			t.Errorf("%s: %s: %s", c.name, step, sentence)
		}
	}
}
