package check

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

func TestWhatKilledChecksHaveLeftGoes(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	namespace := func(name, value, duration string, age time.Duration) client.Object {
		n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(now.Add(-age)), Labels: map[string]string{label: value}}}
		if duration != "" {
			n.Annotations = map[string]string{lasts: duration}
		}
		return n
	}
	c := fake.NewClientBuilder().WithObjects(
		namespace("killed", passing, "14m0s", time.Hour),
		namespace("runs", passing, "14m0s", 10*time.Minute),
		namespace("large", passing, "2h0m0s", time.Hour),
		namespace("kept", kept, "14m0s", time.Hour),
		namespace("somebody-elses", passing, "", time.Hour),
	).Build()
	if gone, err := sweep(t.Context(), c, now); err != nil || !slices.Equal(gone, []string{"killed"}) {
		t.Errorf("it says that %v are gone: %v", gone, err)
	}
	var left corev1.NamespaceList
	if err := c.List(t.Context(), &left); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range left.Items {
		names = append(names, n.Name)
	}
	if want := []string{"kept", "large", "runs", "somebody-elses"}; !slices.Equal(names, want) {
		t.Errorf("left are %v, want %v", names, want)
	}
}

// A check makes its namespace so that the next one finds it.
func TestACheckSaysHowLongItMayTake(t *testing.T) {
	r := &run{Options: Options{Patience: 2 * time.Minute}}
	n := r.home(100)
	if most, err := time.ParseDuration(n.Annotations[lasts]); err != nil || most != longest(r.Patience, 100) || n.Labels[label] != passing {
		t.Errorf("%v: labels %v, annotations %v", err, n.Labels, n.Annotations)
	}
	if p := r.pod("probe-1", "node1", longest(r.Patience, 100)); *p.Spec.ActiveDeadlineSeconds != int64(longest(r.Patience, 100).Seconds()) {
		t.Errorf("the pod ends after %d seconds", *p.Spec.ActiveDeadlineSeconds)
	}
	r.Keep = true
	if n := r.home(100); n.Labels[label] != kept {
		t.Errorf("pods that are to be kept would go: labels %v", n.Labels)
	}
	if p := r.pod("probe-1", "node1", longest(r.Patience, 100)); p.Spec.ActiveDeadlineSeconds != nil {
		t.Error("a pod that is to be kept would end")
	}
}
