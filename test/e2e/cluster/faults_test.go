package cluster_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// traffic runs pings between two pods while something happens; none may be lost.
func traffic(t *testing.T, from, to *lab.Pod) (stop func(what string)) {
	t.Helper()
	return lab.Pings(t, from, to.V4())
}

func TestThingsDeletedByHandComeBack(t *testing.T) {
	l, pods := startWithPods(t, lab.Options{})
	ctx := t.Context()
	untouched := []*lab.Pod{l.MustStartPod(t, 1, "default/a"), l.MustStartPod(t, 2, "default/b")}
	l.AwaitMatrix(t, append(pods, untouched...))
	n := l.Nodes[0]
	own := mustRecord(t, l, pods[0])

	run := func(argv ...string) {
		t.Helper()
		if out, err := n.Run(ctx, argv...); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"route to a pod", func() { run("ip", "route", "del", pods[0].V4().String()) }},
		{"route to a block", func() {
			out, err := n.Run(ctx, "sh", "-c", "ip route | grep 'via .* proto 202' | head -1 | cut -d' ' -f1 | xargs ip route del")
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}},
		{"all routes of ours", func() { run("ip", "route", "flush", "proto", "202") }},
		{"changed route", func() {
			run("sh", "-c", "ip route replace blackhole $(ip route | grep 'via .* proto 202' | head -1 | cut -d' ' -f1) proto 202")
		}},
		{"tunnel", func() { run("ip", "link", "del", "vxlan.cw") }},
		{"tunnel's address", func() { run("ip", "addr", "flush", "dev", "vxlan.cw") }},
		{"tunnel down", func() { run("ip", "link", "set", "vxlan.cw", "down") }},
		{"neighbours", func() { run("sh", "-c", "ip neigh flush nud permanent dev vxlan.cw") }},
		{"FDB", func() {
			run("sh", "-c", "bridge fdb show dev vxlan.cw | cut -d' ' -f1 | xargs -n1 -I{} bridge fdb del {} dev vxlan.cw")
		}},
		{"nftables table", func() { run("nft", "delete", "table", "inet", "causeway") }},
		{"pod's link", func() { run("ip", "link", "del", own.Spec.Interface) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := traffic(t, untouched[0], untouched[1])
			c.do()
			l.Eventually(t, lab.Settle, "the node mends it", func() error {
				if out, err := n.Run(ctx, "nft", "list", "table", "inet", "causeway"); err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return lab.PingMatrix(ctx, pods)
			})
			stop(c.name)
		})
	}

	t.Run("default route", func(t *testing.T) {
		stop := traffic(t, untouched[0], untouched[1])
		near := l.MustStartPod(t, 0, "default/near")
		run("ip", "route", "del", "default")
		if out, err := near.Run(ctx, "ip", "neigh", "flush", "dev", "eth0"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		// Without a way to 169.254.1.1 the kernel answers no ARP for it.
		l.Eventually(t, lab.Settle, "pods of the node reach each other", func() error { return lab.Ping(ctx, near, pods[0].V4()) })
		run("sh", "-c", "ip route add default via "+n.V4.String()[:strings.LastIndex(n.V4.String(), ".")]+".1")
		l.AwaitMatrix(t, pods)
		stop("default route")
	})
	t.Run("WorkloadEndpoint", func(t *testing.T) {
		stop := traffic(t, pods[0], pods[2])
		if err := l.Client.Delete(ctx, own); err != nil {
			t.Fatal(err)
		}
		l.Eventually(t, lab.Settle, "the record is written again", func() error {
			again, err := record(ctx, l, pods[0])
			if err == nil && (again.UID == own.UID || again.Spec.Addresses[0] != own.Spec.Addresses[0]) {
				return fmt.Errorf("it is %+v", again)
			}
			return err
		})
		stop("record deleted")
	})
	t.Run("IPBlock", func(t *testing.T) {
		stop := traffic(t, pods[0], pods[2])
		var blocks v1alpha1.IPBlockList
		if err := l.Client.List(ctx, &blocks); err != nil {
			t.Fatal(err)
		}
		for i := range blocks.Items {
			if err := l.Client.Delete(ctx, &blocks.Items[i]); err != nil {
				t.Fatal(err)
			}
		}
		after := l.PodsOnAll(t, "after")
		l.AwaitMatrix(t, append(after, pods...))
		stop("blocks deleted")
		checkConsistent(t, l)
	})
	t.Run("IPBlock with its finalizer", func(t *testing.T) {
		var blocks v1alpha1.IPBlockList
		if err := l.Client.List(ctx, &blocks); err != nil {
			t.Fatal(err)
		}
		for i := range blocks.Items {
			b := &blocks.Items[i]
			if err := l.Client.Delete(ctx, b); client.IgnoreNotFound(err) != nil {
				t.Fatal(err)
			}
			if err := l.Client.Patch(ctx, b, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))); client.IgnoreNotFound(err) != nil {
				t.Fatal(err)
			}
		}
		checkConsistent(t, l)
		l.AwaitMatrix(t, pods)
	})
}

func TestAgentKilledAtAnyPoint(t *testing.T) {
	l, before := startWithPods(t, lab.Options{})
	ctx := t.Context()
	stop := traffic(t, before[0], before[2])
	n := l.Nodes[0]
	var mu sync.Mutex
	up := map[string]*lab.Pod{}
	for round := range 8 {
		var calls sync.WaitGroup
		for i := range 6 {
			calls.Go(func() {
				p, err := l.StartPod(ctx, n, fmt.Sprintf("default/p-%d-%d", round, i), lab.PodOptions{})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					up[p.Key()] = p
				} else if p != nil { // what a runtime does with a sandbox that failed
					calls.Go(func() {
						l.Eventually(t, lab.Settle, "DEL of a failed ADD succeeds", func() error { return l.StopPod(ctx, p) })
					})
				}
			})
		}
		time.Sleep(time.Duration(round*7) * time.Millisecond) // where the crash comes, not how long we wait
		if err := n.StopAgent(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := n.StartAgent(); err != nil {
			t.Fatal(err)
		}
		calls.Wait()
	}
	stop("agent killed")
	l.Eventually(t, lab.Settle, "the agent is ready", func() error { return n.Ready(ctx) })
	checkConsistent(t, l)
	for _, p := range up {
		mustRecord(t, l, p)
		if err := lab.Ping(ctx, before[2], p.V4()); err != nil {
			t.Error(err)
		}
	}
	// DEL under the same fire.
	var calls sync.WaitGroup
	for _, p := range up {
		calls.Go(func() {
			l.Eventually(t, lab.Settle, "DEL succeeds", func() error { return l.StopPod(ctx, p) })
		})
	}
	for range 3 {
		if err := n.StopAgent(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := n.StartAgent(); err != nil {
			t.Fatal(err)
		}
	}
	calls.Wait()
	for _, p := range before { // a DEL that comes while the agent starts waits for it
		if err := l.StopPod(ctx, p); err != nil {
			t.Error(err)
		}
	}
	l.Eventually(t, lab.Settle, "no address is lost", func() error {
		if err := noRecords(ctx, l); err != nil {
			return err
		}
		out, err := n.Run(ctx, "sh", "-c", "ip -o link show type veth | grep -c cw || true")
		if strings.TrimSpace(out) != "0" {
			return errors.Join(err, fmt.Errorf("links are left: %s", out))
		}
		return err
	})
}

func TestAPIServerAway(t *testing.T) {
	l, pods := startWithPods(t, lab.Options{})
	ctx := t.Context()
	stop := traffic(t, pods[0], pods[2])
	for name, fault := range map[string]struct{ begin, end func() error }{
		"killed": {func() error { l.Kill(); return nil }, func() error { return l.Restart(ctx) }},
		"silent": {l.Pause, l.Resume},
	} {
		if err := fault.begin(); err != nil {
			t.Fatal(err)
		}
		// Pods start and end all the same; their records follow.
		stays, err := l.StartPod(ctx, l.Nodes[0], "default/"+name, lab.PodOptions{NoObject: true})
		if err != nil {
			t.Fatalf("ADD while the API server is %s: %v", name, err)
		}
		goes, err := l.StartPod(ctx, l.Nodes[0], "default/goes-"+name, lab.PodOptions{NoObject: true})
		if err != nil {
			t.Fatalf("ADD while the API server is %s: %v", name, err)
		}
		if err := lab.Ping(ctx, pods[2], stays.V4()); err != nil {
			t.Error(err)
		}
		if err := del(ctx, goes); err != nil {
			t.Errorf("DEL while the API server is %s: %v", name, err)
		}
		if err := fault.end(); err != nil {
			t.Fatal(err)
		}
		l.Eventually(t, lab.Settle, "the records are as the pods are", func() error {
			if _, err := record(ctx, l, goes); err == nil {
				return errors.New("the pod that went has a record")
			}
			_, err := record(ctx, l, stays)
			return err
		})
	}
	stop("API server away")
	checkConsistent(t, l)
}

func TestNodeAddressChanges(t *testing.T) {
	l, pods := startWithPods(t, lab.Options{})
	ctx := t.Context()
	stop := traffic(t, pods[1], pods[2])
	n := l.Nodes[0]
	bytes := n.V4.As4()
	moved, gateway := netip.AddrFrom4([4]byte{bytes[0], bytes[1], bytes[2], 200}), netip.AddrFrom4([4]byte{bytes[0], bytes[1], bytes[2], 1})
	script := fmt.Sprintf("ip addr del %s/24 dev eth0; ip addr add %s/24 dev eth0 && ip route replace default via %s", n.V4, moved, gateway)
	if out, err := n.Run(ctx, "sh", "-c", script); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var node corev1.Node
	if err := l.Object(ctx, n.Name, &node); err != nil {
		t.Fatal(err)
	}
	for i := range node.Status.Addresses {
		if node.Status.Addresses[i].Address == n.V4.String() {
			node.Status.Addresses[i].Address = moved.String()
		}
	}
	if err := l.Client.Status().Update(ctx, &node); err != nil {
		t.Fatal(err)
	}
	l.Eventually(t, lab.Settle, "the blocks carry the new address", func() error {
		var blocks v1alpha1.IPBlockList
		if err := l.Client.List(ctx, &blocks); err != nil {
			return err
		}
		for _, b := range blocks.Items {
			if b.Spec.Node == n.Name && !strings.Contains(strings.Join(b.Spec.NodeAddresses, " "), moved.String()) {
				return fmt.Errorf("block %s has %v", b.Name, b.Spec.NodeAddresses)
			}
		}
		return nil
	})
	l.AwaitMatrix(t, pods)
	stop("another node's address changed")
}

func TestDeletedNodeGivesEverythingBack(t *testing.T) {
	l := lab.Start(t, lab.Options{ControllerArgs: []string{"--agent-lease-duration=5s"}})
	ctx := t.Context()
	l.Create(t, pool("pool", "10.211.0.0/16", nil))
	pods := l.PodsOnAll(t, "pod")
	l.AwaitMatrix(t, pods)
	gone := l.Nodes[2]
	if err := gone.StopAgent(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := l.Client.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: gone.Name}}); err != nil {
		t.Fatal(err)
	}
	l.Eventually(t, 90*time.Second, "the deleted node has nothing left", func() error {
		var n v1alpha1.NodeNetwork
		if err := l.Object(ctx, gone.Name, &n); !apierrors.IsNotFound(err) {
			return fmt.Errorf("its NodeNetwork is there (%w)", err)
		}
		var blocks v1alpha1.IPBlockList
		var records v1alpha1.WorkloadEndpointList
		if err := errors.Join(l.Client.List(ctx, &blocks), l.Client.List(ctx, &records)); err != nil {
			return err
		}
		for _, b := range blocks.Items {
			if b.Spec.Node == gone.Name {
				return fmt.Errorf("block %s", b.Name)
			}
		}
		for _, r := range records.Items {
			if r.Spec.Node == gone.Name {
				return fmt.Errorf("record %s", r.Name)
			}
		}
		return nil
	})
	l.AwaitMatrix(t, pods[:2])
}

func TestLeaderKilledWhileHandingOutBlocks(t *testing.T) {
	l := lab.Start(t, lab.Options{NoController: true})
	ctx := t.Context()
	for _, name := range []string{"one", "two"} {
		if err := l.StartController(name); err != nil {
			t.Fatal(err)
		}
	}
	l.Create(t, pool("pool", "10.211.0.0/20", blockSize(29)))
	var calls sync.WaitGroup
	var mu sync.Mutex
	var pods []*lab.Pod
	for i := range 60 {
		calls.Go(func() {
			p, err := l.StartPod(ctx, l.Nodes[i%3], fmt.Sprintf("default/p-%d", i), lab.PodOptions{NoObject: true})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("pod %d: %v", i, err)
				return
			}
			pods = append(pods, p)
		})
	}
	l.Eventually(t, lab.Settle, "blocks are being handed out", func() error {
		var blocks v1alpha1.IPBlockList
		if err := l.Client.List(ctx, &blocks); err != nil {
			return err
		}
		if len(blocks.Items) < 5 {
			return fmt.Errorf("%d blocks", len(blocks.Items))
		}
		return nil
	})
	for _, name := range []string{"one", "two"} {
		if err := l.StopController(name, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := l.StartController(name + "-again"); err != nil {
			t.Fatal(err)
		}
	}
	calls.Wait()
	checkConsistent(t, l)
	if len(pods) > 3 {
		l.AwaitMatrix(t, []*lab.Pod{pods[0], pods[len(pods)/2], pods[len(pods)-1]})
	}
}
