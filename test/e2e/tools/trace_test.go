package tools_test

import (
	"testing"

	"github.com/causeway-net/causeway/test/lab"
)

// TestTrace follows packets with `kubectl causeway trace`.
func TestTrace(t *testing.T) {
	l := lab.Start(t, lab.Options{})
	masqueraded := pool("default-v4", "10.211.0.0/16")
	masqueraded.Spec.NATOutgoing = true
	l.Create(t, masqueraded)
	l.Create(t, pool("default-v6", "fd00:10:211::/112"))
	pods := l.PodsOnAll(t, "pod")
	l.AwaitMatrix(t, pods)
	t.Run("answered", func(t *testing.T) {
		await(t, l, 0, []string{"trace", "pod-0", "pod-1"}, "Answered")
		await(t, l, 0, []string{"trace", "pod-0", "pod-2", "-o", "wide", "--family", "IPv6"}, "Answered")
		await(t, l, 1, []string{"trace", "pod-0", "pod-1:80"}, "NotListening")
		must(t, says(t.Context(), l, 0, []string{"trace", "pod-0", "pod-2", "-o", "svg"}, "<svg ", "in VXLAN 172.30.1.11 → 172.30.2.13", ">Answered at node node3<"))
	})
	t.Run("observe", func(t *testing.T) { observe(t, l, pods) })
	t.Run("queue", func(t *testing.T) { queue(t, l) })
	t.Run("killed", func(t *testing.T) { killed(t, l, pods) })
	t.Run("faults", func(t *testing.T) { faults(t, l, pods) })
}
