package blocks

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

// TestEndpointsAreKeptSmall: what a reflector's store keeps of 150,000 records while it reads them says the same as the records, and a
// store finds it by its name.
func TestEndpointsAreKeptSmall(t *testing.T) {
	var told []string
	pods := map[string]string{} // by the record
	recorded := func(record types.NamespacedName, pod string, _ blockplan.Endpoint, there bool) {
		if pods[record.Name] = pod; !there {
			delete(pods, record.Name)
		}
	}
	r := &Reconciler{o: Options{PoolChanged: func(pool string) { told = append(told, pool) }, Recorded: recorded}, state: blockplan.New()}
	e := newEndpoints(r)
	w := &v1alpha1.WorkloadEndpoint{}
	w.Namespace, w.Name = "default", "a-0123456789a"
	w.Spec.Pod, w.Spec.ContainerInterface = "a", "eth0"
	w.Spec.Node, w.Spec.Addresses, w.Spec.Pools = "n1", []string{"10.0.0.5/32", "fd00::5/128"}, []string{"four", "six"}
	kept, err := e.Transformer()(w)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := toolscache.DeletionHandlingMetaNamespaceKeyFunc(kept); err != nil || key != "default/a-0123456789a" {
		t.Errorf("the key is %q, %v", key, err)
	}
	if again, err := e.Transformer()(kept); err != nil || again != kept {
		t.Errorf("made small twice it is %v, %v", again, err)
	}
	name := types.NamespacedName{Namespace: "default", Name: "a-0123456789a"}
	if err := e.Replace([]any{kept}, ""); err != nil || e.known[name] != endpointOf(w) || len(told) != 2 {
		t.Errorf("after a list: %v, %v, %v", err, e.known, told)
	}
	if pods[w.Name] != "a" {
		t.Errorf("of the pods, these are told: %v", pods)
	}
	if err := e.Update(w); err != nil || len(told) != 2 {
		t.Errorf("the same once more is news: %v, %v", err, told)
	}
	if err := e.Delete(w); err != nil || len(e.known) != 0 || len(pods) != 0 || r.state.HasLeft("n1") {
		t.Errorf("after its deletion: %v, %v", err, e.known)
	}
}
