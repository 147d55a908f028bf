// Package wish decides which pools may serve a pod. What the pod, its network configuration and its namespace ask for, the pools and the
// namespace's labels come in; for each address family a list of pools, best first, or a reason why there is none goes out. It does no I/O.
package wish

import (
	"fmt"
	"slices"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Wish is what one source asks for: a pod, a network configuration or a namespace.
type Wish struct {
	// Source says in words who asks, for errors: "the pod".
	Source string
	// Pools are pools of both families, V4 and V6 those of one, in the order of preference. One that is empty asks for nothing. Pools of
	// one family only ask for no address of the other one.
	Pools, V4, V6 []string
	// DualStack is RequireDualStack, NotRequired, or nothing.
	DualStack string
}

// The values of DualStack.
const (
	RequireDualStack = "true"
	NotRequired      = "false"
)

// Annotations are those that a wish is read from.
var Annotations = []string{v1alpha1.AnnotationPools, v1alpha1.AnnotationV4Pools, v1alpha1.AnnotationV6Pools, v1alpha1.AnnotationRequireDualStack}

// Read reads the annotations of a pod or namespace.
func Read(source string, annotations map[string]string) Wish {
	return Wish{
		Source: source, Pools: v1alpha1.SplitList(annotations[v1alpha1.AnnotationPools]), V4: v1alpha1.SplitList(annotations[v1alpha1.AnnotationV4Pools]),
		V6: v1alpha1.SplitList(annotations[v1alpha1.AnnotationV6Pools]), DualStack: annotations[v1alpha1.AnnotationRequireDualStack],
	}
}

// Keep returns those of an object's annotations that a wish is read from, or nil.
func Keep(annotations map[string]string) map[string]string {
	var out map[string]string
	for _, key := range Annotations {
		if value, ok := annotations[key]; ok {
			if out == nil {
				out = map[string]string{}
			}
			out[key] = value
		}
	}
	return out
}

// asked are the pools that the first source with a wish for a family names.
type asked struct {
	source string
	names  []string
	// both says that the names may be of both families. Those of the other one are skipped.
	both bool
}

func ask(wishes []Wish, v4 bool) asked {
	for _, w := range wishes {
		own := w.V6
		if v4 {
			own = w.V4
		}
		if len(own) > 0 {
			return asked{source: w.Source, names: own}
		}
		if len(w.Pools) > 0 {
			return asked{source: w.Source, names: w.Pools, both: true}
		}
	}
	return asked{}
}

// dualStack says whether the first source that has an opinion demands both families.
func dualStack(wishes []Wish) (bool, error) {
	for _, w := range wishes {
		switch w.DualStack {
		case "":
		case RequireDualStack, NotRequired:
			return w.DualStack == RequireDualStack, nil
		default:
			return false, &Error{Reason: fmt.Sprintf("%s asks for %s=%q; write true or false", w.Source, v1alpha1.AnnotationRequireDualStack, w.DualStack)}
		}
	}
	return false, nil
}

// Error says that a wish can't be read or can't be fulfilled.
type Error struct{ Reason string }

func (e *Error) Error() string { return e.Reason }

// FamilyError says that a pod must have addresses of both families, and that no pool may serve it with one of them now.
type FamilyError struct{ Family string }

func (e *FamilyError) Error() string {
	return fmt.Sprintf("it must have an IPv4 and an IPv6 address (%s), and no IPPool for %s may serve it on this node", v1alpha1.AnnotationRequireDualStack, e.Family)
}

func familyName(v4 bool) string {
	if v4 {
		return "IPv4"
	}
	return "IPv6"
}

func find(pools []Pool, name string) (Pool, bool) {
	i := slices.IndexFunc(pools, func(p Pool) bool { return p.Name == name })
	if i < 0 {
		return Pool{}, false
	}
	return pools[i], true
}
