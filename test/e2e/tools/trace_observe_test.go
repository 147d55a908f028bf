package tools_test

import (
	"testing"

	"github.com/causeway-net/causeway/test/lab"
)

// observe follows what pods send by themselves.
func observe(t *testing.T, l *lab.Lab, pods []*lab.Pod) {
	t.Run("nothing", func(t *testing.T) {
		if err := says(t.Context(), l, 1, []string{"trace", "pod-0", "pod-1", "--observe"}, "Unknown at node node1 (NoTraffic)", "nothing to follow"); err != nil {
			t.Error(err)
		}
	})
	t.Run("pings", func(t *testing.T) {
		pinging(t, pods[0], pods[1].V4().String())
		pinging(t, pods[0], pods[2].V6().String())
		await(t, l, 0, []string{"trace", "pod-0", "pod-1", "--observe"}, "echo request, "+pods[0].V4().String()+" > ", "echo reply", "Answered at node node2")
		await(t, l, 0, []string{"trace", "pod-0", "pod-2", "--observe", "--family", "IPv6"}, "in VXLAN", "Answered at node node3")
		planted(t, l, l.Nodes[1], "nft add table inet foreign; nft 'add chain inet foreign f { type filter hook forward priority 0; }'; nft add rule inet foreign f ip daddr "+pods[1].V4().String()+" drop",
			"nft delete table inet foreign", []string{"pod-0", "pod-1", "--observe"}, "Dropped at node node2 (Firewall)", "table inet foreign, chain f")
	})
	t.Run("masqueraded", func(t *testing.T) {
		to := l.Outside.V4.String()
		pinging(t, pods[0], to)
		await(t, l, 0, []string{"trace", "pod-0", to, "--observe"}, "NAT: source "+pods[0].V4().String()+" became "+l.Nodes[0].V4.String(), "Answered")
	})
	t.Run("a connection", func(t *testing.T) {
		if _, err := l.ServeStreams(t.Context(), pods[2]); err != nil {
			t.Fatal(err)
		}
		stream, err := l.StartStream(t.Context(), pods[0], pods[2].V4())
		if err != nil {
			t.Fatal(err)
		}
		await(t, l, 0, []string{"trace", "pod-0", "pod-2:5001", "--observe"}, "TCP ACK", "in VXLAN", "Answered at node node3")
		if report, err := stream.Stop(); err != nil {
			t.Errorf("%v: %+v", err, report)
		}
	})
}

// pinging pings until the test ends.
func pinging(t *testing.T, from *lab.Pod, to string) {
	t.Helper()
	c := from.Command(t.Context(), "ping", "-n", "-i0.2", to)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Wait() }) // the test's context ends it
}
