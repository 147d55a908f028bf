package bgp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

const samples = "../../../config/samples/bgp"

func manifest(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(samples, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocumentedManifests keeps the documents and the manifests the same: docs/bgp.md lists all of them, and what a document
// shows of BGP objects is in one of them.
func TestDocumentedManifests(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(samples, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests in %s (%v)", samples, err)
	}
	var there []string
	all := ""
	for _, f := range files {
		there = append(there, filepath.Base(f))
		all += "\n" + manifest(t, filepath.Base(f))
	}
	documents, err := filepath.Glob("../../../docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatalf("no documents (%v)", err)
	}
	block := regexp.MustCompile("(?ms)^```ya?ml\n(.*?)^```$")
	for _, d := range append(documents, "../../../README.md") {
		text, err := os.ReadFile(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range block.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(shown[1], "kind: BGP") && !strings.Contains(all, shown[1]) {
				t.Errorf("%s shows what is in no manifest:\n%s", d, shown[1])
			}
		}
		if filepath.Base(d) != "bgp.md" {
			continue
		}
		var listed []string
		for _, m := range regexp.MustCompile("(?m)^\\|.*`([a-z-]+\\.yaml)` \\|$").FindAllStringSubmatch(string(text), -1) {
			listed = append(listed, m[1])
		}
		slices.Sort(listed)
		if !slices.Equal(listed, there) {
			t.Errorf("%s lists %v, and there are %v", d, listed, there)
		}
	}
}

// manifests is a cluster on two subnets that the documented manifests are applied to.
type manifests struct {
	*lab.Lab
	pods   []*lab.Pod
	blocks []string
	bird   *bird
}

// TestManifests applies the manifests of config/samples/bgp as they are, but for the routers' addresses.
func TestManifests(t *testing.T) {
	m := manifests{Lab: lab.Start(t, lab.Options{Nodes: 4, Subnets: 2})}
	m.Create(t, pool("pool", podsNetwork))
	m.pods = m.PodsOnAll(t, "pod")
	unlessLearned(t, m.Lab)
	for _, p := range m.pods {
		m.blocks = append(m.blocks, blockOf(t, m.Lab, p))
	}
	for _, step := range []struct {
		name string
		do   func(t *testing.T)
	}{{"mesh", m.mesh}, {"reflectors", m.reflectors}, {"top of rack", m.topOfRack}, {"anycast", m.anycast}} {
		if !t.Run(step.name, step.do) {
			return
		}
	}
}

// apply gives kubectl a manifest; replace are old and new strings. Without any it gets the file itself.
func (m *manifests) apply(t *testing.T, name string, replace ...string) {
	t.Helper()
	file := filepath.Join(m.Repo, "config/samples/bgp", name)
	if len(replace) > 0 {
		file = m.write(t, strings.NewReplacer(replace...).Replace(manifest(t, name)))
	}
	m.kubectl(t, "apply", "-f", file)
}

// applyOnly gives kubectl the manifest's objects of one kind.
func (m *manifests) applyOnly(t *testing.T, name, kind string) {
	t.Helper()
	for doc := range strings.SplitSeq(manifest(t, name), "\n---\n") {
		if strings.Contains(doc, "\nkind: "+kind+"\n") {
			m.kubectl(t, "apply", "-f", m.write(t, doc))
		}
	}
}

func (m *manifests) write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (m *manifests) kubectl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := m.Kubectl(t.Context(), args...); err != nil {
		t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// ip runs ip(8) on the router.
func (m *manifests) ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.Command(t.Context(), append([]string{"ip"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// routed says whether every node has a learned route for every other node's block, and through whom.
func (m *manifests) routed(t *testing.T) error {
	var missing []error
	for _, n := range m.Nodes {
		out, err := n.Run(t.Context(), "ip", "route", "show", "proto", "203")
		if err != nil {
			return err
		}
		for j, other := range m.Nodes {
			via := other.V4.String()
			if other.Subnet != n.Subnet {
				via = fmt.Sprintf("172.30.%d.1", n.Subnet)
			}
			if want := fmt.Sprintf("%s via %s dev eth0 ", m.blocks[j], via); other != n && !strings.Contains(out, want) {
				missing = append(missing, fmt.Errorf("%s has no route %s:\n%s", n.Name, want, out))
			}
		}
	}
	return errors.Join(missing...)
}

func (m *manifests) awaitRouted(t *testing.T) {
	t.Helper()
	m.Eventually(t, lab.Settle, "every node has learned every block", func() error { return m.routed(t) })
}

// mesh: nodes tell each other. The router was told by hand.
func (m *manifests) mesh(t *testing.T) {
	for i, n := range m.Nodes {
		m.ip(t, "route", "add", m.blocks[i], "via", n.V4.String())
	}
	segments := map[string]*lab.Capture{}
	for name, filter := range map[string]string{"signed": "tcp[20:4] = 0x01011312", "unsigned": "tcp[20:4] != 0x01011312"} { // NOP, NOP, MD5 (RFC 2385)
		c, err := lab.StartCapture(t.Context(), m.Nodes[0], "eth0", "tcp port 179 and tcp[13] & 0x12 = 0x10 and "+filter)
		if err != nil {
			t.Fatal(err)
		}
		segments[name] = c
	}
	m.apply(t, "mesh.yaml")
	awaitSessions(t, m.Lab, "NodeToNodeMesh", 3, 3, 3, 3)
	m.awaitRouted(t)
	if err := lab.PingMatrix(t.Context(), m.pods); err != nil {
		t.Error(err)
	}
	across := traffic(t, m.pods[0], m.pods[3])
	m.kubectl(t, "patch", "secret", "-n", "causeway-bgp", "bgp-passwords", "-p", `{"stringData":{"mesh":"changed"}}`)
	awaitSessions(t, m.Lab, "NodeToNodeMesh", 3, 3, 3, 3)
	m.awaitRouted(t)
	across("another password")
	for name, c := range segments {
		packets, err := c.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if (name == "signed") != (len(packets) > 0) {
			t.Errorf("%d segments are %s: %v", len(packets), name, packets[:min(3, len(packets))])
		}
	}
}

// reflectors is Calico's recipe in several orders, each beginning with a mesh. Two nodes of different subnets reflect.
func (m *manifests) reflectors(t *testing.T) {
	const file = "reflectors.yaml"
	label := func(t *testing.T) { m.recipe(t, file, m.Nodes[0], m.Nodes[2]) }
	peer := func(t *testing.T) { m.applyOnly(t, file, "BGPPeer") }
	meshOff := func(t *testing.T) { m.applyOnly(t, file, "BGPConfiguration") }
	established := func(t *testing.T) { awaitSessions(t, m.Lab, "BGPPeer/reflectors", 3, 2, 3, 2) }
	for _, order := range []struct {
		name string
		do   []func(t *testing.T)
		// gap says that routes may be missing for a while.
		gap bool
	}{
		{"label the nodes first", []func(*testing.T){label, peer, established, meshOff}, false},
		{"BGPPeer first", []func(*testing.T){peer, label, established, meshOff}, false},
		{"mesh off first", []func(*testing.T){meshOff, m.gap, peer, label}, true},
		{"mesh off first in a row", []func(*testing.T){meshOff, peer, label}, false},
		{"the file at once", []func(*testing.T){label, func(t *testing.T) { m.apply(t, file) }}, false},
	} {
		ok := t.Run(order.name, func(t *testing.T) {
			near := traffic(t, m.pods[0], m.pods[1])
			var far []func(string)
			if !order.gap {
				far = append(far, traffic(t, m.pods[1], m.pods[3]), traffic(t, m.pods[3], m.pods[0]))
			}
			var routes []func() []string
			for _, n := range m.Nodes {
				routes = append(routes, watchRoutes(t, m.Lab, n))
			}
			for _, do := range order.do {
				do(t)
			}
			established(t)
			awaitSessions(t, m.Lab, "NodeToNodeMesh", 0, 0, 0, 0)
			m.awaitRouted(t)
			if err := lab.PingMatrix(t.Context(), m.pods); err != nil {
				t.Error(err)
			}
			near(order.name)
			for _, stop := range far {
				stop(order.name)
			}
			for i, n := range m.Nodes {
				for _, line := range routes[i]() {
					if strings.HasPrefix(line, "Deleted") && !order.gap {
						t.Errorf("a route of %s went: %s", n.Name, line)
					}
				}
			}
			m.backToMesh(t)
		})
		if !ok {
			return
		}
	}
}

// recipe runs the commands that a manifest begins with for each of some nodes.
func (m *manifests) recipe(t *testing.T, name string, nodes ...*lab.Node) {
	t.Helper()
	function := fmt.Sprintf("kubectl() { %s --kubeconfig=%s \"$@\"; }\n", m.Bin("kubectl"), m.AdminKubeconfig())
	commands := 0
	for line := range strings.Lines(manifest(t, name)) {
		line, ok := strings.CutPrefix(line, "#   kubectl ")
		if !ok {
			continue
		}
		commands++
		for _, n := range nodes {
			script := function + "kubectl " + strings.ReplaceAll(line, "<node>", n.Name)
			if out, err := m.Command(t.Context(), "sh", "-c", script).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", line, err, out)
			}
		}
	}
	if commands == 0 {
		t.Fatalf("%s begins with no commands", name)
	}
}

// gap waits until all learned routes are gone: nobody announces any.
func (m *manifests) gap(t *testing.T) {
	t.Helper()
	awaitSessions(t, m.Lab, "NodeToNodeMesh", 0, 0, 0, 0)
	awaitRoute(t, m.Lab, m.Nodes[1], m.blocks[3], "")
	awaitRoute(t, m.Lab, m.Nodes[1], m.blocks[0], fmt.Sprintf("via %s dev eth0 proto 202", m.Nodes[0].V4))
	if out, err := m.pods[1].Run(t.Context(), "ping", "-n", "-c1", "-W1", m.pods[3].V4().String()); err == nil {
		t.Errorf("pods of different subnets reach each other without BGP:\n%s", out)
	}
}

// backToMesh is the way back, in the order that docs/bgp.md gives. Nothing may be lost either.
func (m *manifests) backToMesh(t *testing.T) {
	t.Helper()
	stop := traffic(t, m.pods[1], m.pods[3])
	m.kubectl(t, "patch", "bgpconfiguration", "default", "--type=merge", "-p", `{"spec":{"nodeToNodeMesh":{"enabled":true}}}`)
	awaitSessions(t, m.Lab, "NodeToNodeMesh", 0, 1, 0, 1)
	m.kubectl(t, "delete", "bgppeer", "reflectors")
	for _, i := range []int{0, 2} {
		m.kubectl(t, "label", "node", m.Nodes[i].Name, "route-reflector-")
	}
	awaitSessions(t, m.Lab, "NodeToNodeMesh", 3, 3, 3, 3)
	m.applyOnly(t, "mesh.yaml", "BGPConfiguration")
	awaitSessions(t, m.Lab, "NodeToNodeMesh", 3, 3, 3, 3)
	m.awaitRouted(t)
	stop("back to the mesh")
}

// racksRouter is one BIRD for both racks. It announces one route that the nodes' filter keeps out.
const racksRouter = `
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol static { ipv4; route 198.51.100.0/24 blackhole; }
template bgp rack {
	local as 65001;
	password "change-me";
	ttl security on;
	ipv4 { import all; export all; };
}
protocol bgp from rack { neighbor 172.30.1.11 as 64512; }
protocol bgp from rack { neighbor 172.30.1.12 as 64512; }
protocol bgp from rack { neighbor 172.30.2.13 as 64512; }
protocol bgp from rack { neighbor 172.30.2.14 as 64512; }`

func (m *manifests) topOfRack(t *testing.T) {
	m.ip(t, "route", "flush", "root", podsNetwork) // the router learns now
	for _, n := range m.Nodes {
		m.kubectl(t, "label", "--overwrite", "node", n.Name, fmt.Sprintf("topology.kubernetes.io/zone=rack-%d", n.Subnet))
	}
	m.bird = startBird(t, m.Lab, m.Command, "172.30.0.1", racksRouter)
	m.apply(t, "top-of-rack.yaml", "10.0.1.1", "172.30.1.1")
	m.apply(t, "top-of-rack.yaml", "10.0.1.1", "172.30.2.1", "rack-1", "rack-2")
	awaitSessions(t, m.Lab, "BGPPeer/rack-1", 1, 1, 0, 0)
	awaitSessions(t, m.Lab, "BGPPeer/rack-2", 0, 0, 1, 1)
	m.awaitRouted(t)
	m.Eventually(t, lab.Settle, "pods reach each other", func() error { return lab.PingMatrix(t.Context(), m.pods) })
	for i, n := range m.Nodes {
		awaitFrom(t, m.Lab, m.bird, m.blocks[i], n)
		if out, err := m.bird.ask("show", "route", m.blocks[i], "all"); err != nil || !strings.Contains(out, "(64512,211)") {
			t.Errorf("the router has %s without the community (%v):\n%s", m.blocks[i], err, out)
		}
		awaitRoute(t, m.Lab, n, "198.51.100.0/24", "")
	}
	out, err := m.bird.ask("show", "protocols", "all")
	if held := regexp.MustCompile(`Hold timer: +[0-9.]+/9\n`).FindAllString(out, -1); err != nil || len(held) != len(m.Nodes) {
		t.Errorf("%d sessions have the hold time (%v):\n%s", len(held), err, out)
	}
	m.kubectl(t, "delete", "-f", filepath.Join(m.Repo, "config/samples/bgp/top-of-rack.yaml"))
	m.kubectl(t, "delete", "bgppeer", "rack-2")
	for i := range m.Nodes {
		awaitFrom(t, m.Lab, m.bird, m.blocks[i])
	}
}

// anycastRouter is the first router, a BIRD.
const anycastRouter = `
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol bgp nodes {
	local 172.30.1.1 as 65001;
	strict bind on;
	neighbor range 172.30.0.0/16 as 64512;
	dynamic name "node";
	ipv4 { import all; export none; };
}`

// anycastFRR is the second router, an FRR that leaves the kernel's routes alone.
const anycastFRR = `router bgp 65001
 bgp router-id 172.30.2.1
 no bgp ebgp-requires-policy
 neighbor nodes peer-group
 neighbor nodes remote-as 64512
 neighbor nodes disable-connected-check
 bgp listen range 172.30.0.0/16 peer-group nodes
`

func (m *manifests) anycast(t *testing.T) {
	b := startBird(t, m.Lab, m.Command, "172.30.0.1", anycastRouter)
	f := startFRR(t, m.Lab, "172.30.2.1", anycastFRR)
	m.apply(t, "anycast.yaml", "10.0.1.1", "172.30.1.1", "10.0.2.1", "172.30.2.1")
	awaitSessions(t, m.Lab, "BGPPeer/router-1", 1, 1, 1, 1)
	awaitSessions(t, m.Lab, "BGPPeer/router-2", 1, 1, 1, 1)

	yes := true
	endpoint := func(n *lab.Node) []discoveryv1.Endpoint {
		return []discoveryv1.Endpoint{{Addresses: []string{"10.211.0.200"}, NodeName: &n.Name, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}}
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "dns-1", Labels: map[string]string{discoveryv1.LabelServiceName: "dns"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoint(m.Nodes[1]),
	}
	m.Create(t, slice)
	var service corev1.Service
	if err := m.Object(t.Context(), "default/dns", &service); err != nil {
		t.Fatal(err)
	}
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.7"}, {IP: "192.0.2.7"}} // the second is out of range
	if err := m.Client.Status().Update(t.Context(), &service); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*lab.Node{m.Nodes[1], m.Nodes[2]} {
		if out, err := n.Run(t.Context(), "ip", "addr", "add", "203.0.113.53/32", "dev", "lo"); err != nil { // kube-proxy's part
			t.Fatalf("%v: %s", err, out)
		}
	}
	if out, err := m.Outside.Run(t.Context(), "ip", "route", "add", "203.0.113.0/24", "via", "172.30.9.1"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	service53 := netip.MustParseAddr("203.0.113.53")
	for _, n := range []*lab.Node{m.Nodes[1], m.Nodes[2]} { // the endpoint moves to another subnet
		edit(t, m.Lab, slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = endpoint(n) })
		for _, prefix := range []string{"203.0.113.53/32", "198.51.100.7/32"} {
			awaitFrom(t, m.Lab, b, prefix, n)
			f.awaitFrom(t, prefix, n)
		}
		m.Eventually(t, lab.Settle, "the router's kernel sends to "+n.Name, func() error {
			if out := m.ip(t, "route", "show", "203.0.113.53"); !strings.Contains(out, fmt.Sprintf("via %s dev sub-%d", n.V4, n.Subnet)) {
				return fmt.Errorf("it has %q", out)
			}
			return nil
		})
		if err := lab.Ping(t.Context(), m.Outside, service53); err != nil {
			t.Error(err)
		}
	}
	out, err := b.ask("show", "route", "203.0.113.53/32", "all")
	if err != nil || !strings.Contains(out, "(64512,53)") || !strings.Contains(out, "(64512, 53, 1)") {
		t.Errorf("BIRD has the service without its communities (%v):\n%s", err, out)
	}
	if out, err := b.ask("show", "route", "192.0.2.7/32"); !strings.Contains(out, "Network not found") {
		t.Errorf("an address outside of the ranges is announced (%v):\n%s", err, out)
	}
	awaitCondition(t, m.Lab, "router-1", "SessionsEstablished", "4 of 4")
	awaitCondition(t, m.Lab, "router-2", "SessionsEstablished", "4 of 4")
	var config v1alpha1.BGPConfiguration
	if err := m.Object(t.Context(), "default", &config); err != nil || config.Spec.NodeToNodeMesh.Enabled {
		t.Errorf("the mesh is on although the manifest does not ask for it (%v)", err)
	}
}
