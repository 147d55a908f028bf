package controllers_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func want(pool string, wanted, waiting int32, released ...v1alpha1.ReleasedBlock) v1alpha1.PoolClaim {
	return v1alpha1.PoolClaim{Pool: pool, Wanted: wanted, Waiting: waiting, Released: released}
}

// released names a block as it is now.
func (w *world) released(cidr string) v1alpha1.ReleasedBlock {
	w.Helper()
	var b v1alpha1.IPBlock
	w.must(w.Get(w.ctx, client.ObjectKey{Name: v1alpha1.BlockName(netip.MustParsePrefix(cidr))}, &b))
	return v1alpha1.ReleasedBlock{CIDR: cidr, UID: string(b.UID)}
}

// blocks shows all blocks, sorted: "10.0.0.0/26 n1", with a mark on those that are being deleted.
func (w *world) blocks() []string {
	w.Helper()
	var l v1alpha1.IPBlockList
	w.must(w.List(w.ctx, &l))
	var out []string
	for _, b := range l.Items {
		line := b.Spec.CIDR + " " + b.Spec.Node
		if !b.DeletionTimestamp.IsZero() {
			line += " terminating"
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func (w *world) waitBlocks(what string, want ...string) {
	w.Helper()
	w.wait(what, func() string {
		if got := w.blocks(); !slices.Equal(got, want) {
			return fmt.Sprintf("blocks %q, want %q", got, want)
		}
		return ""
	})
}

func (w *world) waitPool(name, what string, ok func(*v1alpha1.IPPool) bool) {
	w.Helper()
	w.wait(what, func() string {
		var p v1alpha1.IPPool
		if err := w.Get(w.ctx, client.ObjectKey{Name: name}, &p); err != nil {
			return err.Error()
		}
		if !ok(&p) {
			return fmt.Sprintf("pool %s is not so: %+v", name, p.Status)
		}
		return ""
	})
}

func is(kind string) func(*v1alpha1.IPPool) bool {
	return func(p *v1alpha1.IPPool) bool { return meta.IsStatusConditionTrue(p.Status.Conditions, kind) }
}

func isNot(kind string) func(*v1alpha1.IPPool) bool {
	return func(p *v1alpha1.IPPool) bool { return meta.IsStatusConditionFalse(p.Status.Conditions, kind) }
}

func (w *world) setShare(node string, share v1alpha1.PoolClaim) {
	w.Helper()
	w.claim(node, func(c *v1alpha1.BlockClaim) { c.Spec.Pools = []v1alpha1.PoolClaim{share} })
}

func TestBlocksAheadOfNeedAndBack(t *testing.T) {
	w := begin(t)
	w.pool("p", "10.0.0.0/16")
	w.node("n1", "192.168.0.1", want("p", 32, 0))
	w.node("n2", "192.168.0.2", want("p", 32, 0))
	w.wait("two blocks", func() string {
		if got := w.blocks(); len(got) != 2 {
			return fmt.Sprint(got)
		}
		return ""
	})
	var b v1alpha1.IPBlock
	w.must(w.Get(w.ctx, client.ObjectKey{Name: "10.0.0.0-26"}, &b))
	if !slices.Contains(b.Finalizers, v1alpha1.FinalizerBlock) || len(b.Spec.NodeAddresses) != 1 {
		t.Errorf("%+v", b)
	}
	first := b.Spec.Node
	for i := range 40 {
		w.endpoint(fmt.Sprintf("e%d", i), first, "p", fmt.Sprintf("10.0.0.%d/32", i+1))
	}
	w.wait("another block before the first is full", func() string {
		if got := w.blocks(); len(got) != 3 || got[1] != "10.0.0.64/26 "+first {
			return fmt.Sprint(got)
		}
		return ""
	})
	w.waitPool("p", "numbers", func(p *v1alpha1.IPPool) bool {
		return p.Status.Allocated == 40 && p.Status.Blocks == 3 && p.Status.Capacity == 1024*63 && p.Status.Free == 1024*63-40
	})
	// Addresses follow the node; an agent that reports none blanks nothing.
	w.report(first, func(nn *v1alpha1.NodeNetwork) { nn.Status.Addresses[0].Address = "192.168.0.77" })
	w.wait("new addresses", func() string {
		w.must(w.Get(w.ctx, client.ObjectKey{Name: "10.0.0.0-26"}, &b))
		if !slices.Equal(b.Spec.NodeAddresses, []string{"192.168.0.77"}) {
			return fmt.Sprint(b.Spec.NodeAddresses)
		}
		return ""
	})
	// Released: the empty block goes; one that has endpoints stays, whatever the list says. A block with the CIDR of one that was
	// released before stays too.
	w.setShare(first, want("p", 0, 0, v1alpha1.ReleasedBlock{CIDR: "10.0.0.64/26", UID: "0"}))
	w.steady("another block was released", 500*time.Millisecond, func() string {
		if got := w.blocks(); len(got) != 3 {
			return fmt.Sprint(got)
		}
		return ""
	})
	w.setShare(first, want("p", 0, 0, w.released("10.0.0.64/26"), w.released("10.0.0.0/26")))
	w.wait("release", func() string {
		if got := w.blocks(); len(got) != 2 || slices.Contains(got, "10.0.0.64/26 "+first) {
			return fmt.Sprint(got)
		}
		return ""
	})
	w.steady("the block in use stays", 500*time.Millisecond, func() string {
		if got := w.blocks(); got[0] != "10.0.0.0/26 "+first {
			return fmt.Sprint(got)
		}
		return ""
	})
}

func TestStorm(t *testing.T) {
	w := begin(t)
	w.pool("p", "fd00::/48")
	w.node("n1", "192.168.0.1", want("p", 32, 0))
	w.waitBlocks("one", "fd00::/122 n1")
	began := time.Now()
	w.setShare("n1", want("p", 32, 1000))
	w.wait("blocks for a thousand", func() string {
		if n := len(w.blocks()); n != 16 {
			return fmt.Sprint(n)
		}
		return ""
	})
	t.Logf("15 blocks after %s", time.Since(began))
	w.steady("and no more", 500*time.Millisecond, func() string {
		if n := len(w.blocks()); n != 16 {
			return fmt.Sprint(n)
		}
		return ""
	})
}

func TestTwoLeadersAndAKilledOne(t *testing.T) {
	w := begin(t)
	w.pool("p", "10.0.0.0/16")
	kill := w.controller() // a second one at once
	for i := range 8 {
		w.node(fmt.Sprintf("n%d", i), fmt.Sprintf("192.168.0.%d", i), want("p", 500, 0))
	}
	kill()
	w.wait("8 blocks for each", func() string {
		each := map[string]int{}
		for _, b := range w.blocks() {
			each[strings.Fields(b)[1]]++
		}
		for i := range 8 {
			// Two leaders may each have given a node what it wants; nothing is given to two nodes.
			if each[fmt.Sprintf("n%d", i)] < 8 {
				return fmt.Sprint(each)
			}
		}
		return ""
	})
}

func TestBlockDeletedByHandAndByForce(t *testing.T) {
	w := begin(t)
	w.pool("p", "10.0.0.0/26")
	w.node("n1", "192.168.0.1", want("p", 1, 0))
	w.waitBlocks("one", "10.0.0.0/26 n1")
	w.endpoint("e", "n1", "p", "10.0.0.5/32")
	b := &v1alpha1.IPBlock{ObjectMeta: metav1.ObjectMeta{Name: "10.0.0.0-26"}}
	w.must(w.Delete(w.ctx, b))
	w.steady("it stays, terminating", 500*time.Millisecond, func() string {
		if got := w.blocks(); len(got) != 1 || got[0] != "10.0.0.0/26 n1 terminating" {
			return fmt.Sprint(got)
		}
		return ""
	})
	w.node("n2", "192.168.0.2", want("p", 1, 1))
	w.must(w.Patch(w.ctx, b, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))
	w.waitBlocks("made again for the node that has an address in it", "10.0.0.0/26 n1")
	w.waitPool("p", "exhausted", is(v1alpha1.ConditionExhausted))
	// Once the node has given it up, the waiting one gets it.
	w.must(w.Delete(w.ctx, &v1alpha1.WorkloadEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "e"}}))
	w.setShare("n1", want("p", 0, 0, w.released("10.0.0.0/26")))
	w.waitBlocks("handed on, though the first still lists it", "10.0.0.0/26 n2")
}

func TestOverlap(t *testing.T) {
	w := begin(t)
	w.pool("a", "10.0.0.0/16")
	w.node("n1", "192.168.0.1", want("a", 1, 0), want("b", 1, 0))
	w.waitBlocks("of the older", "10.0.0.0/26 n1")
	w.pool("b", "10.0.0.0/12")
	w.waitPool("b", "overlapping", is(v1alpha1.ConditionOverlapping))
	w.waitPool("b", "says which", func(p *v1alpha1.IPPool) bool {
		return strings.Contains(meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady).Message, "pool a")
	})
	w.wait("an event says so too", func() string {
		var l eventsv1.EventList
		w.must(w.List(w.ctx, &l))
		for _, e := range l.Items {
			if e.Reason == v1alpha1.ConditionOverlapping && e.Regarding.Name == "b" {
				return ""
			}
		}
		return fmt.Sprint(len(l.Items), " other events")
	})
	w.waitPool("a", "not overlapping", isNot(v1alpha1.ConditionOverlapping))
	w.must(w.Delete(w.ctx, &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "a"}}))
	w.waitPool("a", "terminating", is(v1alpha1.ConditionTerminating))
	w.claim("n1", func(c *v1alpha1.BlockClaim) {
		c.Spec.Pools = []v1alpha1.PoolClaim{want("a", 0, 0, w.released("10.0.0.0/26")), want("b", 1, 0)}
	})
	w.waitBlocks("the younger gives out, but not what is still listed", "10.0.0.64/26 n1")
	w.waitPool("b", "usable", isNot(v1alpha1.ConditionOverlapping))
	w.wait("the older is gone", func() string {
		if err := w.Get(w.ctx, client.ObjectKey{Name: "a"}, &v1alpha1.IPPool{}); client.IgnoreNotFound(err) != nil || err == nil {
			return fmt.Sprint("still there: ", err)
		}
		return ""
	})
}

func TestDeletedPoolWaitsForItsLastAddress(t *testing.T) {
	w := begin(t)
	w.pool("p", "10.0.0.0/24")
	w.node("n1", "192.168.0.1", want("p", 1, 0))
	w.waitBlocks("one", "10.0.0.0/26 n1")
	e := w.endpoint("e", "n1", "p", "10.0.0.5/32")
	w.must(w.Delete(w.ctx, &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p"}}))
	w.waitPool("p", "says what is left", func(p *v1alpha1.IPPool) bool {
		c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionTerminating)
		return c != nil && strings.Contains(c.Message, "1 address in 1 block")
	})
	w.setShare("n1", want("p", 64, 1))
	w.steady("nothing more is given out", 300*time.Millisecond, func() string {
		if got := w.blocks(); len(got) != 1 {
			return fmt.Sprint(got)
		}
		return ""
	})
	w.must(w.Delete(w.ctx, e))
	w.setShare("n1", want("p", 0, 0, w.released("10.0.0.0/26")))
	w.wait("gone", func() string {
		if err := w.Get(w.ctx, client.ObjectKey{Name: "p"}, &v1alpha1.IPPool{}); err == nil {
			return "the pool is still there"
		}
		return ""
	})
	w.waitBlocks("no block", []string{}...)
}
