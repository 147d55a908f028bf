package cluster

import (
	"testing"
	"time"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// TestSlimKeepsWhatIsRead: of other nodes' objects only what the view and BGP read is kept, and texts that repeat are kept once.
func TestSlimKeepsWhatIsRead(t *testing.T) {
	made := metav1.NewTime(time.Unix(1000, 0))
	full := metav1.ObjectMeta{Name: "a", UID: "u", ResourceVersion: "7", Generation: 2, CreationTimestamp: made, DeletionTimestamp: &made,
		Finalizers: []string{v1alpha1.FinalizerBlock}, Annotations: map[string]string{"x": "y"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}}
	block := func() *v1alpha1.IPBlock {
		b := &v1alpha1.IPBlock{ObjectMeta: *full.DeepCopy()}
		b.Spec = v1alpha1.IPBlockSpec{CIDR: "10.0.0.0/26", Pool: string([]byte("pool")), Node: "a", NodeAddresses: []string{"192.168.0.1"}}
		return b
	}
	network := func(name string) *v1alpha1.NodeNetwork {
		n := &v1alpha1.NodeNetwork{ObjectMeta: *full.DeepCopy()}
		n.Name, n.Labels = name, map[string]string{"rack": "1"}
		n.Status.Addresses = []v1alpha1.NodeAddress{{Address: "192.168.0.1", Subnet: "192.168.0.0/24", Interface: "eth0"}}
		n.Status.Conditions, n.Status.MTU = []metav1.Condition{{Type: "Ready"}}, 1500
		return n
	}
	transform := slim("own")
	first, second := block(), block()
	for _, b := range []*v1alpha1.IPBlock{first, second} {
		if _, err := transform(b); err != nil {
			t.Fatal(err)
		}
	}
	parsed, _, _ := parseBlock(block())
	if slimmed, _, ok := parseBlock(first); !ok || !slimmed.equal(parsed) || !slimmed.Terminating {
		t.Errorf("the view sees %+v, before %+v", slimmed, parsed)
	}
	if first.Finalizers != nil || first.Annotations != nil || first.ManagedFields != nil || first.UID != "u" || first.ResourceVersion != "7" {
		t.Errorf("%+v", first.ObjectMeta)
	}
	if unsafe.StringData(first.Spec.Pool) != unsafe.StringData(second.Spec.Pool) {
		t.Error("the pool's name is in memory twice")
	}
	other := network("other")
	if _, err := transform(other); err != nil {
		t.Fatal(err)
	}
	want := network("other")
	if !equality.Semantic.DeepEqual(other.Status, v1alpha1.NodeNetworkStatus{Addresses: want.Status.Addresses}) || other.Labels["rack"] != "1" || other.Generation != 2 || other.Finalizers != nil {
		t.Errorf("%+v", other)
	}
	own := network("own")
	if _, err := transform(own); err != nil {
		t.Fatal(err)
	}
	if want = network("own"); own.ManagedFields != nil || !equality.Semantic.DeepEqual(own.Status, want.Status) || len(own.Finalizers) != 1 {
		t.Errorf("%+v", own)
	}
}
