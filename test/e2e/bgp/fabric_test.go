package bgp_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// gateways is a BIRD for the router between the subnets: any node may talk to it, and what it learns it forwards by.
const gateways = `
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol bgp nodes {
	local as 65001;
	neighbor range 172.30.0.0/16 as 64512;
	dynamic name "node";
	ipv4 { import all; export all; };
}`

// fabric is a cluster on two subnets whose pool has no encapsulation.
type fabric struct {
	*lab.Lab
	pods []*lab.Pod
	bird *bird
}

// TestFabric follows one cluster through the usual set-ups, one after the other: nothing of BGP, mesh, top-of-rack,
// reflectors. Pods of one subnet talk all the time.
func TestFabric(t *testing.T) {
	f := fabric{Lab: lab.Start(t, lab.Options{Nodes: 4, Subnets: 2})}
	f.Create(t, pool("pool", "10.211.0.0/16"))
	f.pods = f.PodsOnAll(t, "pod")
	f.Eventually(t, lab.Settle, "pods of one subnet reach each other", func() error { return lab.PingMatrix(t.Context(), f.pods[:2]) })
	if lab.Ping(t.Context(), f.pods[0], f.pods[2].V4()) == nil {
		t.Error("pods of different subnets reach each other although nobody told the router the way")
	}
	f.Create(t, configuration())
	f.bird = startBird(t, f.Lab, f.Command, "172.30.0.1", gateways)
	for _, step := range []struct {
		name string
		do   func(t *testing.T)
	}{{"mesh", f.mesh}, {"top of rack", f.topOfRack}, {"reflectors", f.reflectors}, {"agent restarts", f.restarts}} {
		if !t.Run(step.name, step.do) {
			return
		}
	}
}

func (f *fabric) mesh(t *testing.T) {
	near := blockOf(t, f.Lab, f.pods[1])
	far := blockOf(t, f.Lab, f.pods[2])
	direct := fmt.Sprintf("via %s dev eth0 proto ", f.Nodes[1].V4)
	awaitRoute(t, f.Lab, f.Nodes[0], near, direct+"202")
	stop := traffic(t, f.pods[0], f.pods[1])
	for range 2 {
		mesh(t, f.Lab, true)
		awaitSessions(t, f.Lab, "NodeToNodeMesh", 3, 3, 3, 3)
		awaitRoute(t, f.Lab, f.Nodes[0], near, direct+"203")
		awaitRoute(t, f.Lab, f.Nodes[0], far, "via 172.30.1.1 dev eth0 proto 203")
		mesh(t, f.Lab, false)
		awaitSessions(t, f.Lab, "NodeToNodeMesh", 0, 0, 0, 0)
		awaitRoute(t, f.Lab, f.Nodes[0], near, direct+"202")
		awaitRoute(t, f.Lab, f.Nodes[0], far, "")
	}
	mesh(t, f.Lab, true)
	awaitRoute(t, f.Lab, f.Nodes[0], near, direct+"203")
	stop("mesh on and off")
}

func (f *fabric) topOfRack(t *testing.T) {
	stop := traffic(t, f.pods[0], f.pods[1])
	for n := 1; n <= 2; n++ {
		f.Create(t, peer(fmt.Sprintf("rack-%d", n), fmt.Sprintf("172.30.%d.1", n), 65001, func(s *v1alpha1.BGPPeerSpec) {
			once := int32(1)
			s.NumAllowedLocalASNumbers = &once // the other rack's nodes have the same AS number
			s.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"topology.kubernetes.io/zone": fmt.Sprintf("sub-%d", n)}}
		}))
	}
	awaitSessions(t, f.Lab, "BGPPeer/rack-1", 1, 1, 0, 0)
	awaitSessions(t, f.Lab, "BGPPeer/rack-2", 0, 0, 1, 1)
	f.Eventually(t, lab.Settle, "pods reach each other through the router", func() error { return lab.PingMatrix(t.Context(), f.pods) })
	across := traffic(t, f.pods[0], f.pods[2])
	mesh(t, f.Lab, false)
	awaitSessions(t, f.Lab, "NodeToNodeMesh", 0, 0, 0, 0)
	awaitRoute(t, f.Lab, f.Nodes[0], blockOf(t, f.Lab, f.pods[2]), "via 172.30.1.1 dev eth0 proto 203")
	// The router names the neighbour itself where it is on the same link (RFC 4271 section 5.1.3).
	awaitRoute(t, f.Lab, f.Nodes[0], blockOf(t, f.Lab, f.pods[1]), fmt.Sprintf("via %s dev eth0 proto 203", f.Nodes[1].V4))
	mesh(t, f.Lab, true)
	awaitSessions(t, f.Lab, "NodeToNodeMesh", 3, 3, 3, 3)
	stop("top of rack")
	across("mesh off and on with routers")
}

// reflectors is Calico's recipe.
func (f *fabric) reflectors(t *testing.T) {
	stop, across := traffic(t, f.pods[0], f.pods[1]), traffic(t, f.pods[1], f.pods[3])
	for _, i := range []int{0, 2} {
		edit(t, f.Lab, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: f.Nodes[i].Name}}, func(n *corev1.Node) { n.Labels["route-reflector"] = "true" })
	}
	edit(t, f.Lab, configuration(), func(c *v1alpha1.BGPConfiguration) {
		c.Spec.Nodes = []v1alpha1.BGPNodeSettings{{
			NodeSelector:            &metav1.LabelSelector{MatchLabels: map[string]string{"route-reflector": "true"}},
			RouteReflectorClusterID: "224.0.0.1",
		}}
	})
	f.Create(t, &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "reflectors"}, Spec: v1alpha1.BGPPeerSpec{
		PeerSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"route-reflector": "true"}},
	}})
	awaitSessions(t, f.Lab, "BGPPeer/reflectors", 3, 2, 3, 2)
	mesh(t, f.Lab, false)
	awaitSessions(t, f.Lab, "NodeToNodeMesh", 0, 0, 0, 0)
	awaitSessions(t, f.Lab, "BGPPeer/reflectors", 3, 2, 3, 2)
	awaitRoute(t, f.Lab, f.Nodes[1], blockOf(t, f.Lab, f.pods[0]), fmt.Sprintf("via %s dev eth0 proto 203", f.Nodes[0].V4))
	awaitRoute(t, f.Lab, f.Nodes[1], blockOf(t, f.Lab, f.pods[3]), "via 172.30.1.1 dev eth0 proto 203")
	f.Eventually(t, lab.Settle, "kubectl counts the sessions", func() error {
		out, err := f.Kubectl(t.Context(), "get", "bgppeers")
		if err == nil && !strings.Contains(out, "10/10") {
			err = fmt.Errorf("it says\n%s", out)
		}
		return err
	})
	stop("reflectors in place of the mesh")
	across("reflectors in place of the mesh")
}

// restarts ends an agent in order and by force: no packet is lost, no session is reset, no learned route goes.
func (f *fabric) restarts(t *testing.T) {
	n := f.Nodes[0]
	stop, across := traffic(t, f.pods[0], f.pods[1]), traffic(t, f.pods[0], f.pods[2])
	since, err := f.bird.established(n.V4)
	if err != nil {
		t.Fatal(err)
	}
	before, err := sessions(t, f.Lab, n, "BGPPeer/reflectors")
	if err != nil {
		t.Fatal(err)
	}
	monitor := n.Command(t.Context(), "ip", "monitor", "route")
	var seen strings.Builder
	monitor.Stdout = &seen
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := n.StopAgent(sig); err != nil {
			t.Fatal(err)
		}
		if out, err := n.Run(t.Context(), "ip", "route", "show", "proto", "203"); err != nil || strings.Count(out, "\n") < 3 {
			t.Errorf("after %s learned routes are gone (%v): %s", sig, err, out)
		}
		if err := n.StartAgent(); err != nil {
			t.Fatal(err)
		}
		f.Eventually(t, lab.Settle, "the agent takes pods", func() error { return f.pods[0].CNI(t.Context(), "status").Run() })
		fresh := f.MustStartPod(t, 0, "default/after-"+strings.ToLower(strings.ReplaceAll(sig.String(), " ", "-")))
		f.Eventually(t, lab.Settle, "a new pod is reached", func() error { return lab.Ping(t.Context(), f.pods[3], fresh.V4()) })
		awaitSessions(t, f.Lab, "BGPPeer/reflectors", 3, 2, 3, 2)
	}
	_ = monitor.Signal(syscall.SIGTERM)
	_ = monitor.Wait() // ended by the signal
	for line := range strings.Lines(seen.String()) {
		if strings.HasPrefix(line, "Deleted") && (strings.Contains(line, "proto 203") || strings.Contains(line, "proto 202")) {
			t.Errorf("a route went while the agent restarted: %s", line)
		}
	}
	if again, err := f.bird.established(n.V4); err != nil || !again.same(since) {
		t.Errorf("BIRD's session is up as %s, before it was %s (%v)", again, since, err)
	}
	after, err := sessions(t, f.Lab, n, "BGPPeer/reflectors")
	if err != nil || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the sessions were %v and are %v (%v)", before, after, err)
	}
	stop("agent restarts")
	across("agent restarts")
}
