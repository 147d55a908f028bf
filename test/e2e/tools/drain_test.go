package tools_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// drained moves a workload of three replicas, of which a PodDisruptionBudget wants two, from one range of addresses to another while they
// are pinged. The test is the workload's controller, the kubelet and the disruption controller; evictions are the API server's own.
func drained(t *testing.T, l *lab.Lab, others []*lab.Pod) {
	ctx := t.Context()
	from, to := pool("from", "10.214.0.0/24"), pool("to", "10.215.0.0/24")
	from.Spec.AssignmentMode, to.Spec.AssignmentMode = v1alpha1.AssignmentManual, v1alpha1.AssignmentManual
	l.Create(t, from)
	l.Create(t, to)
	l.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "moving", Annotations: map[string]string{v1alpha1.AnnotationPools: "from,to"}}})
	w := &workload{lab: l, client: others[0]}
	w.budget(t)
	for range 3 {
		w.start(t)
	}
	alone := l.MustStartPod(t, 1, "moving/alone")
	steady := l.StartTraffic(t, others)

	await(t, l, 1, []string{"ipam", "drain", "from", "--dry-run"}, "Would disable pool from and evict, one in 1s: moving/web-0, moving/web-1, moving/web-2.", "Not evicted: moving/alone. No controller makes them again.")
	must(t, says(ctx, l, 2, []string{"ipam", "drain", "from", "--pace=fast"}, "is no pace"))
	must(t, says(ctx, l, 2, []string{"ipam", "drain", "nowhere"}, "there is no IPPool nowhere"))
	w.allow(t, 0)
	must(t, says(ctx, l, 2, []string{"ipam", "drain", "from", "--timeout=4s"}, "Pool from is disabled", "3 that can't be evicted yet (moving/web-0:", "disruption budget", "the same command goes on"))
	w.allow(t, 1)

	ended := make(chan error, 1)
	go func() {
		ended <- says(ctx, l, 1, []string{"ipam", "drain", "from", "--pace=600/min", "--wait", "--timeout=2m"}, "Not evicted: moving/alone")
	}()
	w.serve(t, ended)
	for _, p := range w.replicas {
		if !netip.MustParsePrefix(to.Spec.CIDR).Contains(p.V4()) {
			t.Errorf("%s has still %s", p.Key(), p.V4())
		}
	}
	steady.Judge(t, "a pool is drained")
	w.end(t)

	go func() {
		ended <- says(ctx, l, 0, []string{"ipam", "drain", "from", "--unmanaged", "--wait", "--timeout=2m"}, "The pool is empty: kubectl delete ippool from")
	}()
	l.Eventually(t, lab.Settle, "the pod without a controller is evicted", func() error {
		var object corev1.Pod
		if err := l.Object(ctx, alone.Key(), &object); err != nil || object.DeletionTimestamp == nil {
			return fmt.Errorf("it is not: %w", err)
		}
		return nil
	})
	must(t, l.StopPod(ctx, alone))
	must(t, <-ended)
	l.Eventually(t, lab.Settle, "the pool itself says that it can be deleted", func() error {
		if err := l.Object(ctx, "from", from); err != nil || !meta.IsStatusConditionTrue(from.Status.Conditions, v1alpha1.ConditionDrained) {
			return fmt.Errorf("%w: %+v", err, from.Status.Conditions)
		}
		return nil
	})
	must(t, l.Client.Delete(ctx, from))
	l.Eventually(t, lab.Settle, "the drained pool goes", func() error {
		if err := l.Object(ctx, "from", &v1alpha1.IPPool{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is still there: %w", err)
		}
		return nil
	})
	for _, p := range w.replicas {
		must(t, l.StopPod(ctx, p))
	}
	must(t, l.Client.Delete(ctx, to))
	await(t, l, 0, []string{"status", "--wait"}, "All is well.")
}

// workload is what a Deployment, its kubelets and the disruption controller do.
type workload struct {
	lab      *lab.Lab
	client   *lab.Pod // it pings every replica
	made     int
	replicas []*lab.Pod
	stops    []func(string)
}

// budget makes the PodDisruptionBudget: two of three replicas must run.
func (w *workload) budget(t *testing.T) {
	least := intstr.FromInt32(2)
	w.lab.Create(t, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "moving", Name: "web"},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &least, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}})
}

// allow writes the budget's status as the disruption controller does.
func (w *workload) allow(t *testing.T, disruptions int32) {
	t.Helper()
	w.lab.Eventually(t, lab.Settle, "the budget's status is written", func() error {
		var b policyv1.PodDisruptionBudget
		if err := w.lab.Object(t.Context(), "moving/web", &b); err != nil {
			return err
		}
		b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: b.Generation, DisruptionsAllowed: disruptions, CurrentHealthy: 2 + disruptions, DesiredHealthy: 2, ExpectedPods: 3}
		return w.lab.Client.Status().Update(t.Context(), &b)
	})
}

// start makes a replica, on the nodes in turn, and pings it from then on.
func (w *workload) start(t *testing.T) {
	t.Helper()
	yes := true
	p, err := w.lab.StartPod(t.Context(), w.lab.Nodes[w.made%len(w.lab.Nodes)], fmt.Sprintf("moving/web-%d", w.made), lab.PodOptions{
		Labels: map[string]string{"app": "web"}, Owner: &metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "web", Controller: &yes}})
	if err != nil {
		t.Fatal(err)
	}
	w.made++
	w.replicas, w.stops = append(w.replicas, p), append(w.stops, lab.Pings(t, w.client, p.V4()))
}

// serve replaces each replica that is being deleted, until a drain has ended.
func (w *workload) serve(t *testing.T, ended <-chan error) {
	t.Helper()
	for {
		select {
		case err := <-ended:
			must(t, err)
			return
		case <-time.After(50 * time.Millisecond):
		}
		var list corev1.PodList
		must(t, w.lab.Client.List(t.Context(), &list, client.InNamespace("moving"), client.MatchingLabels{"app": "web"}))
		var leaving []string
		for i := range list.Items {
			if list.Items[i].DeletionTimestamp != nil {
				leaving = append(leaving, list.Items[i].Name)
			}
		}
		if len(leaving) > 1 {
			t.Errorf("%s are evicted at once, and the budget lets one go", strings.Join(leaving, " and "))
		}
		for _, name := range leaving {
			w.replace(t, name)
		}
	}
}

func (w *workload) replace(t *testing.T, name string) {
	t.Helper()
	for i, p := range w.replicas {
		if p.Name == name {
			w.stops[i]("its pod waits to be evicted")
			must(t, w.lab.StopPod(t.Context(), p))
			w.replicas, w.stops = append(w.replicas[:i:i], w.replicas[i+1:]...), append(w.stops[:i:i], w.stops[i+1:]...)
			break
		}
	}
	w.start(t)
	w.allow(t, 1)
}

// end stops the pings.
func (w *workload) end(t *testing.T) {
	t.Helper()
	for _, stop := range w.stops {
		stop("the pool of its address stays")
	}
}
