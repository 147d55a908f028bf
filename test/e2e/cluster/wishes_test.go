package cluster_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// TestWishes is one lab for what pools and pods can wish: who sees their addresses, which pools serve them, and how many addresses a
// namespace may have.
func TestWishes(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 2, Kernel: lab.KernelHost})
	t.Run("natOutgoingExcept", func(t *testing.T) { natOutgoingExcept(t, l) })
	t.Run("pools by wish", func(t *testing.T) { poolsByWish(t, l) })
	t.Run("fixed addresses", func(t *testing.T) { fixedAddresses(t, l) })
	t.Run("fixed hardware addresses", func(t *testing.T) { fixedHardwareAddresses(t, l) })
	t.Run("as many addresses as a namespace may have", func(t *testing.T) { namespaceLimits(t, l) })
	t.Run("as many blocks as a node may have", func(t *testing.T) { blockLimit(t, l) })
}

// awaitPools waits until both nodes have rendered the pools.
func awaitPools(t *testing.T, l *lab.Lab, names ...string) {
	t.Helper()
	l.Eventually(t, lab.Settle, "pools are ready", func() error {
		for _, name := range names {
			var p v1alpha1.IPPool
			if err := l.Object(t.Context(), name, &p); err != nil || p.Status.NodesReady != 2 || p.Status.ObservedGeneration != p.Generation {
				return fmt.Errorf("pool %s: %w: %+v", name, err, p.Status)
			}
		}
		return nil
	})
}

// change changes a pool's spec, and waits until the nodes have rendered it.
func change(t *testing.T, l *lab.Lab, name string, how func(*v1alpha1.IPPoolSpec)) {
	t.Helper()
	var p v1alpha1.IPPool
	if err := l.Client.Get(t.Context(), client.ObjectKey{Name: name}, &p); err != nil {
		t.Fatal(err)
	}
	before := p.DeepCopy()
	how(&p.Spec)
	if err := l.Client.Patch(t.Context(), &p, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	awaitPools(t, l, name)
}

// natOutgoingExcept changes the exceptions of a pool while connections to the outside run.
func natOutgoingExcept(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	l.Create(t, pool("seen", "10.71.0.0/16", func(s *v1alpha1.IPPoolSpec) { s.NATOutgoing = true }))
	awaitPools(t, l, "seen")
	p := l.MustStartPod(t, 0, "default/seen")
	l.Eventually(t, lab.Settle, "the pod reaches the outside", func() error { return lab.Ping(ctx, p, l.Outside.V4) })
	server, err := l.ServeStreams(ctx, l.Outside)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Signal(syscall.SIGTERM) // It ends with the test's context too.
		_ = server.Wait()                  // It was told to.
	})
	// From now on the outside and the router between know the way to the pod, so both kinds of connections work.
	route := []string{"ip", "route", "add", "10.71.0.0/16", "via"}
	if out, err := l.Outside.Run(ctx, append(route, "172.30.9.1")...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := l.Command(ctx, append(route, l.Nodes[0].V4.String())...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	connect := func(source string) *lab.Stream {
		t.Helper()
		before := peers(t, l)
		s, err := l.StartStream(ctx, p, l.Outside.V4)
		if err != nil {
			t.Fatal(err)
		}
		if after := peers(t, l); after[source] != before[source]+1 {
			t.Errorf("the outside does not see the connection come from %s: %v, before %v", source, after, before)
		}
		return s
	}
	node, own := l.Nodes[0].V4.String(), p.V4().String()
	masqueraded := connect(node)
	change(t, l, "seen", func(s *v1alpha1.IPPoolSpec) { s.NATOutgoingExcept = []string{"172.30.9.0/24"} })
	plain := connect(own)
	change(t, l, "seen", func(s *v1alpha1.IPPoolSpec) { s.NATOutgoingExcept = []string{"203.0.113.0/24"} })
	again := connect(node)
	if seen := peers(t, l); seen[node] != 2 || seen[own] != 1 {
		t.Errorf("connections have changed their addresses: %v", seen)
	}
	for what, s := range map[string]*lab.Stream{"the first, masqueraded": masqueraded, "with the pod's address": plain, "masqueraded again": again} {
		if r, err := s.Stop(); err != nil || r.Broken != "" || r.Messages == 0 {
			t.Errorf("the connection %s: %v, %+v", what, err, r)
		}
	}
	if err := l.StopPod(ctx, p); err != nil {
		t.Error(err)
	}
	if err := l.Client.Delete(ctx, pool("seen", "10.71.0.0/16", nil)); err != nil {
		t.Error(err)
	}
}

// poolsByWish annotates namespaces, and starts pods in them.
func poolsByWish(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	l.Create(t, pool("default-four", "10.72.0.0/16", nil))
	l.Create(t, pool("tiny-four", "10.73.0.0/28", func(s *v1alpha1.IPPoolSpec) {
		bits := int32(30)
		s.BlockSize, s.AssignmentMode = &bits, v1alpha1.AssignmentManual
	}))
	l.Create(t, pool("other-four", "10.74.0.0/16", func(s *v1alpha1.IPPoolSpec) { s.AssignmentMode = v1alpha1.AssignmentManual }))
	awaitPools(t, l, "default-four", "tiny-four", "other-four")
	wishing := func(name string, annotations map[string]string) {
		t.Helper()
		l.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}})
	}
	pools := func(p *lab.Pod) string { return strings.Join(mustRecord(t, l, p).Spec.Pools, ",") }

	t.Run("a pod of both families waits", func(t *testing.T) {
		wishing("both", map[string]string{v1alpha1.AnnotationRequireDualStack: "true"})
		p, err := l.StartPod(ctx, l.Nodes[0], "both/a", lab.PodOptions{NoObject: true})
		wantError(t, err, "Pod both/a waits", "no IPPool for IPv6 may serve it")
		if err := del(ctx, p); err != nil {
			t.Error(err)
		}
		l.Create(t, pool("default-six", "fd00:72::/48", nil))
		l.Create(t, pool("other-six", "fd00:74::/48", func(s *v1alpha1.IPPoolSpec) { s.AssignmentMode = v1alpha1.AssignmentManual }))
		awaitPools(t, l, "default-six", "other-six")
		if p = l.MustStartPod(t, 0, "both/b"); len(p.Addresses) != 2 {
			t.Errorf("the pod has %v", p.Addresses)
		}
	})
	t.Run("one family by wish", func(t *testing.T) {
		wishing("six", map[string]string{v1alpha1.AnnotationV6Pools: "other-six"})
		a, b := l.MustStartPod(t, 0, "six/a"), l.MustStartPod(t, 1, "six/b")
		if got := pools(a); got != "default-four,other-six" {
			t.Errorf("pools %s", got)
		}
		l.AwaitMatrix(t, []*lab.Pod{a, b})
	})
	t.Run("in an order of preference", func(t *testing.T) {
		wishing("order", map[string]string{v1alpha1.AnnotationV4Pools: "tiny-four, other-four", v1alpha1.AnnotationV6Pools: "other-six"})
		count := map[string]int{}
		var up []*lab.Pod
		for i := range 14 { // of which twelve find room in the first pool
			p := l.MustStartPod(t, 0, fmt.Sprintf("order/%d", i))
			count[pools(p)]++
			up = append(up, p)
		}
		if count["tiny-four,other-six"] != 12 || count["other-four,other-six"] != 2 {
			t.Errorf("%v", count)
		}
		l.AwaitMatrix(t, []*lab.Pod{up[0], up[13], l.MustStartPod(t, 1, "default/wish-peer")})
	})
	t.Run("what can't be", func(t *testing.T) {
		wishing("wrong", map[string]string{v1alpha1.AnnotationV4Pools: "default-six"})
		wishing("unclear", map[string]string{v1alpha1.AnnotationRequireDualStack: "maybe"})
		for namespace, sentence := range map[string]string{
			"wrong":   "namespace wrong asks for IPPool default-six as an IPv4 pool, but it is an IPv6 pool",
			"unclear": `namespace unclear asks for causeway.dev/require-dual-stack="maybe"; write true or false`,
		} {
			p, err := l.StartPod(ctx, l.Nodes[0], namespace+"/a", lab.PodOptions{NoObject: true})
			wantError(t, err, sentence)
			if err := del(ctx, p); err != nil {
				t.Error(err)
			}
		}
	})
	checkConsistent(t, l)
}

// namespaceLimits lets two nodes give a namespace all that it may have, and more when that is more.
func namespaceLimits(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	l.Create(t, pool("shared", "10.76.0.0/24", func(s *v1alpha1.IPPoolSpec) {
		s.AssignmentMode = v1alpha1.AssignmentManual
		s.NamespaceLimits = []v1alpha1.NamespaceLimit{{Namespace: "team", Addresses: 4}, {Namespace: v1alpha1.OtherNamespaces, Addresses: 1}}
	}))
	awaitPools(t, l, "shared")
	for _, name := range []string{"team", "guest"} {
		l.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{v1alpha1.AnnotationV4Pools: "shared"}}})
	}
	atLimit := func(want string, condition metav1.ConditionStatus, sentence string) {
		t.Helper()
		l.Eventually(t, lab.Settle, "the pool says which namespaces are at their limit: "+want, func() error {
			var o v1alpha1.IPPool
			err := l.Object(ctx, "shared", &o)
			c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionNamespacesAtLimit)
			if err != nil || strings.Join(o.Status.NamespacesAtLimit, ",") != want || c == nil || c.Status != condition || !strings.Contains(c.Message, sentence) {
				return fmt.Errorf("%w: %v, %+v", err, o.Status.NamespacesAtLimit, c)
			}
			return nil
		})
	}
	var team []*lab.Pod
	for i := range 4 {
		team = append(team, l.MustStartPod(t, i%2, fmt.Sprintf("team/%d", i)))
	}
	atLimit("team", metav1.ConditionTrue, "namespace team (4 of 4)")
	refused := func(node int, key, sentence string) {
		t.Helper()
		p, err := l.StartPod(ctx, l.Nodes[node], key, lab.PodOptions{NoObject: true})
		wantError(t, err, sentence, "namespaceLimits of the IPPool")
		if err := del(ctx, p); err != nil {
			t.Error(err)
		}
	}
	refused(0, "team/4", "Pod team/4 can't have an address: namespace team may have 4 addresses of IPPool shared and has them")
	refused(1, "team/5", "namespace team may have 4 addresses")

	l.MustStartPod(t, 0, "guest/a")
	refused(0, "guest/b", "namespace guest may have 1 addresses") // this node need not hear of it
	atLimit("guest,team", metav1.ConditionTrue, "namespaces guest (1 of 1), team (4 of 4)")
	refused(1, "guest/c", "namespace guest may have 1 addresses")

	// A pod that goes makes room for one on another node, which waits for that.
	if err := l.StopPod(ctx, team[0]); err != nil {
		t.Error(err)
	}
	l.MustStartPod(t, 1, "team/6")
	change(t, l, "shared", func(s *v1alpha1.IPPoolSpec) { s.NamespaceLimits[0].Addresses = 5 })
	l.MustStartPod(t, 0, "team/7")
	atLimit("guest,team", metav1.ConditionTrue, "team (5 of 5)")
	change(t, l, "shared", func(s *v1alpha1.IPPoolSpec) { s.NamespaceLimits = nil })
	atLimit("", metav1.ConditionFalse, "No namespace")
	l.MustStartPod(t, 1, "guest/d")
}

// blockLimit fills the one block that a node may have.
func blockLimit(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	bits := int32(30)
	l.Create(t, pool("narrow", "10.75.0.0/24", func(s *v1alpha1.IPPoolSpec) {
		s.BlockSize, s.MaxBlocksPerNode, s.AssignmentMode = &bits, 1, v1alpha1.AssignmentManual
	}))
	awaitPools(t, l, "narrow")
	l.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "narrow", Annotations: map[string]string{v1alpha1.AnnotationV4Pools: "narrow"}}})
	for i := range 3 {
		l.MustStartPod(t, 0, fmt.Sprintf("narrow/%d", i))
	}
	p, err := l.StartPod(ctx, l.Nodes[0], "narrow/3", lab.PodOptions{NoObject: true})
	wantError(t, err, "There is no free address for pod narrow/3: node node1 has as many blocks of IPPool narrow as maxBlocksPerNode lets one node have (1)", "Raise maxBlocksPerNode")
	if err := del(ctx, p); err != nil {
		t.Error(err)
	}
	l.Eventually(t, lab.Settle, "the pool says which node may have no more", func() error {
		var o v1alpha1.IPPool
		err := l.Object(ctx, "narrow", &o)
		c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionNodesAtLimit)
		if err != nil || c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "node node1") {
			return fmt.Errorf("%w: %+v", err, c)
		}
		return nil
	})
	l.MustStartPod(t, 1, "narrow/other") // the other node has a block of its own
	change(t, l, "narrow", func(s *v1alpha1.IPPoolSpec) { s.MaxBlocksPerNode = 2 })
	l.MustStartPod(t, 0, "narrow/4")
}

// peers counts the connections to the outside's server by the address that they come from.
func peers(t *testing.T, l *lab.Lab) map[string]int {
	t.Helper()
	out, err := l.Outside.Run(t.Context(), "ss", "-Htn", "state", "established", fmt.Sprintf("( sport = :%d )", lab.StreamPort))
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	count := map[string]int{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		peer := fields[len(fields)-1]
		address := strings.Trim(strings.TrimPrefix(peer[:strings.LastIndex(peer, ":")], "[::ffff:"), "[]")
		count[address]++
	}
	return count
}
