package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// A pool that needs what the kernel may lack: both objects say so, and everything else works on.
func TestAPoolSaysWhatTheKernelLacks(t *testing.T) {
	l := lab.Start(t, lab.Options{})
	ctx := t.Context()
	l.Create(t, pool("good", "10.80.0.0/16", nil))
	pods := l.PodsOnAll(t, "good")
	l.AwaitMatrix(t, pods)
	l.Create(t, pool("tunnel", "10.81.0.0/16", func(s *v1alpha1.IPPoolSpec) { s.Encapsulation = v1alpha1.EncapsulationIPIP }))
	l.Eventually(t, lab.Settle, "pool and node agree about what the kernel can do", func() error {
		var node v1alpha1.NodeNetwork
		if err := l.Object(ctx, l.Nodes[0].Name, &node); err != nil {
			return err
		}
		status, err := poolStatus(ctx, l, "tunnel")
		if err != nil {
			return err
		}
		want := metav1.ConditionFalse
		if slices.Contains(node.Status.Encapsulations, v1alpha1.EncapsulationIPIP) {
			want = metav1.ConditionTrue
		}
		for what, conditions := range map[string][]metav1.Condition{"IPPool": status.Conditions, "NodeNetwork": node.Status.Conditions} {
			c := meta.FindStatusCondition(conditions, v1alpha1.ConditionKernelSupport)
			if c == nil || c.Status != want || want == metav1.ConditionFalse && !strings.Contains(c.Message, "ipip") {
				return fmt.Errorf("%s: want %s in %+v", what, want, c)
			}
		}
		return nil
	})
	l.AwaitMatrix(t, append(pods, l.MustStartPod(t, 0, "default/after"), l.MustStartPod(t, 2, "default/after-2")))
}
