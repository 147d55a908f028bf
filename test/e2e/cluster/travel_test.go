package cluster_test

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// TestAddressesTravel moves pods with addresses of their own between nodes of two subnets.
func TestAddressesTravel(t *testing.T) {
	l := lab.Start(t, lab.Options{Kernel: lab.KernelHost})
	travel := func(cidr string, bits int32) *v1alpha1.IPPool {
		return pool("travel", cidr, func(s *v1alpha1.IPPoolSpec) { s.BlockSize, s.FixedAddresses = &bits, v1alpha1.FixedAddressesAllowed })
	}
	six := travel("fd00:78::/120", 124)
	l.Create(t, six)
	t.Run("fixed, IPv6 alone", func(t *testing.T) { fixedAddressTravels(t, l, "fd00:78::f5", 124) })
	deletePool(t, l, six)
	l.Create(t, travel("10.78.0.0/24", 28))
	t.Run("fixed", func(t *testing.T) { fixedAddressTravels(t, l, "10.78.0.245", 28) })
	t.Run("two pods", func(t *testing.T) { twoPodsAskForOneAddress(t, l) })
	t.Run("no pod", func(t *testing.T) { borrowedAddressWithoutAPod(t, l) })
	checkConsistent(t, l)
}

func fixedAddressTravels(t *testing.T, l *lab.Lab, text string, block int) {
	address := netip.MustParseAddr(text)
	start := func(node int) *lab.Pod {
		t.Helper()
		began := time.Now()
		p, err := l.StartPod(t.Context(), l.Nodes[node], "default/db-0", lab.PodOptions{Annotations: map[string]string{v1alpha1.AnnotationIPs: address.String()}})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Addresses) != 1 || p.Addresses[0] != address {
			t.Fatalf("on %s the pod has %v", l.Nodes[node].Name, p.Addresses)
		}
		t.Logf("the pod starts on %s within %s", l.Nodes[node].Name, time.Since(began))
		return p
	}
	peer := l.MustStartPod(t, 1, "default/peer")
	// First the address lies in no block, then in the block of node 0, then it is lent; node 0 and node 2 are in different subnets.
	for i, node := range []int{0, 2, 1, 0, 2} {
		p := start(node)
		l.AwaitMatrix(t, []*lab.Pod{p, peer})
		if node == 2 {
			wantRoute(t, l, 1, address)
			wantRoute(t, l, 0, address)
		}
		if lender := lenderOf(t, l, address, block); i == 0 && lender != l.Nodes[0].Name {
			t.Errorf("the block around the address is of %s", lender)
		}
		if err := l.StopPod(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	l.Eventually(t, lab.Settle, "the address goes back to its block", func() error {
		var blocks v1alpha1.IPBlockList
		if err := l.Client.List(t.Context(), &blocks); err != nil {
			return err
		}
		for _, b := range blocks.Items {
			if len(b.Spec.Lent) > 0 {
				return fmt.Errorf("block %s lends %+v", b.Spec.CIDR, b.Spec.Lent)
			}
		}
		return nil
	})
	p := start(0)
	l.AwaitMatrix(t, []*lab.Pod{p, peer})
	for _, q := range []*lab.Pod{p, peer} {
		if err := l.StopPod(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
}

// wantRoute says that a node has a route to one address alone.
func wantRoute(t *testing.T, l *lab.Lab, node int, a netip.Addr) {
	t.Helper()
	l.Eventually(t, lab.Settle, "a route to the address alone", func() error {
		flag := map[bool]string{true: "-4", false: "-6"}[a.Is4()]
		out, err := l.Nodes[node].Run(t.Context(), "ip", flag, "route", "show", "exact", netip.PrefixFrom(a, a.BitLen()).String())
		if err != nil || !strings.Contains(out, "via") {
			return fmt.Errorf("%s has the route %q to %s: %v", l.Nodes[node].Name, out, a, err)
		}
		return nil
	})
}

func lenderOf(t *testing.T, l *lab.Lab, a netip.Addr, block int) string {
	t.Helper()
	var b v1alpha1.IPBlock
	around := netip.PrefixFrom(a, block).Masked()
	if err := l.Client.Get(t.Context(), client.ObjectKey{Name: v1alpha1.BlockName(around)}, &b); err != nil {
		t.Fatal(err)
	}
	return b.Spec.Node
}

// unusedBeside returns an address in the block of a pod's address that no pod has.
func unusedBeside(t *testing.T, l *lab.Lab, p *lab.Pod, block int) netip.Addr {
	t.Helper()
	var records v1alpha1.WorkloadEndpointList
	if err := l.Client.List(t.Context(), &records); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, r := range records.Items {
		for _, a := range r.Spec.Addresses {
			used[a] = true
		}
	}
	around := netip.PrefixFrom(p.Addresses[0], block).Masked()
	for a := p.Addresses[0].Next(); around.Contains(a.Next()); a = a.Next() {
		if !used[netip.PrefixFrom(a, a.BitLen()).String()] {
			return a
		}
	}
	t.Fatalf("all addresses of %s after %s are in use", around, p.Addresses[0])
	return netip.Addr{}
}

func twoPodsAskForOneAddress(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	ask := lab.PodOptions{Annotations: map[string]string{v1alpha1.AnnotationIPs: "10.78.0.120"}}
	first, err := l.StartPod(ctx, l.Nodes[0], "default/first", ask)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		p, err := l.StartPod(ctx, l.Nodes[2], "default/second", ask)
		if err == nil && p.V4() != first.V4() {
			err = fmt.Errorf("the second pod has %v", p.Addresses)
		}
		waiting <- err
	}()
	refused, err := l.StartPod(ctx, l.Nodes[1], "default/third", ask)
	wantError(t, err, "Pod default/third waits for its address: address 10.78.0.120 of IPPool travel has not come to this node yet",
		"It is with node "+l.Nodes[0].Name+": a pod may have it there (kubectl causeway ipam show 10.78.0.120 names it)")
	if err := l.StopPod(ctx, refused); err != nil {
		t.Error(err)
	}
	refused, err = l.StartPod(ctx, l.Nodes[1], "default/fourth", lab.PodOptions{Annotations: map[string]string{v1alpha1.AnnotationIPs: "10.78.0.112"}})
	wantError(t, err, "kept for the node's tunnels")
	if err := l.StopPod(ctx, refused); err != nil {
		t.Error(err)
	}
	if err := <-waiting; err == nil {
		t.Error("two pods have one address")
	}
	go func() {
		_, err := l.StartPod(ctx, l.Nodes[2], "default/fifth", ask)
		waiting <- err
	}()
	if err := l.StopPod(ctx, first); err != nil {
		t.Error(err)
	}
	if err := <-waiting; err != nil {
		t.Errorf("the first pod is gone: %v", err)
	}
}

// borrowedAddressWithoutAPod lets the pod of a borrowed address go while no controller takes the address back. Its packets end on the node that
// has borrowed it; without a route there they would go round between this node and the lender. The next pod has the address again.
func borrowedAddressWithoutAPod(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	peers := []*lab.Pod{l.MustStartPod(t, 0, "default/near-lender"), l.MustStartPod(t, 1, "default/elsewhere"), l.MustStartPod(t, 2, "default/near")}
	address := unusedBeside(t, l, peers[0], 28)
	if lender := lenderOf(t, l, address, 28); lender != l.Nodes[0].Name {
		t.Fatalf("the block around %s is of %s", address, lender)
	}
	ask := lab.PodOptions{Annotations: map[string]string{v1alpha1.AnnotationIPs: address.String()}}
	start := func(node int, name string) *lab.Pod {
		t.Helper()
		p, err := l.StartPod(ctx, l.Nodes[node], "default/"+name, ask)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	stop := func(p *lab.Pod) {
		t.Helper()
		if err := l.StopPod(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	borrower := start(2, "nobody-1")
	l.AwaitMatrix(t, append(peers, borrower))
	if err := l.StopController("controller", syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	stop(borrower)
	l.Eventually(t, lab.Settle, "the node drops packets to the address", func() error {
		out, err := l.Nodes[2].Run(ctx, "ip", "route", "show", "exact", address.String()+"/32")
		if err != nil || !strings.Contains(out, "blackhole") {
			return fmt.Errorf("its route is %q: %v", out, err)
		}
		return nil
	})
	for _, p := range peers {
		out, err := p.Run(ctx, "ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", address.String())
		if err == nil || strings.Contains(out, "exceeded") {
			t.Errorf("from pod %s: %v: %s", p.Key(), err, out)
		}
	}
	if err := l.StartController("controller-2"); err != nil {
		t.Fatal(err)
	}
	var again *lab.Pod
	l.Eventually(t, lab.Settle, "the next pod gets the address", func() (err error) {
		again, err = l.StartPod(ctx, l.Nodes[2], "default/nobody-2", ask)
		return err
	})
	l.AwaitMatrix(t, append(peers, again))
	for _, p := range append(peers, again) {
		stop(p)
	}
}
