package controllers_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func says(list []metav1.Condition, kind string, status metav1.ConditionStatus, text string) bool {
	c := meta.FindStatusCondition(list, kind)
	return c != nil && c.Status == status && strings.Contains(c.Message, text)
}

func TestReservedAddresses(t *testing.T) {
	w := begin(t)
	w.pool("p", "10.0.0.0/24", func(p *v1alpha1.IPPool) {
		p.Spec.Reserved = []string{"10.0.0.0/26", "10.0.0.60-10.0.0.70", "10.0.0.130", "10.9.0.1"}
	})
	w.node("n1", "192.168.0.1", want("p", 1, 0))
	w.waitBlocks("not the block that is reserved", "10.0.0.128/26 n1")
	w.waitPool("p", "says what is wrong, and counts what pods can have", func(p *v1alpha1.IPPool) bool {
		return says(p.Status.Conditions, v1alpha1.ConditionReservationsValid, "False", "overlap") && p.Status.Capacity == 3*63-7
	})
	w.endpoint("e", "n1", "p", "10.0.0.130/32")
	holder := "10.0.0.130 (workloadendpoint default/e)"
	w.waitPool("p", "says who has one", func(p *v1alpha1.IPPool) bool {
		return says(p.Status.Conditions, v1alpha1.ConditionReservedInUse, "True", holder)
	})

	everywhere := &v1alpha1.IPReservation{ObjectMeta: metav1.ObjectMeta{Name: "printers"},
		Spec: v1alpha1.IPReservationSpec{Addresses: []string{"10.0.0.128-10.0.0.191", "fd00::/64"}}}
	w.must(w.Create(w.ctx, everywhere))
	defer func() { w.must(client.IgnoreNotFound(w.Delete(w.ctx, everywhere))) }()
	w.waitBlocks("the node needs another block", "10.0.0.128/26 n1", "10.0.0.64/26 n1")
	w.wait("the reservation says who has one", func() string {
		w.must(w.Get(w.ctx, client.ObjectKeyFromObject(everywhere), everywhere))
		s := everywhere.Status
		if !says(s.Conditions, v1alpha1.ConditionReady, "True", "") || !says(s.Conditions, v1alpha1.ConditionReservedInUse, "True", holder) || s.ObservedGeneration != everywhere.Generation {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	everywhere.Spec.Addresses = []string{"10.0.0.9-10.0.0.1"}
	w.must(w.Update(w.ctx, everywhere))
	w.wait("an entry that can't be read", func() string {
		w.must(w.Get(w.ctx, client.ObjectKeyFromObject(everywhere), everywhere))
		if !says(everywhere.Status.Conditions, v1alpha1.ConditionStalled, "True", "10.0.0.9-10.0.0.1") {
			return fmt.Sprintf("%+v", everywhere.Status)
		}
		return ""
	})
	everywhere.Spec.Addresses = []string{"ten"}
	if err := w.Update(w.ctx, everywhere); err == nil {
		t.Error("the API server takes any text as an address")
	}
}
