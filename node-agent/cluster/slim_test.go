package cluster

import (
	"testing"
	"time"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"

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
	var kept []*keptBlock
	for _, b := range []*v1alpha1.IPBlock{block(), block()} {
		small, err := transform(b)
		k, ok := small.(*keptBlock)
		if err != nil || !ok {
			t.Fatalf("%T, %v", small, err)
		}
		if again, err := transform(k); err != nil || again != any(k) {
			t.Fatalf("what is kept is not kept as it is: %+v, %v", again, err)
		}
		kept = append(kept, k)
	}
	parsed, _, _ := parseBlock(block())
	if got := kept[0].block; !got.equal(parsed) || !got.Terminating || got.UID != "u" || got.Generation != 2 {
		t.Errorf("the view sees %+v, of %+v", got, parsed)
	}
	m, err := meta.Accessor(kept[0])
	if key, _ := toolscache.MetaNamespaceKeyFunc(kept[0]); err != nil || key != "a" || m.GetResourceVersion() != "7" {
		t.Errorf("the cache finds it as %q, %+v, %v", key, m, err)
	}
	if unsafe.StringData(kept[0].block.Pool) != unsafe.StringData(kept[1].block.Pool) {
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
