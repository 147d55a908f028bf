package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// TestStickyAddresses moves a StatefulSet's pod from node to node, in two subnets: it comes back with its addresses of both families, nobody else
// gets them meanwhile, whoever is killed, and they are free when the StatefulSet is gone.
func TestStickyAddresses(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 3, Subnets: 2})
	ctx := t.Context()
	sticky := func(bits int32) func(*v1alpha1.IPPoolSpec) {
		return func(s *v1alpha1.IPPoolSpec) {
			s.BlockSize, s.Sticky, s.FixedAddresses = &bits, v1alpha1.StickyStatefulSet, v1alpha1.FixedAddressesAllowed
		}
	}
	l.Create(t, pool("four", "10.79.0.0/24", sticky(29)))
	l.Create(t, pool("six", "fd00:79::/120", sticky(125)))
	db := statefulSet(ctx, t, l, "db")
	start := func(node int, name string, owner *appsv1.StatefulSet) (p *lab.Pod) {
		t.Helper()
		o := lab.PodOptions{Owner: metav1.NewControllerRef(owner, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}
		// A controller that was killed has its successor wait for some seconds; the kubelet tries again as well.
		l.Eventually(t, lab.Settle, name+" starts", func() (err error) {
			began := time.Now()
			if p, err = l.StartPod(ctx, l.Nodes[node], "default/"+name, o); err != nil {
				return errors.Join(err, l.StopPod(ctx, p))
			}
			t.Logf("%s starts on %s with %v within %s", name, l.Nodes[node].Name, p.Addresses, time.Since(began).Round(time.Millisecond))
			return nil
		})
		return p
	}
	stop := func(p *lab.Pod) {
		t.Helper()
		if err := l.StopPod(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	peer := l.MustStartPod(t, 1, "default/peer")
	first := start(0, "db-0", db)
	if len(first.Addresses) != 2 {
		t.Fatalf("db-0 has %v", first.Addresses)
	}
	l.AwaitMatrix(t, []*lab.Pod{first, peer})
	wantRemembered(t, l, "db-0", first.Addresses)
	stop(first)

	// The block has seven addresses for pods. Whoever comes now gets another one, also after everybody was killed.
	if err := l.Nodes[0].StopAgent(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := l.StopController("controller", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := l.StartController("controller"); err != nil {
		t.Fatal(err)
	}
	if err := l.Nodes[0].StartAgent(); err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		p := l.MustStartPod(t, 0, fmt.Sprintf("default/other-%d", i))
		if slices.ContainsFunc(p.Addresses, func(a netip.Addr) bool { return slices.Contains(first.Addresses, a) }) {
			t.Errorf("%s has %v, which are remembered for db-0", p.Name, p.Addresses)
		}
	}
	ask := lab.PodOptions{Annotations: map[string]string{v1alpha1.AnnotationIPs: first.V4().String()}}
	for _, node := range []int{0, 2} {
		thief, err := l.StartPod(ctx, l.Nodes[node], "default/thief", ask)
		wantError(t, err, fmt.Sprintf("address %s of IPPool four is remembered for pod default/db-0", first.V4()))
		stop(thief)
	}
	var again *lab.Pod
	for _, node := range []int{2, 1, 0, 2} {
		again = start(node, "db-0", db)
		if !slices.Equal(again.Addresses, first.Addresses) {
			t.Fatalf("on %s db-0 has %v, before it had %v", l.Nodes[node].Name, again.Addresses, first.Addresses)
		}
		l.AwaitMatrix(t, []*lab.Pod{again, peer})
		stop(again)
	}
	wantRemembered(t, l, "db-0", first.Addresses)

	// A StatefulSet of the same name is another one.
	cache := statefulSet(ctx, t, l, "cache")
	old := start(0, "cache-0", cache)
	wantRemembered(t, l, "cache-0", old.Addresses)
	stop(old)
	for _, gone := range []*appsv1.StatefulSet{db, cache} {
		if err := l.Client.Delete(ctx, gone); err != nil {
			t.Fatal(err)
		}
	}
	cache = statefulSet(ctx, t, l, "cache")
	l.Eventually(t, time.Minute, "nothing is remembered", func() error {
		var list v1alpha1.StickyAddressList
		if err := l.Client.List(ctx, &list); err != nil || len(list.Items) > 0 {
			return fmt.Errorf("%w: %d StickyAddresses are there", err, len(list.Items))
		}
		return nil
	})
	wantRemembered(t, l, "cache-0", start(1, "cache-0", cache).Addresses)
	l.Eventually(t, lab.Settle, "another pod gets the address", func() error {
		p, err := l.StartPod(ctx, l.Nodes[1], "default/heir", ask)
		if err != nil {
			return errors.Join(err, l.StopPod(ctx, p))
		}
		l.AwaitMatrix(t, []*lab.Pod{p, peer})
		return nil
	})
	checkConsistent(t, l)
	badStickyAddresses(t, l)
}

func statefulSet(ctx context.Context, t *testing.T, l *lab.Lab, name string) *appsv1.StatefulSet {
	t.Helper()
	labels := map[string]string{"app": name}
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: appsv1.StatefulSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
	}}
	if err := l.Client.Create(ctx, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func wantRemembered(t *testing.T, l *lab.Lab, pod string, addresses []netip.Addr) {
	t.Helper()
	l.Eventually(t, lab.Settle, "the addresses of "+pod+" are remembered", func() error {
		var o v1alpha1.StickyAddress
		if err := l.Client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: pod}, &o); err != nil {
			return err
		}
		for _, a := range addresses {
			if !slices.Contains(o.Spec.Addresses, a.String()) || len(o.Spec.Addresses) != len(addresses) {
				return fmt.Errorf("it has %v, not %v", o.Spec.Addresses, addresses)
			}
		}
		return nil
	})
}

// badStickyAddresses are what the API server refuses.
func badStickyAddresses(t *testing.T, l *lab.Lab) {
	for want, change := range map[string]func(*v1alpha1.StickyAddressSpec){
		"not an IP address, written the shortest way": func(s *v1alpha1.StickyAddressSpec) { s.Addresses = []string{"10.79.0.05"} },
		"there must be one pool for each address":     func(s *v1alpha1.StickyAddressSpec) { s.Pools = []string{} },
		"there is at most one address of each family": func(s *v1alpha1.StickyAddressSpec) {
			s.Addresses, s.Pools = []string{"10.79.0.5", "10.79.0.6"}, []string{"four", "four"}
		},
		"spec.statefulSet in body should be at least 1":    func(s *v1alpha1.StickyAddressSpec) { s.StatefulSet = "" },
		"spec.statefulSetUID in body should be at least 1": func(s *v1alpha1.StickyAddressSpec) { s.StatefulSetUID = "" },
	} {
		o := &v1alpha1.StickyAddress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bad-0"},
			Spec: v1alpha1.StickyAddressSpec{StatefulSet: "bad", StatefulSetUID: "u", Addresses: []string{"10.79.0.5"}, Pools: []string{"four"}}}
		change(&o.Spec)
		wantError(t, l.Client.Create(t.Context(), o), want)
	}
	wantError(t, l.Client.Create(t.Context(), pool("bad", "10.80.0.0/24", func(s *v1alpha1.IPPoolSpec) { s.Sticky = "Sometimes" })), `supported values: "None", "StatefulSet"`)
}
