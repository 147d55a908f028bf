package bgp_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/lab/capture"
)

// podsNetwork is the pool of a fabric.
const podsNetwork = "10.211.0.0/16"

// racks is a cluster of three subnets with a node each. Only the router between them learns where pods are, and only by BGP.
type racks struct {
	*lab.Lab
	pods []*lab.Pod
	bird *bird
}

// TestRacks has a router that speaks BGP with every node. First it is alone, then a peer that flaps comes.
func TestRacks(t *testing.T) {
	r := racks{Lab: lab.Start(t, lab.Options{Nodes: 3, Subnets: 3})}
	r.Create(t, pool("pool", podsNetwork))
	r.pods = r.PodsOnAll(t, "pod")
	r.noWayRound(t)
	for _, from := range []lab.Place{r.pods[0], r.Outside} {
		if out, err := from.Command(t.Context(), "ping", "-n", "-c1", "-W1", r.pods[2].V4().String()).CombinedOutput(); err == nil {
			t.Errorf("a pod is reached although nobody was told the way:\n%s", out)
		}
	}
	r.bird = startBird(t, r.Lab, r.Command, "172.30.0.1", gateways+shared)
	r.Create(t, configuration())
	for i := range r.Nodes {
		r.Create(t, rack(i+1))
	}
	r.awaitRacks(t)
	for _, step := range []struct {
		name string
		do   func(t *testing.T)
	}{{"through the router", r.throughRouter}, {"withdrawn", r.withdrawn}, {"flapping peer", r.flapping}} {
		if !t.Run(step.name, step.do) {
			return
		}
	}
}

// rack is the session of a subnet's nodes with their router. The other racks' nodes have the same AS number.
func rack(n int) *v1alpha1.BGPPeer {
	return peer(fmt.Sprintf("rack-%d", n), fmt.Sprintf("172.30.%d.1", n), 65001, func(s *v1alpha1.BGPPeerSpec) {
		once := int32(1)
		s.NumAllowedLocalASNumbers = &once
		s.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"topology.kubernetes.io/zone": fmt.Sprintf("sub-%d", n)}}
	})
}

func (r *racks) awaitRacks(t *testing.T) {
	t.Helper()
	awaitSessions(t, r.Lab, "BGPPeer/rack-1", 1, 0, 0)
	awaitSessions(t, r.Lab, "BGPPeer/rack-2", 0, 1, 0)
	awaitSessions(t, r.Lab, "BGPPeer/rack-3", 0, 0, 1)
}

// noWayRound takes the nodes' default routes out of the game: what no route was learned for is not sent. The outside sends
// it all to the router.
func (r *racks) noWayRound(t *testing.T) {
	t.Helper()
	unlessLearned(t, r.Lab)
	if out, err := r.Outside.Run(t.Context(), "ip", "route", "add", podsNetwork, "via", "172.30.9.1"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// unlessLearned makes pods unreachable from all nodes unless a route of a block says more.
func unlessLearned(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, n := range l.Nodes {
		if out, err := n.Run(t.Context(), "ip", "route", "add", "unreachable", podsNetwork, "metric", "4096"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

// throughRouter looks at the way of packets: routes, the hops that answer, and what passes the router's links.
func (r *racks) throughRouter(t *testing.T) {
	r.Eventually(t, lab.Settle, "pods reach each other", func() error { return lab.PingMatrix(t.Context(), r.pods) })
	for i, n := range r.Nodes {
		for j, p := range r.pods {
			if i != j {
				awaitRoute(t, r.Lab, n, blockOf(t, r.Lab, p), fmt.Sprintf("via 172.30.%d.1 dev eth0 proto 203", i+1))
			}
		}
		awaitFrom(t, r.Lab, r.bird, blockOf(t, r.Lab, r.pods[i]), n)
		out, err := r.Command(t.Context(), "ip", "route", "get", r.pods[i].V4().String()).CombinedOutput()
		if want := fmt.Sprintf("via %s dev sub-%d", n.V4, i+1); err != nil || !strings.Contains(out, want) {
			t.Errorf("the router would send to %s (%v): %s", r.pods[i].Key(), err, out)
		}
	}

	from, to := r.pods[0], r.pods[2]
	for ttl, hop := range map[int]string{2: "172.30.1.1", 3: r.Nodes[2].V4.String()} { // 1 is the pod's own node
		out, err := from.Run(t.Context(), "ping", "-n", "-c1", "-W5", "-t"+strconv.Itoa(ttl), to.V4().String())
		if err == nil || !strings.Contains(out, "From "+hop+" icmp_seq=1 Time to live exceeded") {
			t.Errorf("hop %d is not %s (%v):\n%s", ttl, hop, err, out)
		}
	}
	r.crosses(t, from, from.V4(), to, map[string]uint8{"sub-1": 63, "sub-3": 62})
	r.crosses(t, r.Outside, r.Outside.V4, to, map[string]uint8{"sub-9": 64, "sub-3": 63})
}

// crosses pings once, and expects the request on links of the router with these TTLs and on no others.
func (r *racks) crosses(t *testing.T, from lab.Place, source netip.Addr, to *lab.Pod, want map[string]uint8) {
	t.Helper()
	captures := map[string]*lab.Capture{}
	for _, link := range []string{"sub-1", "sub-2", "sub-3", "sub-9"} {
		c, err := lab.StartCapture(t.Context(), r.Lab, link, fmt.Sprintf("icmp[0] = 8 and dst host %s", to.V4()))
		if err != nil {
			t.Fatal(err)
		}
		captures[link] = c
	}
	if err := lab.Ping(t.Context(), from, to.V4()); err != nil {
		t.Error(err)
	}
	for link, c := range captures {
		packets, err := c.Stop()
		if err != nil {
			t.Fatal(err)
		}
		ttl, passes := want[link]
		ok := func(p capture.Packet) bool { return p.Src == source && p.TTL == ttl }
		if passes != (len(packets) > 0) || !slices.ContainsFunc(packets, ok) && passes {
			t.Errorf("on %s to %s there is %v, not TTL %d from %s", link, to.Key(), packets, ttl, source)
		}
	}
}

// withdrawn has a block go and a node drained, and come back. No session ends by that.
func (r *racks) withdrawn(t *testing.T) {
	before := r.uptimes(t)
	across := traffic(t, r.pods[0], r.pods[1])
	reached := func(p *lab.Pod) error {
		_, err := r.Outside.Command(t.Context(), "ping", "-n", "-c1", "-W0.2", p.V4().String()).CombinedOutput()
		return err
	}
	gone := func(block string) {
		t.Helper()
		awaitFrom(t, r.Lab, r.bird, block)
		for i := range 2 {
			awaitRoute(t, r.Lab, r.Nodes[i], block, "")
		}
		r.Eventually(t, lab.Settle, "the router has no route for "+block, func() error {
			out, err := r.Command(t.Context(), "ip", "route", "show", "exact", block).CombinedOutput()
			if err == nil && out != "" {
				err = fmt.Errorf("it has %s", out)
			}
			return err
		})
	}

	last := r.pods[2]
	block := blockOf(t, r.Lab, last)
	schedulable := func(yes bool) {
		t.Helper()
		edit(t, r.Lab, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: r.Nodes[2].Name}}, func(n *corev1.Node) { n.Spec.Unschedulable = !yes })
	}
	schedulable(false) // drain: the node first, then its pods
	stop := func() {
		t.Helper()
		if err := r.StopPod(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		gone(block)
		if reached(last) == nil {
			t.Error("a pod on a drained node is reached")
		}
	}
	stop()
	last = r.MustStartPod(t, 2, "default/daemon") // tolerates what drains others
	r.Eventually(t, lab.Settle, "the outside reaches a pod on a node that was drained", func() error { return reached(last) })
	stop()
	schedulable(true)
	awaitFrom(t, r.Lab, r.bird, block, r.Nodes[2])

	// The node gets another block for the one that is deleted.
	if err := r.Client.Delete(t.Context(), r.blockObject(t, block)); err != nil {
		t.Fatal(err)
	}
	gone(block)
	r.pods[2] = r.MustStartPod(t, 2, "default/again")
	r.Eventually(t, lab.Settle, "the outside reaches the new pod", func() error { return reached(r.pods[2]) })
	if again := blockOf(t, r.Lab, r.pods[2]); again == block {
		t.Errorf("the new pod is in the deleted block %s", again)
	}
	r.Eventually(t, lab.Settle, "pods reach each other", func() error { return lab.PingMatrix(t.Context(), r.pods) })
	across("withdrawals of another node")
	undisturbed(t, before, r.uptimes(t))
}

func (r *racks) blockObject(t *testing.T, cidr string) *v1alpha1.IPBlock {
	t.Helper()
	var blocks v1alpha1.IPBlockList
	if err := r.Client.List(t.Context(), &blocks); err != nil {
		t.Fatal(err)
	}
	for i := range blocks.Items {
		if blocks.Items[i].Spec.CIDR == cidr {
			return &blocks.Items[i]
		}
	}
	t.Fatalf("there is no block %s", cidr)
	return nil
}

// bothUptimes is what the two ends of a session say.
type bothUptimes struct {
	node   string
	router uptime
}

// uptimes tells since when the sessions with the router are up.
func (r *racks) uptimes(t *testing.T) []bothUptimes {
	t.Helper()
	var all []bothUptimes
	for i, n := range r.Nodes {
		up, err := sessions(t, r.Lab, n, fmt.Sprintf("BGPPeer/rack-%d", i+1))
		if err != nil {
			t.Fatal(err)
		}
		router, err := r.bird.established(n.V4)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bothUptimes{fmt.Sprint(n.Name, up), router})
	}
	return all
}

func undisturbed(t *testing.T, before, after []bothUptimes) {
	t.Helper()
	if !slices.EqualFunc(before, after, func(b, a bothUptimes) bool { return b.node == a.node && b.router.same(a.router) }) {
		t.Errorf("sessions were %v and are %v", before, after)
	}
}

const (
	flappingRoute, sharedRoute = "198.51.100.0/24", "192.0.2.0/24"
	flaps                      = 8
)

// shared is what both routers announce.
const shared = `
protocol static shared { ipv4; route ` + sharedRoute + ` blackhole; }`

// flappy is a router on the outside.
const flappy = shared + `
protocol static own { ipv4; route ` + flappingRoute + ` blackhole; }
protocol bgp nodes {
	local 172.30.9.2 as 65009;
	neighbor range 172.30.0.0/16 as 64512;
	dynamic name "node";
	multihop 3;
	ipv4 { import all; export where source = RTS_STATIC; };
}`

// flapping adds a peer that changes its mind every second. It comes and goes; nothing else does.
func (r *racks) flapping(t *testing.T) {
	f := startBird(t, r.Lab, r.Outside.Command, "172.30.9.2", flappy)
	r.Create(t, peer("flapping", r.Outside.V4.String(), 65009, func(s *v1alpha1.BGPPeerSpec) {
		hops := int32(3)
		s.EBGPMultihop = &hops
	}))
	awaitSessions(t, r.Lab, "BGPPeer/flapping", 1, 1, 1)
	awaitRoute(t, r.Lab, r.Nodes[0], flappingRoute, "via 172.30.1.1 dev eth0 proto 203")
	if out, err := r.Command(t.Context(), "ip", "addr", "add", "192.0.2.1/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { // the router outlives the lab
		_ = r.Command(context.Background(), "ip", "addr", "del", "192.0.2.1/32", "dev", "lo").Run()
	})
	before, processes, lines := r.uptimes(t), r.processes(t), r.logLines(t)
	stops := []func(string){lab.Pings(t, r.pods[0], netip.MustParseAddr("192.0.2.1"))}
	for i := range r.pods {
		stops = append(stops, traffic(t, r.pods[i], r.pods[(i+1)%len(r.pods)]))
	}
	routes := watchRoutes(t, r.Lab, r.Nodes[0])

	begin := time.Now()
	for i := range flaps {
		if i%4 == 3 {
			f.crash(t)
			time.Sleep(time.Second)
			f.start(t)
		} else {
			if out, err := f.ask("disable", "all"); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			time.Sleep(time.Second)
			if out, err := f.ask("enable", "all"); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		time.Sleep(time.Second)
	}
	t.Logf("%d flaps in %s", flaps, seconds(time.Since(begin)))
	awaitSessions(t, r.Lab, "BGPPeer/flapping", 1, 1, 1)
	awaitCondition(t, r.Lab, "flapping", "SessionsEstablished", "3 of 3")
	for _, n := range r.Nodes {
		awaitRoute(t, r.Lab, n, flappingRoute, "proto 203")
		r.awaitPrefixes(t, n, r.Outside.V4, 2, 1)
		r.awaitPrefixes(t, n, netip.MustParseAddr(fmt.Sprintf("172.30.%d.1", n.Subnet)), 3, 1)
	}

	came, went := 0, 0
	for _, line := range routes() {
		switch {
		case strings.HasPrefix(line, "Deleted "+flappingRoute):
			went++
		case strings.HasPrefix(line, flappingRoute):
			came++
		case strings.HasPrefix(line, "Deleted ") && strings.Contains(line, "proto 203"), strings.Contains(line, " proto 202"):
			t.Errorf("another route changed: %s", line)
		}
	}
	t.Logf("the route came %d times", came)
	if came == 0 || came != went || came > flaps {
		t.Errorf("in %d flaps the route came %d times and went %d times", flaps, came, went)
	}
	for _, stop := range stops {
		stop("a peer flaps")
	}
	undisturbed(t, before, r.uptimes(t))
	if after := r.processes(t); !slices.Equal(processes, after) {
		t.Errorf("agents and speakers were %v and are %v", processes, after)
	}
	for i, now := range r.logLines(t) {
		if more := now - lines[i]; more > 3*flaps {
			t.Errorf("the agent and the speaker of %s logged %d lines in %d flaps", r.Nodes[i].Name, more, flaps)
		} else {
			t.Logf("%s logged %d lines", r.Nodes[i].Name, more)
		}
	}
	r.toldAbout(t)
}

// toldAbout waits for events of each node, not more than one for each change, and metrics that show the present.
func (r *racks) toldAbout(t *testing.T) {
	t.Helper()
	for _, n := range r.Nodes {
		r.Eventually(t, lab.Settle, n.Name+" tells of the flaps", func() error {
			var events corev1.EventList
			if err := r.Client.List(t.Context(), &events, client.InNamespace("default")); err != nil {
				return err
			}
			count := map[string]int{}
			for _, e := range events.Items {
				if e.InvolvedObject.Name == n.Name && strings.Contains(e.Message, r.Outside.V4.String()) {
					count[e.Reason]++
				}
			}
			up, down := count["BGPSessionEstablished"], count["BGPSessionDown"]
			if down == 0 || up != down+1 || down > flaps || len(count) != 2 {
				return fmt.Errorf("its events are %v", count)
			}
			out, err := metrics(t, n)
			for _, want := range []string{
				`causeway_bgp_session_up{peer="172.30.9.2",source="BGPPeer/flapping"} 1`,
				`causeway_bgp_session_prefixes{direction="received",peer="172.30.9.2"} 2`,
				fmt.Sprintf(`causeway_bgp_session_up{peer="172.30.%[1]d.1",source="BGPPeer/rack-%[1]d"} 1`, n.Subnet),
			} {
				if err != nil || !strings.Contains(out, want+"\n") {
					return fmt.Errorf("its metrics lack %s (%w)", want, err)
				}
			}
			return nil
		})
	}
}

// metrics returns what an agent's metrics say.
func metrics(t *testing.T, n *lab.Node) (string, error) {
	t.Helper()
	const get = `exec 3<>/dev/tcp/127.0.0.1/9441; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3`
	return n.Run(t.Context(), "bash", "-c", get)
}

// awaitPrefixes waits for a session's counters in the metrics.
func (r *racks) awaitPrefixes(t *testing.T, n *lab.Node, peer netip.Addr, received, advertised int) {
	t.Helper()
	r.Eventually(t, lab.Settle, fmt.Sprintf("%s counts the prefixes of %s", n.Name, peer), func() error {
		out, err := metrics(t, n)
		for direction, count := range map[string]int{"received": received, "advertised": advertised} {
			want := fmt.Sprintf("causeway_bgp_session_prefixes{direction=%q,peer=%q} %d\n", direction, peer, count)
			if err != nil || !strings.Contains(out, want) {
				return fmt.Errorf("its metrics lack %s (%w)", want, err)
			}
		}
		return nil
	})
}

// processes returns the agents and speakers, each with its node.
func (r *racks) processes(t *testing.T) []string {
	t.Helper()
	const list = `for p in /proc/[0-9]*; do
	read -r name <$p/comm || continue
	case $name in causeway-agent|causeway-speake) [ $p/ns/net -ef /proc/self/ns/net ] && echo $name ${p#/proc/};; esac
done 2>/dev/null; true`
	var all []string
	for _, n := range r.Nodes {
		out, err := n.Run(t.Context(), "bash", "-c", list)
		if err != nil || strings.Count(out, "\n") != 2 {
			t.Fatalf("%s runs %q (%v)", n.Name, out, err)
		}
		all = append(all, n.Name+": "+out)
	}
	return all
}

// logLines counts the lines of each agent's log. Its speaker writes there, too.
func (r *racks) logLines(t *testing.T) []int {
	t.Helper()
	var all []int
	for _, n := range r.Nodes {
		text, err := os.ReadFile(n.AgentLog())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Count(string(text), "\n"))
	}
	return all
}

// watchRoutes writes down the changes of a node's routes until it is called.
func watchRoutes(t *testing.T, l *lab.Lab, n *lab.Node) func() []string {
	t.Helper()
	const marker = "192.0.2.253"
	monitor, seen := n.Command(t.Context(), "ip", "monitor", "route"), &transcript{}
	monitor.Stdout = seen
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	mark := func(what string) {
		t.Helper()
		l.Eventually(t, lab.Settle, "ip monitor "+what, func() error {
			before := strings.Count(seen.String(), marker)
			if out, err := n.Run(t.Context(), "sh", "-c", "ip route add blackhole "+marker+" && ip route del blackhole "+marker); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			if strings.Count(seen.String(), marker) == before {
				return errors.New("it is silent")
			}
			return nil
		})
	}
	mark("listens")
	return func() []string {
		mark("has printed all")
		_ = monitor.Signal(syscall.SIGTERM)
		_ = monitor.Wait() // ended by the signal
		return slices.DeleteFunc(slices.Collect(strings.Lines(seen.String())), func(line string) bool { return strings.Contains(line, marker) })
	}
}

// transcript is what a command has printed so far.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
