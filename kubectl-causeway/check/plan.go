// Package check finds out whether the network of pods works: it makes pods on all nodes, lets them ask each other and all that
// a pod asks, and says who does not answer whom. What is asked, and what the answers mean, is decided by pure functions; the
// rest makes the pods and takes them away again.
package check

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/probe"
)

// Pod is a pod of the check.
type Pod struct {
	Name      string       `json:"name"`
	Node      string       `json:"node"`
	Addresses []netip.Addr `json:"addresses"`
}

// World is what there is to ask.
type World struct {
	Pods []Pod
	// Service is the name, with its namespace, of a Service in front of all pods, and ServiceAddresses are its addresses.
	Service          string
	ServiceAddresses []netip.Addr
	// Outside are hosts with ports beyond the cluster.
	Outside []string
}

// Kinds of tests, in the order in which a person would look for what is wrong.
const (
	podToPod   = "pod to pod"
	fullPacket = "largest packet"
	service    = "Service"
	byName     = "Service by its name (DNS)"
	apiServer  = "API server"
	outside    = "outside"
)

// Test is one question of one pod.
type Test struct {
	Kind   string `json:"kind"`
	Family string `json:"family,omitempty"`
	// From and To are nodes; To is what was asked where that is no node.
	From     string         `json:"from"`
	To       string         `json:"to"`
	Question probe.Question `json:"question"`
	// Problem is empty if all is well.
	Problem string `json:"problem,omitempty"`
}

// Port is that of the Service.
const servicePort = 80

// Plan says what each pod asks. With more pods than sample + 1, each asks as many others as sample says, and is asked by as many.
func Plan(w World, sample int) []Test {
	pods := slices.Clone(w.Pods)
	slices.SortFunc(pods, func(a, b Pod) int { return cmp.Compare(a.Node, b.Node) })
	var names []string
	for _, p := range pods {
		names = append(names, p.Name)
	}
	var out []Test
	add := func(kind, family, from, to string, q probe.Question) {
		q.ID = len(out)
		out = append(out, Test{Kind: kind, Family: family, From: from, To: to, Question: q})
	}
	for i, p := range pods {
		for _, j := range others(i, len(pods), sample) {
			to := pods[j]
			for _, a := range to.Addresses {
				if !hasFamily(p, a) {
					continue
				}
				target := netip.AddrPortFrom(a, probe.Port).String()
				add(podToPod, family(a), p.Node, to.Node, probe.Question{Kind: probe.Connect, Target: target, Names: []string{to.Name}})
				add(fullPacket, family(a), p.Node, to.Node, probe.Question{Kind: probe.FullPacket, Target: target})
			}
		}
		for _, a := range w.ServiceAddresses {
			if hasFamily(p, a) {
				add(service, family(a), p.Node, w.Service, probe.Question{Kind: probe.Connect, Target: netip.AddrPortFrom(a, servicePort).String(), Names: names})
			}
		}
		add(byName, "", p.Node, w.Service, probe.Question{Kind: probe.Connect, Target: fmt.Sprintf("%s.svc:%d", w.Service, servicePort), Names: names})
		add(apiServer, "", p.Node, "kubernetes.default", probe.Question{Kind: probe.Connect, Target: "kubernetes.default.svc:443"})
		for _, o := range w.Outside {
			add(outside, "", p.Node, o, probe.Question{Kind: probe.Connect, Target: o})
		}
	}
	return out
}

// others are the pods that pod i asks: all, or those at distances 1, 2, 4, 8... around the circle, and then those between, so that
// a few are far apart.
func others(i, n, sample int) []int {
	var distances []int
	for d := 1; d < n; d *= 2 {
		distances = append(distances, d)
	}
	for d := 1; d < n; d++ {
		if !slices.Contains(distances, d) {
			distances = append(distances, d)
		}
	}
	var out []int
	for _, d := range distances[:min(sample, len(distances))] {
		out = append(out, (i+d)%n)
	}
	return out
}

func hasFamily(p Pod, a netip.Addr) bool {
	return slices.ContainsFunc(p.Addresses, func(own netip.Addr) bool { return own.Is4() == a.Is4() })
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// Report is what came of a check.
type Report struct {
	// Nodes is how many nodes have a pod of the check.
	Nodes int `json:"nodes"`
	// Troubles are sentences about what could not be tested.
	Troubles []string `json:"troubles,omitempty"`
	Tests    []Test   `json:"tests"`
	// Trace says where a packet ends that got no answer.
	Trace string `json:"trace,omitempty"`
}

// Worst is the failure that is most worth following: between pods rather than to a Service.
func (r Report) Worst() (Test, bool) {
	for _, kind := range []string{podToPod, service} {
		for _, t := range r.Tests {
			if t.Kind == kind && t.Problem != "" {
				return t, true
			}
		}
	}
	return Test{}, false
}

// Fine says whether all that was wanted was tested, and all is well.
func (r Report) Fine() bool {
	return len(r.Troubles) == 0 && !slices.ContainsFunc(r.Tests, func(t Test) bool { return t.Problem != "" })
}

// Line sums up the tests of one kind and family.
type Line struct {
	Kind, Family   string
	Passed, Failed int
}

// Lines sums up all tests.
func (r Report) Lines() []Line {
	var out []Line
	for _, t := range r.Tests {
		i := slices.IndexFunc(out, func(l Line) bool { return l.Kind == t.Kind && l.Family == t.Family })
		if i < 0 {
			i, out = len(out), append(out, Line{Kind: t.Kind, Family: t.Family})
		}
		if t.Problem == "" {
			out[i].Passed++
		} else {
			out[i].Failed++
		}
	}
	return out
}

// Suspects are sentences about nodes that all failures between pods have in common.
func (r Report) Suspects() []string {
	type side struct{ node, family string }
	type count struct{ asked, failed int }
	from, to := map[side]count{}, map[side]count{}
	note := func(m map[side]count, s side, failed bool) {
		c := m[s]
		c.asked++
		if failed {
			c.failed++
		}
		m[s] = c
	}
	for _, t := range r.Tests {
		if t.Kind == podToPod {
			note(from, side{t.From, t.Family}, t.Problem != "")
			note(to, side{t.To, t.Family}, t.Problem != "")
		}
	}
	var out []string
	for s, c := range to {
		switch back := from[s]; {
		case c.failed < c.asked || c.asked < 2:
		case back.failed == back.asked:
			out = append(out, fmt.Sprintf("Node %s reaches no other by %s, and none reaches it: see kubectl causeway plan %s.", s.node, s.family, s.node))
		default:
			out = append(out, fmt.Sprintf("No node reaches pods of node %s by %s: see kubectl causeway plan %s.", s.node, s.family, s.node))
		}
	}
	slices.Sort(out)
	return out
}
