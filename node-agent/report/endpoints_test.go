package report

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/records"
)

// people are whom Endpoints tells.
type people struct {
	condition, status, message string
	events                     []string
	unrecorded                 float64
}

func (p *people) SetCondition(kind string, status metav1.ConditionStatus, _, message string) {
	p.condition, p.status, p.message = kind, string(status), message
}

func (p *people) Event(_, reason, _ string) { p.events = append(p.events, reason) }

func TestRefusedRecordsAreConditionEventAndMetric(t *testing.T) {
	p := &people{}
	e := Endpoints{Conditions: p, Events: p, Unrecorded: func(n float64) { p.unrecorded = n }}
	refusal := func(pod string, removal bool) records.Refusal {
		return records.Refusal{Endpoint: addressbook.Endpoint{Namespace: "shop", Pod: pod}, Removal: removal, Reason: errors.New("exceeded quota")}
	}
	e.Refused([]records.Refusal{refusal("web", false), refusal("old", true)})
	if p.condition != v1alpha1.ConditionEndpointsRecorded || p.status != "False" || p.unrecorded != 1 || len(p.events) != 1 {
		t.Errorf("told %+v", p)
	}
	if !strings.Contains(p.message, "refuses 2 WorkloadEndpoints") || !strings.Contains(p.message, "written for pod shop/web: exceeded quota") {
		t.Errorf("the condition says %q", p.message)
	}
	e.Refused(nil)
	if p.status != "True" || p.unrecorded != 0 || len(p.events) != 1 {
		t.Errorf("once all are written told %+v", p)
	}
	e.NotBelieved(&v1alpha1.WorkloadEndpoint{}, errors.New("its address is in no block of this node"))
	if len(p.events) != 2 || p.events[1] != "EndpointNotBelieved" {
		t.Errorf("events %v", p.events)
	}
}
