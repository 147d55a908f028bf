package lab

import (
	"fmt"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Settle is the limit for what should take a moment.
const Settle = 90 * time.Second

// Create creates an object.
func (l *Lab) Create(t testing.TB, o client.Object) {
	t.Helper()
	if err := l.Client.Create(t.Context(), o); err != nil {
		t.Fatalf("create %s: %v", o.GetName(), err)
	}
}

// MustStartPod starts a pod on the node of that index; key is "namespace/name".
func (l *Lab) MustStartPod(t testing.TB, node int, key string) *Pod {
	t.Helper()
	p, err := l.StartPod(t.Context(), l.Nodes[node], key, PodOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// PodsOnAll starts one pod on every node.
func (l *Lab) PodsOnAll(t testing.TB, prefix string) []*Pod {
	t.Helper()
	var pods []*Pod
	for i := range l.Nodes {
		pods = append(pods, l.MustStartPod(t, i, fmt.Sprintf("default/%s-%d", prefix, i)))
	}
	return pods
}

// AwaitMatrix waits until every pod reaches every other one.
func (l *Lab) AwaitMatrix(t testing.TB, pods []*Pod) {
	t.Helper()
	l.Eventually(t, Settle, "every pod reaches every other", func() error { return PingMatrix(t.Context(), pods) })
}

// Define applies the definitions of objects in a file, and waits until the API server knows the objects.
func (l *Lab) Define(t testing.TB, file string) {
	t.Helper()
	if out, err := l.Kubectl(t.Context(), "apply", "--server-side", "-f", file); err != nil {
		t.Fatalf("define objects (run make gitops-programs if the file is missing): %v: %s", err, out)
	}
	// kubectl wait fails where a definition has no conditions yet.
	l.Eventually(t, Settle, "the API server knows the objects of "+file, func() error {
		_, err := l.Kubectl(t.Context(), "wait", "--for=condition=Established", "--all", "crd")
		return err
	})
}
