// Package conditions writes the conditions of Causeway's objects. It takes a list and a condition, and returns the list
// with Ready first. It decides nothing.
package conditions

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// Set puts a condition into a list. The transition time changes only when the status does.
func Set(list []metav1.Condition, now metav1.Time, c metav1.Condition) []metav1.Condition {
	c.LastTransitionTime = now
	out := slices.Clone(list)
	meta.SetStatusCondition(&out, c)
	slices.SortStableFunc(out, func(a, b metav1.Condition) int { return rank(a) - rank(b) })
	return out
}

func rank(c metav1.Condition) int {
	if c.Type == v1alpha1.ConditionReady {
		return 0
	}
	return 1
}

// State is what the conditions of an object say in sum.
type State struct {
	Ready bool
	// Stalled says that only a person can help, Reconciling that the object may become ready by itself soon.
	Stalled, Reconciling bool
	Reason, Message      string
}

// Sum puts a state into conditions as kstatus reads them: Ready is always there, Reconciling and Stalled only while they are true.
func Sum(list []metav1.Condition, now metav1.Time, generation int64, s State) []metav1.Condition {
	condition := func(kind string, status bool) metav1.Condition {
		return metav1.Condition{Type: kind, Status: Status(status), Reason: s.Reason, Message: s.Message, ObservedGeneration: generation}
	}
	list = Set(list, now, condition(v1alpha1.ConditionReady, s.Ready))
	for _, c := range []struct {
		kind string
		is   bool
	}{{v1alpha1.ConditionReconciling, s.Reconciling}, {v1alpha1.ConditionStalled, s.Stalled}} {
		if c.is {
			list = Set(list, now, condition(c.kind, true))
		} else {
			meta.RemoveStatusCondition(&list, c.kind)
		}
	}
	return list
}

// Status is True or False.
func Status(b bool) metav1.ConditionStatus {
	if b {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// Names writes "node a" or "nodes a, b, c and 4 more", so that a large cluster's message stays readable.
func Names(kind string, names []string) string {
	const most = 8
	if len(names) == 1 {
		return kind + " " + names[0]
	}
	shown := names
	if len(names) > most {
		shown = names[:most]
	}
	text := kind + "s " + strings.Join(shown, ", ")
	if rest := len(names) - len(shown); rest > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	return text
}
