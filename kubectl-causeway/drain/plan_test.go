package drain_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/drain"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

func pod(name, ownerKind string, change ...func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}}
	if ownerKind != "" {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{Kind: ownerKind, Name: "owner", Controller: &yes}}
	}
	for _, c := range change {
		c(&p)
	}
	return p
}

func record(pod string, pools ...string) v1alpha1.WorkloadEndpoint {
	w := v1alpha1.WorkloadEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: pod + "-0123456789a"}}
	w.Spec.Pod, w.Spec.PodUID, w.Spec.Node, w.Spec.Pools = pod, "uid-"+pod, "n1", pools
	return w
}

func TestPlan(t *testing.T) {
	deleted := metav1.NewTime(time.Unix(0, 0))
	c := &objects.Cluster{}
	c.Pods.Items = []corev1.Pod{
		pod("web", "ReplicaSet"), pod("alone", ""), pod("agent", "DaemonSet"),
		pod("static", "Node", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }),
		pod("going", "ReplicaSet", func(p *corev1.Pod) { p.DeletionTimestamp = &deleted }),
		pod("over", "Job", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
		pod("again", "StatefulSet", func(p *corev1.Pod) { p.UID = "another" }),
		pod("elsewhere", "ReplicaSet"),
	}
	for _, name := range []string{"web", "alone", "agent", "static", "going", "over", "again", "gone"} {
		c.Endpoints.Items = append(c.Endpoints.Items, record(name, "six", "old"))
	}
	c.Endpoints.Items = append(c.Endpoints.Items, record("elsewhere", "new"), record("web", "old"))
	for _, tc := range []struct {
		wishes drain.Wishes
		want   string
	}{
		{drain.Wishes{}, "again leaving, agent daemon, alone unmanaged, going leaving, gone leaving, over leaving, static static, web evict"},
		{drain.Wishes{Unmanaged: true, DaemonSets: true}, "again leaving, agent evict, alone evict, going leaving, gone leaving, over leaving, static static, web evict"},
	} {
		var got []string
		for _, p := range drain.Plan(c, "old", tc.wishes) {
			got = append(got, fmt.Sprintf("%s %s", p.Name, p.Verdict))
		}
		if text := strings.Join(got, ", "); text != tc.want {
			t.Errorf("%+v:\n%s\nwant\n%s", tc.wishes, text, tc.want)
		}
	}
}

func TestReplacement(t *testing.T) {
	pool := func(name, cidr string, disabled bool) v1alpha1.IPPool {
		return v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.IPPoolSpec{CIDR: cidr, Disabled: disabled}}
	}
	four, six, off := pool("four", "10.0.0.0/16", false), pool("six", "fd00::/48", false), pool("off", "10.1.0.0/16", true)
	if err := drain.Replacement([]v1alpha1.IPPool{four, six, off}, &four); err == nil || !strings.Contains(err.Error(), "IPv4") {
		t.Errorf("nobody else serves, and yet: %v", err)
	}
	if err := drain.Replacement([]v1alpha1.IPPool{four, six, off}, &off); err != nil {
		t.Error(err)
	}
}

func TestParsePace(t *testing.T) {
	for text, want := range map[string]time.Duration{"30/min": 2 * time.Second, "4/s": 250 * time.Millisecond, "60/h": time.Minute} {
		if got, err := drain.ParsePace(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "30", "0/min", "-1/s", "30/day"} {
		if _, err := drain.ParsePace(text); err == nil || !strings.Contains(err.Error(), "like 30/min") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
