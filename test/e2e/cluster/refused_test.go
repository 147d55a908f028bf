package cluster_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// A namespace that is being deleted takes no new objects, so its pods get no record. They run, and people are told.
func TestARecordThatIsRefusedIsTold(t *testing.T) {
	l, pods := startWithPods(t, lab.Options{})
	ctx, n := t.Context(), l.Nodes[0]
	for _, args := range [][]string{{"create", "namespace", "ending"}, {"delete", "namespace", "ending", "--wait=false"}} {
		if out, err := l.Kubectl(ctx, args...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	p, err := l.StartPod(ctx, n, "ending/a", lab.PodOptions{NoObject: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Ping(ctx, pods[2], p.V4()); err != nil {
		t.Error(err)
	}
	told := func(condition bool, unrecorded int) func() error {
		return func() error {
			var network v1alpha1.NodeNetwork
			if err := l.Object(ctx, n.Name, &network); err != nil {
				return err
			}
			c := meta.FindStatusCondition(network.Status.Conditions, v1alpha1.ConditionEndpointsRecorded)
			if c == nil || (c.Status == "True") != condition {
				return fmt.Errorf("the condition is %+v", c)
			}
			const get = `exec 3<>/dev/tcp/127.0.0.1/9441; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3`
			out, err := n.Run(ctx, "bash", "-c", get)
			if want := fmt.Sprintf("causeway_endpoints_unrecorded %d\n", unrecorded); err != nil || !strings.Contains(out, want) {
				return fmt.Errorf("the metrics lack %q (%w)", want, err)
			}
			return nil
		}
	}
	l.Eventually(t, lab.Settle, "condition and metric tell of the refused record", told(false, 1))
	l.Eventually(t, lab.Settle, "an event tells of the refused record", func() error {
		var events corev1.EventList
		if err := l.Client.List(ctx, &events); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == "EndpointNotRecorded" && strings.Contains(e.Message, "pod ending/a") {
				return nil
			}
		}
		return fmt.Errorf("there are %d others", len(events.Items))
	})
	if err := del(ctx, p); err != nil {
		t.Fatal(err)
	}
	l.Eventually(t, lab.Settle, "all is well again", told(true, 0))
	checkConsistent(t, l)
}
