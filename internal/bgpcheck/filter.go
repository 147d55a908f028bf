package bgpcheck

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// communityForm is how a community is written.
const communityForm = "write 64512:100, each number at most 65535, or 64512:100:200"

// Rules is one of the four lists of a filter.
type Rules struct {
	Field  string
	Rules  []v1alpha1.BGPFilterRule
	Bits   int // of an address of the family
	Export bool
}

// Lists returns the lists of a filter.
func Lists(spec *v1alpha1.BGPFilterSpec) []Rules {
	return []Rules{
		{"importV4", spec.ImportV4, 32, false}, {"importV6", spec.ImportV6, 128, false},
		{"exportV4", spec.ExportV4, 32, true}, {"exportV6", spec.ExportV6, 128, true},
	}
}

// Filter returns the rules of a filter that can't be used. A filter that has one keeps its sessions from coming up: to run
// without the rule could let through what it was to stop.
func Filter(spec *v1alpha1.BGPFilterSpec) (problems []Problem) {
	for _, list := range Lists(spec) {
		for i := range list.Rules {
			if err := rule(&list.Rules[i], list.Bits); err != nil {
				problems = append(problems, Problem{InvalidRule, fmt.Sprintf("Rule %d of %s %v.", i+1, list.Field, err)})
			}
		}
	}
	return problems
}

// NeverReached returns the first list that has rules behind one that matches every route. It harms nothing, but somebody
// meant something by them.
func NeverReached(spec *v1alpha1.BGPFilterSpec) *Problem {
	for _, list := range Lists(spec) {
		for i := range list.Rules {
			if rest := len(list.Rules) - i - 1; rest > 0 && matchesAll(&list.Rules[i]) {
				return &Problem{RuleNeverReached, fmt.Sprintf(
					"Rule %d of %s matches every route, so the %d rules after it are never reached; move it to the end.", i+1, list.Field, rest)}
			}
		}
	}
	return nil
}

// Filters returns what is wrong with the filters that a BGPPeer names, the first one.
func Filters(names []string, known map[string]*v1alpha1.BGPFilter) *Problem {
	for _, name := range names {
		filter := known[name]
		if filter == nil {
			return &Problem{FilterNotFound, "BGPFilter " + quote(name) + " does not exist; create it or remove its name from filters."}
		}
		if problems := Filter(&filter.Spec); len(problems) > 0 {
			return &Problem{InvalidFilter, "BGPFilter " + quote(name) + " can't be used: " + problems[0].Message}
		}
	}
	return nil
}

// rule says what is wrong with one rule of a family with addresses of so many bits.
func rule(r *v1alpha1.BGPFilterRule, bits int) error {
	if r.Action != v1alpha1.FilterAccept && r.Action != v1alpha1.FilterReject {
		return fmt.Errorf("has the action %s; set it to Accept or Reject", quote(string(r.Action)))
	}
	if err := prefixes(r, bits); err != nil {
		return err
	}
	for _, as := range r.ASPathPrefix {
		if !ValidAS(as) {
			return fmt.Errorf("has the AS number %d in asPathPrefix; use 1 to 4294967295", as)
		}
	}
	for _, c := range r.Communities {
		if !ValidCommunity(string(c)) {
			return fmt.Errorf("has the community %s; %s", quote(string(c)), communityForm)
		}
	}
	return operations(r)
}

// Lengths returns the bounds of a rule's prefixLength.
func Lengths(r *v1alpha1.BGPFilterRule, bits int) (low, high int) {
	high = bits
	if l := r.PrefixLength; l != nil {
		if l.Min != nil {
			low = int(*l.Min)
		}
		if l.Max != nil {
			high = int(*l.Max)
		}
	}
	return low, high
}

// prefixes checks cidr, matchOperator and prefixLength: something must match them.
func prefixes(r *v1alpha1.BGPFilterRule, bits int) error {
	low, high := Lengths(r, bits)
	if low < 0 || high < low {
		return fmt.Errorf("has a prefixLength from %d to %d, which matches nothing; swap or remove them", low, high)
	}
	if low > bits {
		return fmt.Errorf("wants prefixes of at least %d bits, but the longest have %d; correct prefixLength", low, bits)
	}
	high = min(high, bits)
	if r.CIDR == "" {
		return nil
	}
	cidr, err := netip.ParsePrefix(r.CIDR)
	if err != nil || cidr.Addr().BitLen() != bits {
		return fmt.Errorf("has the cidr %s; write one of the rule's family", quote(r.CIDR))
	}
	var matches bool
	switch r.MatchOperator {
	case v1alpha1.CIDREqual:
		matches = low <= cidr.Bits() && cidr.Bits() <= high
	case v1alpha1.CIDRIn:
		matches = high >= cidr.Bits()
	case v1alpha1.CIDRNotIn:
		matches = cidr.Bits() > 0
	case v1alpha1.CIDRNotEqual: // of a prefix of no bits, what has more bits differs
		matches = cidr.Bits() > 0 || high > 0
	default:
		return fmt.Errorf("has the matchOperator %s; use Equal, NotEqual, In or NotIn", quote(string(r.MatchOperator)))
	}
	if !matches {
		return fmt.Errorf("matches nothing: no prefix is %s %s and has %d to %d bits; correct cidr, matchOperator or prefixLength",
			r.MatchOperator, cidr.Masked(), low, high)
	}
	return nil
}

func operations(r *v1alpha1.BGPFilterRule) error {
	if len(r.Operations) > 0 && r.Action != v1alpha1.FilterAccept {
		return errors.New("rejects a route and has operations; set action to Accept or remove them")
	}
	for _, op := range r.Operations {
		if c := op.AddCommunity; c != nil && !ValidCommunity(string(*c)) {
			return fmt.Errorf("adds the community %s; %s", quote(string(*c)), communityForm)
		}
		for _, as := range op.PrependASPath {
			if !ValidAS(as) {
				return fmt.Errorf("prepends the AS number %d; use 1 to 4294967295", as)
			}
		}
		if v := op.SetLocalPreference; v != nil && (*v < 0 || *v > 1<<32-1) {
			return fmt.Errorf("sets the local preference %d; use 0 to 4294967295", *v)
		}
	}
	return nil
}

// ValidCommunity checks a community (RFC 1997, two 16-bit numbers) or large community (RFC 8092, three of 32 bits).
func ValidCommunity(s string) bool {
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

// matchesAll says whether a rule has no conditions.
func matchesAll(r *v1alpha1.BGPFilterRule) bool {
	return r.CIDR == "" && r.PrefixLength == nil && len(r.Communities) == 0 && len(r.ASPathPrefix) == 0 && r.Interface == "" && r.Source == ""
}
