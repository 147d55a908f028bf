package bgpplan

import (
	"cmp"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/bgpcheck"
)

// planner gathers one plan.
type planner struct {
	in       Input
	config   v1alpha1.BGPConfigurationSpec
	self     node
	nodes    []node
	labels   []labels.Set // of all nodes
	filters  map[string]*v1alpha1.BGPFilter
	lengths  bgpcheck.Secrets
	plan     Plan
	problems map[Problem]bool
}

// Make plans. It accepts objects that the API server would have refused: they become problems.
func Make(in Input) Plan {
	p := &planner{in: in, filters: map[string]*v1alpha1.BGPFilter{}, problems: map[Problem]bool{}}
	if in.Configuration != nil {
		p.config = in.Configuration.Spec
		for _, problem := range bgpcheck.Configuration(&p.config) {
			p.problem("BGPConfiguration", in.Configuration.Name, problem)
		}
	}
	p.lengths = lengths(in.Passwords)
	p.readNodes()
	for i := range in.Filters {
		p.filters[in.Filters[i].Name] = &in.Filters[i]
	}
	// Filters by source name the announced prefixes, so announcements come first.
	p.plan.Announcements = p.announcements()
	p.plan.ExportPrefixes = p.exportPrefixes()
	p.plan.Sessions = p.sessions()
	p.plan.Global = p.global()
	p.plan.Problems = p.sortedProblems()
	return p.plan
}

func (p *planner) readNodes() {
	settings := newSettings(&p.config)
	p.self = node{name: p.in.Node, as: settings.as}
	for i := range p.in.NodeNetworks {
		n := readNode(&p.in.NodeNetworks[i], settings)
		p.nodes, p.labels = append(p.nodes, n), append(p.labels, n.labels)
		if n.name == p.in.Node {
			p.self = n
		}
	}
	slices.SortFunc(p.nodes, func(a, b node) int { return cmp.Compare(a.name, b.name) })
}

func (p *planner) listenPort() uint16 {
	if port := p.config.ListenPort; port >= 1 && port <= 65535 {
		return uint16(port)
	}
	return defaultPort
}

func (p *planner) global() Global {
	g := Global{AS: p.self.as, RouterID: p.self.routerID(), ListenPort: p.listenPort(), Listen: len(p.plan.Sessions) > 0}
	if !g.Listen {
		return g
	}
	for _, text := range p.config.ListenAddresses {
		a, err := netip.ParseAddr(text)
		if err == nil {
			g.ListenAddresses = append(g.ListenAddresses, a.Unmap())
		}
	}
	if len(g.ListenAddresses) == 0 {
		for _, s := range p.plan.Sessions {
			if own := p.self.address(s.Peer); own.IsValid() {
				g.ListenAddresses = append(g.ListenAddresses, own)
			}
		}
	}
	slices.SortFunc(g.ListenAddresses, netip.Addr.Compare)
	g.ListenAddresses = slices.Compact(g.ListenAddresses)
	return g
}

func (p *planner) problem(kind, name string, problem bgpcheck.Problem) {
	p.problems[Problem{Kind: kind, Name: name, Reason: problem.Reason, Message: problem.Message}] = true
}

// lengths are what checking passwords takes.
func lengths(passwords Passwords) bgpcheck.Secrets {
	out := make(bgpcheck.Secrets, len(passwords))
	for name, values := range passwords {
		out[name] = make(map[string]int, len(values))
		for key, value := range values {
			out[name][key] = len(value)
		}
	}
	return out
}

func (p *planner) sortedProblems() []Problem {
	var list []Problem
	for problem := range p.problems {
		list = append(list, problem)
	}
	slices.SortFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reason, b.Reason),
			cmp.Compare(a.Message, b.Message))
	})
	return list
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
