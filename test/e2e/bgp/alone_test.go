package bgp_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/causeway-net/causeway/test/lab"
)

// TestBGPWithoutTheAPIServer has an agent killed and started again while the API server is away: the speaker's sessions go
// on, and what a router withdraws or announces meanwhile reaches the kernel.
func TestBGPWithoutTheAPIServer(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 2, Subnets: 1})
	l.Create(t, pool("pool", "10.211.0.0/16"))
	pods := l.PodsOnAll(t, "pod")
	n := l.Nodes[0]
	b := startBird(t, l, l.Command, "172.30.0.1", routers("route 20.1.0.0/16 blackhole; route 20.2.0.0/16 blackhole;"))
	l.Create(t, configuration())
	l.Create(t, peer("plain", "172.30.1.1", 65001, nil))
	awaitSessions(t, l, "BGPPeer/plain", 1, 1)
	awaitRoute(t, l, n, "20.1.0.0/16", "proto 203")
	awaitRoute(t, l, n, "20.2.0.0/16", "proto 203")
	block := blockOf(t, l, pods[1])
	l.Eventually(t, lab.Settle, "the node's checkpoint has the other node's block", func() error {
		saved, err := n.Run(t.Context(), "cat", "/run/causeway/checkpoint")
		if err == nil && !strings.Contains(saved, `"`+block+`"`) {
			err = fmt.Errorf("it lacks %s", block)
		}
		return err
	})
	before, err := b.established(n.V4)
	if err != nil {
		t.Fatal(err)
	}
	stop := traffic(t, pods[0], pods[1])
	l.Kill()
	if err := n.StopAgent(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.reconfigure(t, routers("route 20.1.0.0/16 blackhole;"))
	if err := n.StartAgent(); err != nil {
		t.Fatal(err)
	}
	awaitRoute(t, l, n, "20.2.0.0/16", "")
	b.reconfigure(t, routers("route 20.1.0.0/16 blackhole; route 20.3.0.0/16 blackhole;"))
	awaitRoute(t, l, n, "20.3.0.0/16", "proto 203")
	awaitRoute(t, l, n, "20.1.0.0/16", "proto 203")
	if err := l.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitSessions(t, l, "BGPPeer/plain", 1, 1)
	stop("agent restarted without the API server")
	after, err := b.established(n.V4)
	if err != nil || !after.same(before) {
		t.Errorf("the session was %s, now it is %s (%v)", before, after, err)
	}
}
