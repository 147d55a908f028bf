// Package cluster_test tests a whole cluster from outside: pods start, are reached, and survive every fault without an
// address given twice or lost.
package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

func pool(name, cidr string, change func(*v1alpha1.IPPoolSpec)) *v1alpha1.IPPool {
	p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.IPPoolSpec{CIDR: cidr, Encapsulation: v1alpha1.EncapsulationVXLANCrossSubnet}}
	if change != nil {
		change(&p.Spec)
	}
	return p
}

// startWithPods starts a lab with a pool and a pod on every node, which reach each other.
func startWithPods(t *testing.T, o lab.Options) (*lab.Lab, []*lab.Pod) {
	t.Helper()
	l := lab.Start(t, o)
	l.Create(t, pool("pool", "10.211.0.0/16", nil))
	pods := l.PodsOnAll(t, "pod")
	l.AwaitMatrix(t, pods)
	return l, pods
}

func blockSize(bits int32) func(*v1alpha1.IPPoolSpec) {
	return func(s *v1alpha1.IPPoolSpec) { s.BlockSize = &bits }
}

// consistent is nil when every address is held once, inside a block of its node.
func consistent(ctx context.Context, l *lab.Lab) error {
	var endpoints v1alpha1.WorkloadEndpointList
	var blocks v1alpha1.IPBlockList
	if err := errors.Join(l.Client.List(ctx, &endpoints), l.Client.List(ctx, &blocks)); err != nil {
		return err
	}
	holders := map[string]string{}
	var wrong []error
	for _, e := range endpoints.Items {
		key := e.Namespace + "/" + e.Name
		for _, text := range e.Spec.Addresses {
			if other, taken := holders[text]; taken {
				wrong = append(wrong, fmt.Errorf("%s and %s both have %s", key, other, text))
			}
			holders[text] = key
			if ownerOf(blocks.Items, netip.MustParsePrefix(text).Addr()) != e.Spec.Node {
				wrong = append(wrong, fmt.Errorf("%s has %s, which is in no block of %s", key, text, e.Spec.Node))
			}
		}
	}
	return errors.Join(wrong...)
}

// ownerOf returns the node that may give an address out: the one to which it is lent, else that of its block.
func ownerOf(blocks []v1alpha1.IPBlock, a netip.Addr) (owner string) {
	for _, b := range blocks {
		if !netip.MustParsePrefix(b.Spec.CIDR).Contains(a) {
			continue
		}
		owner = b.Spec.Node
		for _, loan := range b.Spec.Lent {
			if loan.Granted && netip.MustParsePrefix(loan.CIDR).Contains(a) {
				return loan.Node
			}
		}
	}
	return owner
}

func checkConsistent(t *testing.T, l *lab.Lab) {
	t.Helper()
	l.Eventually(t, lab.Settle, "every address is held once, inside a block of its node", func() error { return consistent(t.Context(), l) })
}

// record returns the WorkloadEndpoint of a pod.
func record(ctx context.Context, l *lab.Lab, p *lab.Pod) (*v1alpha1.WorkloadEndpoint, error) {
	var list v1alpha1.WorkloadEndpointList
	if err := l.Client.List(ctx, &list, client.InNamespace(p.Namespace)); err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].Spec.ContainerID == p.ContainerID {
			return &list.Items[i], nil
		}
	}
	return nil, fmt.Errorf("pod %s has no WorkloadEndpoint", p.Key())
}

// mustRecord waits for the WorkloadEndpoint of a pod: it is written after the pod has started.
func mustRecord(t *testing.T, l *lab.Lab, p *lab.Pod) (r *v1alpha1.WorkloadEndpoint) {
	t.Helper()
	l.Eventually(t, lab.Settle, "pod "+p.Key()+" has a WorkloadEndpoint", func() (err error) {
		r, err = record(t.Context(), l, p)
		return err
	})
	return r
}

// noRecords is nil when no WorkloadEndpoint is left.
func noRecords(ctx context.Context, l *lab.Lab) error {
	var list v1alpha1.WorkloadEndpointList
	if err := l.Client.List(ctx, &list); err != nil {
		return err
	}
	if len(list.Items) > 0 {
		return fmt.Errorf("%d WorkloadEndpoints are left, the first is %s", len(list.Items), list.Items[0].Name)
	}
	return nil
}

func poolStatus(ctx context.Context, l *lab.Lab, name string) (v1alpha1.IPPoolStatus, error) {
	var p v1alpha1.IPPool
	err := l.Object(ctx, name, &p)
	return p.Status, err
}

// del calls DEL as a runtime does, without touching the Pod object.
func del(ctx context.Context, p *lab.Pod) error {
	if p == nil {
		return nil
	}
	if out, err := p.CNI(ctx, "del", "--args=IgnoreUnknown=1;K8S_POD_NAMESPACE="+p.Namespace+";K8S_POD_NAME="+p.Name).CombinedOutput(); err != nil {
		return fmt.Errorf("DEL of %s: %w: %s", p.Key(), err, out)
	}
	return nil
}

// wantError fails unless an ADD failed with a CNI error code and a text.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("the call succeeded")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("want %q in: %v", part, err)
		}
	}
}
