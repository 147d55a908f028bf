package wish

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/labels"
)

// Pool is what the choice depends on.
type Pool struct {
	Name string
	V4   bool
	// Usable says that the pool gives out addresses here.
	Usable bool
	// Manual pools serve only who names them.
	Manual bool
	// Namespaces selects the namespaces that the pool may serve.
	Namespaces labels.Selector
}

// Namespace is the pod's.
type Namespace struct {
	Name   string
	Labels labels.Set
}

// ErrNoPool says that no pool may serve the pod. The address book says so too, where none of the pools that were chosen is usable any more.
var ErrNoPool = errors.New("no pool")

// Choose returns one list of pool names for each family, best first. The pools come best first; where somebody names pools, the order of
// the names counts. The wishes come in the order of their weight: for each family, the first one that says something counts. A pool
// serves only namespaces that its namespaceSelector selects, whoever names it. Errors are ErrNoPool, *Error and *FamilyError.
func Choose(pools []Pool, in Namespace, wishes ...Wish) ([][]string, error) {
	both, err := dualStack(wishes)
	if err != nil {
		return nil, err
	}
	var out [][]string
	var missing error
	for _, v4 := range []bool{true, false} {
		list, err := ofFamily(pools, in, ask(wishes, v4), v4)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			missing = &FamilyError{Family: familyName(v4)}
			continue
		}
		out = append(out, list)
	}
	switch {
	case len(out) == 0:
		return nil, ErrNoPool
	case both && missing != nil:
		return nil, missing
	}
	return out, nil
}

func ofFamily(pools []Pool, in Namespace, a asked, v4 bool) ([]string, error) {
	var out []string
	if len(a.names) == 0 {
		for _, p := range pools {
			if p.V4 == v4 && p.Usable && !p.Manual && p.Namespaces.Matches(in.Labels) {
				out = append(out, p.Name)
			}
		}
		return out, nil
	}
	for _, name := range a.names {
		p, ok := find(pools, name)
		switch {
		case !ok:
			return nil, &Error{Reason: fmt.Sprintf("IPPool %s, which %s asks for, does not exist", name, a.source)}
		case !p.Namespaces.Matches(in.Labels):
			return nil, &Error{Reason: fmt.Sprintf("IPPool %s, which %s asks for, may not serve namespace %s: its namespaceSelector does not select it", name, a.source, in.Name)}
		case p.V4 == v4 && p.Usable:
			out = append(out, name)
		case p.V4 != v4 && !a.both:
			return nil, &Error{Reason: fmt.Sprintf("%s asks for IPPool %s as an %s pool, but it is an %s pool", a.source, name, familyName(v4), familyName(p.V4))}
		}
	}
	return out, nil
}
