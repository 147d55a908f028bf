package bgpplan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/bgpcheck"
)

// compile turns a BGPPeer's filters into rules. A filter that is missing or contradicts itself keeps the sessions from
// coming up: to run without it could let through what it was to stop.
func (p *planner) compile(peer *v1alpha1.BGPPeer) (imports, exports []Rule, ok bool) {
	for _, name := range peer.Spec.Filters {
		if f := p.filters[name]; f != nil {
			for _, problem := range bgpcheck.Filter(&f.Spec) {
				p.problem("BGPFilter", name, problem)
			}
		}
	}
	if problem := bgpcheck.Filters(peer.Spec.Filters, p.filters); problem != nil {
		p.problem("BGPPeer", peer.Name, *problem)
		return nil, nil, false
	}
	for _, name := range peer.Spec.Filters {
		for _, list := range bgpcheck.Lists(&p.filters[name].Spec) {
			for i := range list.Rules {
				rules := p.rule(&list.Rules[i], list.Bits, list.Export)
				if list.Export {
					exports = append(exports, rules...)
				} else {
					imports = append(imports, rules...)
				}
			}
		}
	}
	return imports, exports, true
}

// rule turns a valid rule of a filter into as many as it takes, none where it can match nothing on this node.
func (p *planner) rule(r *v1alpha1.BGPFilterRule, bits int, export bool) []Rule {
	rule := Rule{Accept: r.Action == v1alpha1.FilterAccept, Prefixes: prefixRanges(r, bits), Operations: operations(r)}
	for _, as := range r.ASPathPrefix {
		rule.ASPath = append(rule.ASPath, uint32(as))
	}
	if matches := p.matchSource(&rule, r.Source, export); !matches {
		return nil
	}
	if r.Interface != "" {
		if rule.NextHops = p.linkPrefixes(r.Interface, bits); len(rule.NextHops) == 0 {
			return nil
		}
	}
	return splitCommunities(rule, r.Communities)
}

// matchSource narrows a rule to a source. What this node announces is known, so those sources become prefixes.
func (p *planner) matchSource(rule *Rule, source v1alpha1.FilterSource, export bool) bool {
	switch source {
	case "":
		return true
	case v1alpha1.FilterSourceRemotePeers:
		rule.Origin = OriginRemote
		return true
	}
	if !export {
		return false // A peer's routes are never this node's.
	}
	var ranges []PrefixRange
	for _, a := range p.plan.Announcements {
		if (a.Source == SourceService) == (source == v1alpha1.FilterSourceServices) && anyCovers(rule.Prefixes, a.Prefix) {
			ranges = append(ranges, exactly(a.Prefix))
		}
	}
	rule.Origin, rule.Prefixes = OriginLocal, ranges
	return len(ranges) > 0
}

// linkPrefixes returns the on-link prefixes of the links that match a name, with a trailing * as wildcard.
func (p *planner) linkPrefixes(pattern string, bits int) (prefixes []netip.Prefix) {
	stem, wild := strings.CutSuffix(pattern, "*")
	for _, l := range p.in.Links {
		if l.Name != pattern && !(wild && strings.HasPrefix(l.Name, stem)) {
			continue
		}
		for _, prefix := range l.Prefixes {
			if prefix.Addr().BitLen() == bits {
				prefixes = append(prefixes, prefix.Masked())
			}
		}
	}
	slices.SortFunc(prefixes, comparePrefix)
	return slices.Compact(prefixes)
}

// splitCommunities makes a rule for each of the two kinds of communities: a route that has any of either matches.
func splitCommunities(rule Rule, communities []v1alpha1.Community) []Rule {
	if len(communities) == 0 {
		return []Rule{rule}
	}
	var rules []Rule
	for _, colons := range []int{1, 2} {
		kind := rule
		for _, c := range communities {
			if strings.Count(string(c), ":") == colons {
				kind.Communities = append(kind.Communities, string(c))
			}
		}
		if len(kind.Communities) > 0 {
			rules = append(rules, kind)
		}
	}
	return rules
}

func operations(r *v1alpha1.BGPFilterRule) (ops []Operation) {
	for _, op := range r.Operations {
		switch {
		case op.AddCommunity != nil:
			ops = append(ops, Operation{AddCommunity: string(*op.AddCommunity)})
		case len(op.PrependASPath) > 0:
			var path []uint32
			for _, as := range op.PrependASPath {
				path = append(path, uint32(as))
			}
			ops = append(ops, Operation{Prepend: path})
		case op.SetLocalPreference != nil:
			ops = append(ops, Operation{SetLocalPreference: true, LocalPreference: uint32(*op.SetLocalPreference)})
		}
	}
	return ops
}
