package bgp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// throughRouter is a BIRD for the router between the subnets that tells the upstream all that nodes tell it.
const throughRouter = `
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol bgp nodes {
	local as 65001;
	neighbor range 172.30.0.0/16 as 64512;
	dynamic name "node";
	ipv4 { import all; export all; };
}
protocol bgp upstream {
	local 172.30.9.1 as 65001;
	neighbor 172.30.9.2 as 65009;
	ipv4 { import none; export where source = RTS_BGP; };
}`

// neighbours is a cluster of two subnets with an upstream behind the router between them.
type neighbours struct {
	*lab.Lab
	above *bird
	pods  []*lab.Pod
}

// TestNeighbouringBlocks: a node that starts 200 pods has four blocks beside each other, and the upstream has one prefix for them. While the node grows
// and shrinks, no packet to its first pod is lost.
func TestNeighbouringBlocks(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 3, Subnets: 2, AgentArgs: []string{"--block-linger=1s"}})
	l.Create(t, pool("pool", podsNetwork))
	n := neighbours{Lab: l, pods: l.PodsOnAll(t, "pod")}
	unlessLearned(t, l)
	startBird(t, l, l.Command, "172.30.0.1", throughRouter)
	n.above = startBird(t, l, l.Outside.Command, "172.30.9.2", upstream)
	config := configuration()
	config.Spec.NodeToNodeMesh.Enabled = true
	l.Create(t, config)
	l.Create(t, rack(1))
	l.Create(t, rack(2))
	awaitSessions(t, l, "BGPPeer/rack-1", 1, 1, 0)
	awaitSessions(t, l, "BGPPeer/rack-2", 0, 0, 1)
	awaitSessions(t, l, "NodeToNodeMesh", 2, 2, 2)
	l.Eventually(t, lab.Settle, "the outside reaches every pod", func() error { return n.outsideReaches(t, n.pods) })

	stop, stopOutside := traffic(t, n.pods[2], n.pods[0]), pingFromOutside(t, l, n.pods[0].V4())
	var more []*lab.Pod
	if !t.Run("grows", func(t *testing.T) { more = n.grows(t) }) {
		return
	}
	t.Run("filters", n.filters)
	t.Run("shrinks", func(t *testing.T) { n.shrinks(t, more) })
	stop("the node had more pods, and fewer again")
	stopOutside(t)
}

func (n *neighbours) outsideReaches(t *testing.T, pods []*lab.Pod) error {
	var errs []error
	for _, p := range pods {
		errs = append(errs, lab.Ping(t.Context(), n.Outside, p.V4()))
	}
	return errors.Join(errs...)
}

// grows starts 200 pods on the first node.
func (n *neighbours) grows(t *testing.T) (more []*lab.Pod) {
	var mu sync.Mutex
	var calls sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range 200 {
		calls.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			p, err := n.StartPod(t.Context(), n.Nodes[0], fmt.Sprintf("default/more-%d", i), lab.PodOptions{NoObject: true})
			if err != nil {
				t.Errorf("pod %d: %v", i, err)
				return
			}
			mu.Lock()
			more = append(more, p)
			mu.Unlock()
		})
	}
	calls.Wait()
	if t.Failed() {
		t.FailNow()
	}
	whole := netip.PrefixFrom(n.pods[0].V4(), 24).Masked()
	n.awaitUpstream(t, whole.String(), blockOf(t, n.Lab, n.pods[1]), blockOf(t, n.Lab, n.pods[2]))
	for _, p := range more {
		if !whole.Contains(p.V4()) {
			t.Errorf("pod %s has %s, which is not in %s", p.Key(), p.V4(), whole)
		}
	}
	l := slices.SortedFunc(slices.Values(more), func(a, b *lab.Pod) int { return a.V4().Compare(b.V4()) })
	ends := []*lab.Pod{l[0], l[len(l)/2], l[len(l)-1]}
	if err := n.outsideReaches(t, ends); err != nil {
		t.Error(err)
	}
	n.AwaitMatrix(t, append(ends, n.pods[2]))
	// A node learns one prefix, and its kernel has a route to each block.
	for _, p := range ends {
		awaitRoute(t, n.Lab, n.Nodes[1], blockOf(t, n.Lab, p), fmt.Sprintf("via %s dev eth0 proto 203", n.Nodes[0].V4))
		awaitRoute(t, n.Lab, n.Nodes[2], blockOf(t, n.Lab, p), "via 172.30.2.1 dev eth0 proto 203")
	}
	awaitRoute(t, n.Lab, n.Nodes[1], whole.String(), "")
	return more
}

// filters has a BGPFilter that tells blocks from what is joined of them. They are announced one by one as long as it is there.
func (n *neighbours) filters(t *testing.T) {
	bits := int32(26)
	filter := &v1alpha1.BGPFilter{ObjectMeta: metav1.ObjectMeta{Name: "blocks-only"}, Spec: v1alpha1.BGPFilterSpec{ExportV4: []v1alpha1.BGPFilterRule{{
		Action: v1alpha1.FilterAccept, CIDR: podsNetwork, MatchOperator: v1alpha1.CIDRIn, PrefixLength: &v1alpha1.PrefixLength{Min: &bits}}}}}
	n.Create(t, filter)
	want := []string{blockOf(t, n.Lab, n.pods[1]), blockOf(t, n.Lab, n.pods[2])}
	whole := netip.PrefixFrom(n.pods[0].V4(), 24).Masked()
	for i, a := 0, whole.Addr().As4(); i < 4; i++ {
		a[3] = byte(i * 64)
		want = append(want, netip.PrefixFrom(netip.AddrFrom4(a), 26).String())
	}
	n.awaitUpstream(t, want...)
	if err := n.Client.Delete(t.Context(), filter); err != nil {
		t.Fatal(err)
	}
}

// shrinks ends the pods; the node keeps one block.
func (n *neighbours) shrinks(t *testing.T, more []*lab.Pod) {
	var calls sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, p := range more {
		calls.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := n.StopPod(t.Context(), p); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	n.awaitUpstream(t, blockOf(t, n.Lab, n.pods[0]), blockOf(t, n.Lab, n.pods[1]), blockOf(t, n.Lab, n.pods[2]))
}

// awaitUpstream waits until the upstream has routes to these prefixes and no others.
func (n *neighbours) awaitUpstream(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	n.Eventually(t, lab.Settle, fmt.Sprintf("the upstream has %v", want), func() error {
		has, err := n.above.prefixes()
		if err == nil && !slices.Equal(has, want) {
			err = fmt.Errorf("it has %v", has)
		}
		return err
	})
}

// prefixes returns what BIRD has routes to, sorted.
func (b *bird) prefixes() (has []string, err error) {
	out, err := b.ask("show", "route")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == "unicast" {
			has = append(has, f[0])
		}
	}
	slices.Sort(has)
	return has, err
}

var pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// pingFromOutside pings from beyond the router, 100 times in a second, until it is stopped. The last packets may be on their way then. Where routes are
// missing for a moment, more is lost, and the router says so.
func pingFromOutside(t *testing.T, l *lab.Lab, to netip.Addr) (stop func(*testing.T)) {
	t.Helper()
	var out strings.Builder
	c := l.Outside.Command(t.Context(), "ping", "-n", "-q", "-i0.01", to.String())
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) {
		_ = c.Signal(syscall.SIGINT)
		_ = c.Wait() // the summary tells
		m := pingSummary.FindStringSubmatch(out.String())
		if m == nil {
			t.Fatalf("ping said: %s", out.String())
		}
		sent, _ := strconv.Atoi(m[1])
		received, _ := strconv.Atoi(m[2])
		t.Logf("%d packets from the outside to %s, %d answered", sent, to, received)
		if sent < 100 || received < sent-5 || strings.Contains(out.String(), "errors") {
			t.Errorf("packets were lost: %s", out.String())
		}
	}
}
