package bundle_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/kubectl-causeway/bundle"
)

func TestObjects(t *testing.T) {
	const secret = "hunter2"
	m := metav1.ObjectMeta{Name: "x", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "someone"}}, Annotations: map[string]string{
		"kubectl.kubernetes.io/last-applied-configuration": secret, "causeway.dev/ippools": "pool",
	}}
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "agent", Image: "causeway:1", Env: []corev1.EnvVar{{Name: "TOKEN", Value: secret}}}}}
	spec.InitContainers = spec.DeepCopy().Containers
	template := corev1.PodTemplateSpec{ObjectMeta: *m.DeepCopy(), Spec: spec}
	template.ManagedFields = nil // a template has none
	pods := &corev1.PodList{Items: []corev1.Pod{{ObjectMeta: *m.DeepCopy(), Spec: *spec.DeepCopy()}}}
	for _, f := range []func() (bundle.File, error){
		func() (bundle.File, error) { return bundle.Objects("pods", pods) },
		func() (bundle.File, error) {
			return bundle.Objects("daemonsets", &appsv1.DaemonSetList{Items: []appsv1.DaemonSet{{ObjectMeta: *m.DeepCopy(), Spec: appsv1.DaemonSetSpec{Template: template}}}})
		},
		func() (bundle.File, error) {
			return bundle.Objects("deployments", &appsv1.DeploymentList{Items: []appsv1.Deployment{{ObjectMeta: *m.DeepCopy(), Spec: appsv1.DeploymentSpec{Template: template}}}})
		},
	} {
		file, err := f()
		if err != nil {
			t.Fatal(err)
		}
		text := string(file.Text)
		if strings.Contains(text, secret) || strings.Contains(text, "managedFields") {
			t.Errorf("%s says too much:\n%s", file.Name, text)
		}
		for _, kept := range []string{"causeway:1", "TOKEN", "causeway.dev/ippools: pool"} {
			if !strings.Contains(text, kept) {
				t.Errorf("%s does not say %s:\n%s", file.Name, kept, text)
			}
		}
	}
	if pods.Items[0].Spec.Containers[0].Env[0].Value != secret {
		t.Error("the caller's objects were changed")
	}
}

func TestWrite(t *testing.T) {
	var b bytes.Buffer
	at := time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)
	if err := bundle.Write(&b, "folder", at, []bundle.File{{Name: "b", Text: []byte("two")}, {Name: "a", Text: []byte("one")}}); err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	archive, got := tar.NewReader(zip), ""
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		got += h.Name + "=" + string(text) + " "
	}
	if got != "folder/a=one folder/b=two " {
		t.Errorf("the archive holds %s", got)
	}
}
