package bgpplan

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// compile turns a BGPPeer's filters into rules. A filter that is missing or contradicts itself keeps the sessions from
// coming up: to run without it could let through what it was to stop.
func (p *planner) compile(peer *v1alpha1.BGPPeer) (imports, exports []Rule, ok bool) {
	ok = true
	for _, name := range peer.Spec.Filters {
		f, exists := p.filters[name]
		if !exists {
			p.peerProblem(peer, "FilterNotFound", "BGPFilter "+quote(name)+" does not exist; create it or remove its name from filters.")
			ok = false
			continue
		}
		for _, list := range []struct {
			field  string
			rules  []v1alpha1.BGPFilterRule
			bits   int
			export bool
		}{
			{"importV4", f.Spec.ImportV4, 32, false}, {"importV6", f.Spec.ImportV6, 128, false},
			{"exportV4", f.Spec.ExportV4, 32, true}, {"exportV6", f.Spec.ExportV6, 128, true},
		} {
			for i := range list.rules {
				rules, err := p.rule(&list.rules[i], list.bits, list.export)
				if err != nil {
					message := fmt.Sprintf("Rule %d of %s %v.", i+1, list.field, err)
					p.problem("BGPFilter", name, "InvalidRule", message)
					p.peerProblem(peer, "InvalidFilter", "BGPFilter "+quote(name)+" can't be used: "+message)
					ok = false
				}
				if list.export {
					exports = append(exports, rules...)
				} else {
					imports = append(imports, rules...)
				}
			}
		}
	}
	return imports, exports, ok
}

// rule turns one rule of a filter into as many as it takes, none where it can match nothing on this node.
func (p *planner) rule(r *v1alpha1.BGPFilterRule, bits int, export bool) ([]Rule, error) {
	rule := Rule{Accept: r.Action == v1alpha1.FilterAccept}
	if !rule.Accept && r.Action != v1alpha1.FilterReject {
		return nil, fmt.Errorf("has the action %s; set it to Accept or Reject", quote(string(r.Action)))
	}
	var err error
	if rule.Prefixes, err = prefixRanges(r, bits); err != nil {
		return nil, err
	}
	for _, as := range r.ASPathPrefix {
		if !validAS(as) {
			return nil, fmt.Errorf("has the AS number %d in asPathPrefix; use 1 to 4294967295", as)
		}
		rule.ASPath = append(rule.ASPath, uint32(as))
	}
	if rule.Operations, err = operations(r); err != nil {
		return nil, err
	}
	if matches := p.matchSource(&rule, r.Source, export); !matches {
		return nil, nil
	}
	if r.Interface != "" {
		if rule.NextHops = p.linkPrefixes(r.Interface, bits); len(rule.NextHops) == 0 {
			return nil, nil
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
func splitCommunities(rule Rule, communities []v1alpha1.Community) ([]Rule, error) {
	if len(communities) == 0 {
		return []Rule{rule}, nil
	}
	var rules []Rule
	for _, colons := range []int{1, 2} {
		kind := rule
		for _, c := range communities {
			if !validCommunity(string(c)) {
				return nil, fmt.Errorf("has the community %s; write 64512:100, each number at most 65535, or 64512:100:200", quote(string(c)))
			}
			if strings.Count(string(c), ":") == colons {
				kind.Communities = append(kind.Communities, string(c))
			}
		}
		if len(kind.Communities) > 0 {
			rules = append(rules, kind)
		}
	}
	return rules, nil
}

func operations(r *v1alpha1.BGPFilterRule) (ops []Operation, err error) {
	if len(r.Operations) > 0 && r.Action != v1alpha1.FilterAccept {
		return nil, fmt.Errorf("rejects a route and has operations; set action to Accept or remove them")
	}
	for _, op := range r.Operations {
		switch {
		case op.AddCommunity != nil:
			if !validCommunity(string(*op.AddCommunity)) {
				return nil, fmt.Errorf("adds the community %s; write 64512:100, each number at most 65535, or 64512:100:200", quote(string(*op.AddCommunity)))
			}
			ops = append(ops, Operation{AddCommunity: string(*op.AddCommunity)})
		case len(op.PrependASPath) > 0:
			var path []uint32
			for _, as := range op.PrependASPath {
				if !validAS(as) {
					return nil, fmt.Errorf("prepends the AS number %d; use 1 to 4294967295", as)
				}
				path = append(path, uint32(as))
			}
			ops = append(ops, Operation{Prepend: path})
		case op.SetLocalPreference != nil:
			if v := *op.SetLocalPreference; v < 0 || v > 1<<32-1 {
				return nil, fmt.Errorf("sets the local preference %d; use 0 to 4294967295", v)
			}
			ops = append(ops, Operation{SetLocalPreference: true, LocalPreference: uint32(*op.SetLocalPreference)})
		}
	}
	return ops, nil
}

// validCommunity checks a community (RFC 1997, two 16-bit numbers) or large community (RFC 8092, three of 32 bits).
func validCommunity(s string) bool {
	parts := strings.Split(s, ":")
	bits := map[int]int{2: 16, 3: 32}[len(parts)]
	if bits == 0 {
		return false
	}
	for _, part := range parts {
		if _, err := strconv.ParseUint(part, 10, bits); err != nil {
			return false
		}
	}
	return true
}
