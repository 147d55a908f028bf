package conditions

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
)

// Reservations says what is wrong with a list of reserved addresses, which stands in the given field.
func Reservations(field string, problems []reservation.Problem) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReservationsValid, Status: metav1.ConditionTrue, Reason: "Valid", Message: "Every reserved entry counts."}
	if len(problems) == 0 {
		return c
	}
	c.Status, c.Reason = metav1.ConditionFalse, "Overlap"
	for _, p := range problems {
		if p.Ignored {
			c.Reason = "Ignored"
		}
	}
	c.Message = fmt.Sprintf("In %s: %s", field, problems[0].Message)
	if more := len(problems) - 1; more > 0 {
		c.Message += fmt.Sprintf(" There are %d more problems.", more)
	}
	return c
}

// ReservedInUse says which pods have reserved addresses. holders are a few of them, count is how many addresses there are.
func ReservedInUse(holders []string, count int) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReservedInUse, Status: metav1.ConditionFalse, Reason: "NoneInUse", Message: "No pod has a reserved address."}
	if count == 0 {
		return c
	}
	text := strings.Join(holders, ", ")
	if more := count - len(holders); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	c.Status, c.Reason = metav1.ConditionTrue, "HeldByPods"
	c.Message = fmt.Sprintf("Pods still have reserved addresses: %s. They keep them until they end; nobody gets these addresses after that.", text)
	return c
}
