package gitops_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/test/lab"
)

// namespace is where Flux runs.
const namespace = "flux-system"

// startFlux starts the real kustomize-controller, and defines the objects of Flux.
func startFlux(t *testing.T, l *lab.Lab) *source {
	t.Helper()
	ctx := t.Context()
	l.Define(t, l.Bin("gitops-crds.yaml"))
	l.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	log, err := os.Create(filepath.Join(l.Dir, "kustomize-controller.log"))
	must(t, err)
	// It ends before the lab does, not with the test's context: by then the lab is gone.
	c := l.Command(context.WithoutCancel(ctx), l.Bin("kustomize-controller"), "--metrics-addr=0", "--health-addr=127.0.0.1:9440",
		"--feature-gates=ExternalArtifact=true", "--watch-all-namespaces", "--log-level=info")
	c.Env = []string{"KUBECONFIG=" + l.AdminKubeconfig(), "HOME=" + l.Dir, "TMPDIR=" + l.Dir, "RUNTIME_NAMESPACE=" + namespace, "PATH=" + os.Getenv("PATH")}
	c.Stdout, c.Stderr = log, log
	must(t, c.Start())
	t.Cleanup(func() {
		_ = c.Signal(syscall.SIGTERM) // It may have ended.
		_ = c.Wait()                  // Its log says how.
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("log of kustomize-controller:\n%s", text[max(0, len(text)-8000):])
		}
		_ = log.Close() // It is a log.
	})
	return newSource(t, l)
}

// kustomization is what a person writes to have Flux apply the source.
const kustomization = `
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  namespace: flux-system
  name: network
spec:
  sourceRef:
    kind: ExternalArtifact
    name: network
  interval: 3s
  retryInterval: 1s
  timeout: 60s
  prune: true
  wait: true
  deletionPolicy: WaitForTermination
`

func getKustomization(ctx context.Context, l *lab.Lab) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("kustomize.toolkit.fluxcd.io/v1")
	o.SetKind("Kustomization")
	return o, l.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "network"}, o)
}

// awaitFlux waits until the Kustomization has a condition that says a text.
func awaitFlux(t *testing.T, l *lab.Lab, kind string, want metav1.ConditionStatus, text string) {
	t.Helper()
	l.Eventually(t, lab.Settle, fmt.Sprintf("Flux's Kustomization is %s %s with %q", kind, want, text), func() error {
		o, err := getKustomization(t.Context(), l)
		if err != nil {
			return err
		}
		var is struct {
			Status struct {
				Conditions []metav1.Condition `json:"conditions"`
			} `json:"status"`
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &is); err != nil {
			return err
		}
		c := meta.FindStatusCondition(is.Status.Conditions, kind)
		if c == nil || c.Status != want || !strings.Contains(c.Message, text) {
			return fmt.Errorf("its conditions are %+v", is.Status.Conditions)
		}
		return nil
	})
}

// awaitApplied waits until Flux says that a revision is applied and everything in it is ready.
func awaitApplied(t *testing.T, l *lab.Lab, revision string) {
	t.Helper()
	awaitFlux(t, l, "Ready", metav1.ConditionTrue, "Applied revision: "+revision)
}
