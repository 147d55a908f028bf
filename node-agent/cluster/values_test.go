package cluster

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// A block that is being deleted gives no address to new pods, be it its node's or one that it has lent.
func TestRangesOfABlockThatIsBeingDeleted(t *testing.T) {
	now := metav1.Now()
	for _, deleted := range []*metav1.Time{nil, &now} {
		_, lent, ok := parseBlock(&v1alpha1.IPBlock{
			ObjectMeta: metav1.ObjectMeta{Name: "10.0.1.8-29", DeletionTimestamp: deleted},
			Spec:       v1alpha1.IPBlockSpec{CIDR: "10.0.1.8/29", Node: "a", Lent: []v1alpha1.Loan{{CIDR: "10.0.1.15/32", Node: "b", Granted: true, ID: "1"}}},
		})
		if !ok || len(lent) != 1 || lent[0].Terminating != (deleted != nil) {
			t.Errorf("deleted at %v: %+v", deleted, lent)
		}
	}
}
