package convert

import (
	"fmt"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	label      = `([A-Za-z0-9_./-]+)`
	quoted     = `(?:"([^"]*)"|'([^']*)')`
	everything = regexp.MustCompile(`^(all|global)\(\)$`)
	exists     = regexp.MustCompile(`^(!?)\s*has\(\s*` + label + `\s*\)$`)
	equals     = regexp.MustCompile(`^` + label + `\s*(==|!=)\s*` + quoted + `$`)
	oneOf      = regexp.MustCompile(`^` + label + `\s+(not\s+in|in)\s*\{(.*)\}$`)
	value      = regexp.MustCompile(quoted)
)

// Selector translates a selector of Calico's language. Kubernetes' label selectors know "and", but no "or", no parts of
// strings and no negation of the whole. Everything is nil.
func Selector(text string) (*metav1.LabelSelector, error) {
	out := &metav1.LabelSelector{}
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	for _, term := range strings.Split(text, "&&") {
		term = trimBrackets(term)
		if everything.MatchString(term) {
			continue
		}
		r, err := requirement(term)
		if err != nil {
			return nil, fmt.Errorf("the selector %q can't be translated: %w", text, err)
		}
		out.MatchExpressions = append(out.MatchExpressions, r)
	}
	if len(out.MatchExpressions) == 0 {
		return nil, nil
	}
	return simplify(out), nil
}

// trimBrackets takes away brackets around a whole term.
func trimBrackets(term string) string {
	term = strings.TrimSpace(term)
	for strings.HasPrefix(term, "(") && strings.HasSuffix(term, ")") {
		term = strings.TrimSpace(term[1 : len(term)-1])
	}
	return term
}

func requirement(term string) (metav1.LabelSelectorRequirement, error) {
	var r metav1.LabelSelectorRequirement
	switch {
	case exists.MatchString(term):
		m := exists.FindStringSubmatch(term)
		r.Key, r.Operator = m[2], metav1.LabelSelectorOpExists
		if m[1] == "!" {
			r.Operator = metav1.LabelSelectorOpDoesNotExist
		}
	case equals.MatchString(term):
		m := equals.FindStringSubmatch(term)
		r.Key, r.Operator, r.Values = m[1], metav1.LabelSelectorOpIn, []string{m[3] + m[4]}
		if m[2] == "!=" {
			r.Operator = metav1.LabelSelectorOpNotIn
		}
	case oneOf.MatchString(term):
		m := oneOf.FindStringSubmatch(term)
		r.Key, r.Operator = m[1], metav1.LabelSelectorOpIn
		if m[2] != "in" {
			r.Operator = metav1.LabelSelectorOpNotIn
		}
		for _, v := range value.FindAllStringSubmatch(m[3], -1) {
			r.Values = append(r.Values, v[1]+v[2])
		}
	default:
		return r, fmt.Errorf("label selectors have nothing like %q", term)
	}
	return r, nil
}

// simplify writes equalities the short way.
func simplify(s *metav1.LabelSelector) *metav1.LabelSelector {
	out := &metav1.LabelSelector{}
	for _, r := range s.MatchExpressions {
		_, taken := out.MatchLabels[r.Key]
		if r.Operator != metav1.LabelSelectorOpIn || len(r.Values) != 1 || taken {
			out.MatchExpressions = append(out.MatchExpressions, r)
			continue
		}
		if out.MatchLabels == nil {
			out.MatchLabels = map[string]string{}
		}
		out.MatchLabels[r.Key] = r.Values[0]
	}
	return out
}
