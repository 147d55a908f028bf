package report

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/records"
)

// maxMessage is the most that a condition or an event says.
const maxMessage = 1024

// Conditions says one thing about the node's network. Network is one.
type Conditions interface {
	SetCondition(kind string, status metav1.ConditionStatus, reason, message string)
}

// EventSender tells people what happened. Events is one.
type EventSender interface {
	Event(kind, reason, message string)
}

// Endpoints tells people about records: those that the API server refuses, and those that nobody believes.
type Endpoints struct {
	Conditions Conditions
	Events     EventSender
	// Unrecorded gets the number of pods without a record because the API server refuses it.
	Unrecorded func(float64)
}

// Refused says in condition, metric and event which records the API server lets the node not write or remove.
func (e Endpoints) Refused(refused []records.Refusal) {
	unrecorded := 0
	for _, r := range refused {
		if !r.Removal {
			unrecorded++
		}
	}
	e.Unrecorded(float64(unrecorded))
	if len(refused) == 0 {
		e.Conditions.SetCondition(v1alpha1.ConditionEndpointsRecorded, metav1.ConditionTrue, "AllRecorded", "Every pod's WorkloadEndpoint can be written.")
		return
	}
	first := refused[0]
	what := "written for"
	if first.Removal {
		what = "removed for the deleted"
	}
	message := fmt.Sprintf("The API server refuses %d WorkloadEndpoints of this node; the pods run all the same. The first can't be %s pod %s/%s: %v. Change what refuses it (a quota, an admission rule); the node tries again by itself.",
		len(refused), what, first.Endpoint.Namespace, first.Endpoint.Pod, first.Reason)
	message = message[:min(len(message), maxMessage)]
	e.Conditions.SetCondition(v1alpha1.ConditionEndpointsRecorded, metav1.ConditionFalse, "Refused", message)
	e.Events.Event(corev1.EventTypeWarning, "EndpointNotRecorded", message)
}

// NotBelieved tells of a record in the node's name that its agent can't have written.
func (e Endpoints) NotBelieved(record *v1alpha1.WorkloadEndpoint, reason error) {
	e.Events.Event(corev1.EventTypeWarning, "EndpointNotBelieved",
		fmt.Sprintf("The node ignores WorkloadEndpoint %s/%s: %v. If no agent is being replaced, somebody else has written it; delete it.", record.Namespace, record.Name, reason))
}
