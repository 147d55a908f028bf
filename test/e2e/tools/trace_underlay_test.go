package tools_test

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// TestTraceBelow plants faults in what is under the pods' network, and in what keeps its routes.
func TestTraceBelow(t *testing.T) {
	l := lab.Start(t, lab.Options{})
	size, small := int32(30), pool("default-v4", "10.211.0.0/16")
	small.Spec.BlockSize = &size // so that some pods more need another block
	l.Create(t, small)
	pods := l.PodsOnAll(t, "pod")
	l.AwaitMatrix(t, pods)
	node1, node3 := l.Nodes[0], l.Nodes[2]
	t.Run("MTU hole", func(t *testing.T) {
		planted(t, l, l, "ip link set p-node2 mtu 1200", "ip link set p-node2 mtu 1500", []string{"pod-0", "pod-1", "--size=1400"},
			"Dropped at node node1 (MTU)", "and did not come to node node2, while a small one did")
	})
	t.Run("BGP session", func(t *testing.T) {
		as := int64(65001)
		l.Create(t, &v1alpha1.BGPConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.BGPConfigurationSpec{ASNumber: 64512, ListenPort: 179}})
		l.Create(t, &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "rack"}, Spec: v1alpha1.BGPPeerSpec{PeerIP: "172.30.1.1", ASNumber: &as}})
		await(t, l, 1, []string{"trace", "pod-0", "198.51.100.7"}, "Dropped at node node1 (BGPSessionDown)", "172.30.1.1 (AS 65001, BGPPeer/rack)")
	})
	t.Run("stopped agent with stale routes", func(t *testing.T) { stale(t, l) })
	t.Run("forwarding entry", func(t *testing.T) {
		// The agent puts the entry back whenever it is taken away, so it is taken away all the time.
		dir := t.TempDir()
		plant := fmt.Sprintf("(while [ -d %[1]s ]; do bridge fdb show dev vxlan.cw | while read mac rest; do bridge fdb del $mac dev vxlan.cw dst %[2]s self 2>/dev/null; done; done) >/dev/null 2>&1 &", dir, node3.V4)
		planted(t, l, node1, plant, "rmdir "+dir, []string{"pod-0", "pod-2"}, "Dropped at node node1 (NoTunnelEndpoint)", "forwarding database")
	})
}

// stale stops the agent of node2, and has node1 get one more block, of which node2 never hears: its kernel has no way to answer.
func stale(t *testing.T, l *lab.Lab) {
	node2 := l.Nodes[1]
	var before v1alpha1.IPBlockList
	if err := l.Client.List(t.Context(), &before); err != nil {
		t.Fatal(err)
	}
	if err := node2.StopAgent(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	known := func(a netip.Addr) bool {
		return slices.ContainsFunc(before.Items, func(b v1alpha1.IPBlock) bool { return netip.MustParsePrefix(b.Spec.CIDR).Contains(a) })
	}
	args := []string{"trace", "", "pod-1"}
	for i := 0; args[1] == ""; i++ {
		if p := l.MustStartPod(t, 0, fmt.Sprintf("default/late-%d", i)); !known(p.V4()) {
			args[1] = p.Name
		}
	}
	await(t, l, 1, args, "Dropped at node node2 (AgentStopped)", "whose agent does not answer")
	if err := node2.StartAgent(); err != nil {
		t.Fatal(err)
	}
	await(t, l, 0, args, "Answered")
}
