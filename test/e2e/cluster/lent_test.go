package cluster_test

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// TestLentAddresses fills a pool of which two nodes have all the blocks from a third one, in another subnet: the other two lend it what they
// do not need, so that every address of the pool is used. The addresses come back when their pods are gone.
func TestLentAddresses(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 3, Subnets: 2})
	for _, f := range []struct {
		name, cidr string
		block      int32
	}{{"IPv4", "10.71.0.0/28", 29}, {"IPv6", "fd00:71::/124", 125}} {
		t.Run(f.name, func(t *testing.T) { lentAddresses(t, l, pool("small", f.cidr, blockSize(f.block))) })
	}
}

func lentAddresses(t *testing.T, l *lab.Lab, small *v1alpha1.IPPool) {
	ctx := t.Context()
	l.Create(t, small)
	l.Eventually(t, lab.Settle, "the pool is ready", func() error {
		if s, err := poolStatus(ctx, l, "small"); err != nil || s.NodesReady != 3 {
			return fmt.Errorf("%w: %+v", err, s)
		}
		return nil
	})
	blocks := func() (out []v1alpha1.IPBlock) {
		var list v1alpha1.IPBlockList
		if err := l.Client.List(ctx, &list); err != nil {
			t.Error(err)
		}
		return list.Items
	}
	l.Eventually(t, lab.Settle, "both blocks are given out", func() error {
		if n := len(blocks()); n != 2 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	var poor *lab.Node
	owners := map[string]bool{}
	for _, b := range blocks() {
		owners[b.Spec.Node] = true
	}
	up := []*lab.Pod{}
	for i, n := range l.Nodes {
		if owners[n.Name] {
			up = append(up, l.MustStartPod(t, i, fmt.Sprintf("default/rich-%d", i)))
		} else {
			poor = n
		}
	}
	var slowest time.Duration
	for i := range 14 - len(up) {
		began := time.Now()
		p, err := l.StartPod(ctx, poor, fmt.Sprintf("default/poor-%d", i), lab.PodOptions{NoObject: true})
		if err != nil {
			t.Fatalf("pod %d of node %s, which has no block: %v", i+1, poor.Name, err)
		}
		slowest = max(slowest, time.Since(began))
		up = append(up, p)
	}
	t.Logf("14 pods have the 14 addresses of the pool; a pod that borrowed its address took %v at most", slowest.Round(time.Millisecond))
	l.AwaitMatrix(t, up)
	checkConsistent(t, l)
	for _, p := range up { // the node's own packets come from its node address: it has no address of a block
		if p.Node != poor {
			if err := lab.Ping(ctx, poor, p.Addresses[0]); err != nil {
				t.Errorf("from node %s to pod %s on %s: %v", poor.Name, p.Key(), p.Node.Name, err)
			}
		}
	}
	_, err := l.StartPod(ctx, poor, "default/one-more", lab.PodOptions{NoObject: true})
	wantError(t, err, "small")

	for _, p := range up {
		if p.Node == poor {
			if err := l.StopPod(ctx, p); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.Eventually(t, lab.Settle, "what was lent comes back", func() error {
		for _, b := range blocks() {
			if len(b.Spec.Lent) > 0 {
				return fmt.Errorf("%s: %+v", b.Spec.CIDR, b.Spec.Lent)
			}
		}
		return nil
	})
	rich := up[:len(owners)]
	again := rich[:1:1]
	for i := range 6 { // the lender has all of its block again
		p, err := l.StartPod(ctx, up[0].Node, fmt.Sprintf("default/again-%d", i), lab.PodOptions{NoObject: true})
		if err != nil {
			t.Fatal(err)
		}
		again = append(again, p)
	}
	l.AwaitMatrix(t, again)
	checkConsistent(t, l)
	for _, p := range append(again, rich[1:]...) {
		if err := l.StopPod(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	deletePool(t, l, small)
}

// deletePool deletes a pool and waits until it is gone.
func deletePool(t *testing.T, l *lab.Lab, p *v1alpha1.IPPool) {
	t.Helper()
	if err := l.Client.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	l.Eventually(t, lab.Settle, "pool "+p.Name+" is gone", func() error {
		if err := l.Object(t.Context(), p.Name, &v1alpha1.IPPool{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there (%w)", err)
		}
		return nil
	})
}
