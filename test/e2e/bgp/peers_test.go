package bgp_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// routers is a BIRD with a session with each node. To the first it announces what it must not.
func routers(intruders string) string {
	return fmt.Sprintf(`
protocol static intruders { ipv4; %s }
template bgp rack { local as 65001; passive on; ipv4 { import all; export where source = RTS_STATIC; }; }
protocol bgp plain1 from rack { local 172.30.1.1 as 65001; neighbor 172.30.1.11 as 64512; }
protocol bgp plain2 from rack { local 172.30.1.1 as 65001; neighbor 172.30.1.12 as 64512; ipv4 { export none; }; }
`, intruders)
}

// lockedRouter is a BIRD with a password, on the outside's address.
func lockedRouter(password string) string {
	text := ""
	for _, n := range []int{11, 12} {
		text += fmt.Sprintf("protocol bgp { local as 65002; neighbor 172.30.1.%d as 64512; multihop 3; passive on; error wait time 1, 2; password %q; ipv4 { import all; export none; }; }\n", n, password)
	}
	return text
}

// TestPeers has routers that are right and routers that are wrong: the wrong ones disturb nobody, and kubectl says what is
// the matter.
func TestPeers(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 2, Subnets: 1})
	l.Create(t, pool("pool", "10.211.0.0/16"))
	pods := l.PodsOnAll(t, "pod")
	b := startBird(t, l, l.Command, "172.30.0.1", routers(""))
	locked := startBird(t, l, l.Outside.Command, "172.30.9.2", lockedRouter("first"))
	config := configuration()
	config.Spec.ServiceExternalIPs = []v1alpha1.ServiceCIDR{{CIDR: "203.0.113.0/24"}}
	l.Create(t, config)
	l.Create(t, peer("plain", "172.30.1.1", 65001, nil))
	awaitSessions(t, l, "BGPPeer/plain", 1, 1)
	before := uptimes(t, l)
	stop := traffic(t, pods[0], pods[1])

	t.Run("password", func(t *testing.T) {
		l.Create(t, peer("locked", l.Outside.V4.String(), 65002, func(s *v1alpha1.BGPPeerSpec) {
			hops := int32(3)
			s.EBGPMultihop = &hops
			s.Password = &v1alpha1.BGPPassword{SecretKeyRef: corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "bgp-passwords"}, Key: "rack"}}
		}))
		awaitCondition(t, l, "locked", "SecretNotFound", "The password is missing: create Secret causeway-bgp/bgp-passwords")
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.BGPNamespace, Name: "bgp-passwords"}, StringData: map[string]string{"rack": "first"}}
		l.Create(t, secret)
		awaitSessions(t, l, "BGPPeer/locked", 1, 1)
		edit(t, l, secret, func(s *corev1.Secret) { s.StringData = map[string]string{"rack": "second"} })
		locked.reconfigure(t, lockedRouter("second"))
		awaitSessions(t, l, "BGPPeer/locked", 1, 1)
		awaitCondition(t, l, "locked", "SessionsEstablished", "2 of 2")
	})
	t.Run("wrong AS number", func(t *testing.T) {
		as := func(n int64) {
			edit(t, l, peer("locked", "", 0, nil), func(p *v1alpha1.BGPPeer) { p.Spec.ASNumber = &n })
		}
		as(65999)
		awaitCondition(t, l, "locked", "SessionsDown", "AS 65999 expected, 65002 came")
		as(65002)
		awaitCondition(t, l, "locked", "SessionsEstablished", "2 of 2")
	})
	t.Run("selector without nodes", func(t *testing.T) {
		l.Create(t, peer("nobody", "172.30.1.9", 65009, func(s *v1alpha1.BGPPeerSpec) {
			s.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"there": "is-none"}}
		}))
		awaitCondition(t, l, "nobody", "NoNodeSelected", "matches no node")
	})
	t.Run("intruders", func(t *testing.T) { intruders(t, l, b, pods) })
	t.Run("anycast", func(t *testing.T) { anycast(t, l, b) })

	if after := uptimes(t, l); !slices.Equal(before, after) {
		t.Errorf("the right router's sessions were disturbed: %v, now %v", before, after)
	}
	stop("wrong routers")
}

func uptimes(t *testing.T, l *lab.Lab) []string {
	t.Helper()
	var all []string
	for _, n := range l.Nodes {
		up, err := sessions(t, l, n, "BGPPeer/plain")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(n.Name, up))
	}
	return all
}

// awaitCondition waits for a BGPPeer's condition, and for the same reason in `kubectl get bgppeers`.
func awaitCondition(t *testing.T, l *lab.Lab, name, reason, message string) {
	t.Helper()
	l.Eventually(t, lab.Settle, fmt.Sprintf("BGPPeer %s says %s", name, reason), func() error {
		var p v1alpha1.BGPPeer
		if err := l.Object(t.Context(), name, &p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil || c.Reason != reason || !strings.Contains(c.Message, message) || c.ObservedGeneration != p.Generation {
			return fmt.Errorf("it says %+v", c)
		}
		out, err := l.Kubectl(t.Context(), "get", "bgppeers", name)
		if err == nil && (!strings.Contains(out, reason) || !strings.Contains(out, fmt.Sprintf("%d/%d", p.Status.Established, p.Status.Expected))) {
			err = fmt.Errorf("kubectl says\n%s", out)
		}
		return err
	})
}

// intruders announces to a node its own block, part of one, a pod, the underlay and a default route. None may get into a kernel,
// while a harmless route that comes with them does.
func intruders(t *testing.T, l *lab.Lab, b *bird, pods []*lab.Pod) {
	own := blockOf(t, l, pods[0])
	evil := []string{own, pods[0].V4().String() + "/32", strings.TrimSuffix(own, "/26") + "/27", "0.0.0.0/0", "172.30.1.0/24", "172.30.1.12/32", "127.0.0.0/8"}
	text := "route 198.51.100.0/24 blackhole;"
	for _, p := range evil {
		text += fmt.Sprintf(" route %s blackhole;", p)
	}
	b.reconfigure(t, routers(text))
	awaitRoute(t, l, l.Nodes[0], "198.51.100.0/24", "via 172.30.1.1 dev eth0 proto 203")
	out, err := l.Nodes[0].Run(t.Context(), "ip", "route", "show", "proto", "203")
	if err != nil || strings.Count(out, "\n") != 1 {
		t.Errorf("ip route shows (%v)\n%s", err, out)
	}
	if err := lab.Ping(t.Context(), pods[1], pods[0].V4()); err != nil {
		t.Error(err)
	}
	b.reconfigure(t, routers(""))
	awaitRoute(t, l, l.Nodes[0], "198.51.100.0/24", "")
}

// anycast has a Service of externalTrafficPolicy Local whose only ready endpoint moves from node to node.
func anycast(t *testing.T, l *lab.Lab, b *bird) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "dns"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ExternalIPs: []string{"203.0.113.53"}, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
		Ports: []corev1.ServicePort{{Port: 53, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(53)}},
	}}
	l.Create(t, service)
	yes, no := true, false
	endpoint := func(node *lab.Node, ready *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{"10.211.0.200"}, NodeName: &node.Name, Conditions: discoveryv1.EndpointConditions{Ready: ready}}
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "dns-1", Labels: map[string]string{discoveryv1.LabelServiceName: "dns"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{endpoint(l.Nodes[0], &yes), endpoint(l.Nodes[1], &no)},
	}
	l.Create(t, slice)
	awaitFrom(t, l, b, "203.0.113.53/32", l.Nodes[0])
	edit(t, l, slice, func(s *discoveryv1.EndpointSlice) {
		s.Endpoints = []discoveryv1.Endpoint{endpoint(l.Nodes[0], &no), endpoint(l.Nodes[1], &yes)}
	})
	awaitFrom(t, l, b, "203.0.113.53/32", l.Nodes[1])
	edit(t, l, slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = []discoveryv1.Endpoint{endpoint(l.Nodes[1], &no)} })
	awaitFrom(t, l, b, "203.0.113.53/32")
	edit(t, l, service, func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster })
	awaitFrom(t, l, b, "203.0.113.53/32", l.Nodes[0], l.Nodes[1])
}

// awaitFrom waits until BIRD has a prefix from these nodes and no others.
func awaitFrom(t *testing.T, l *lab.Lab, b *bird, prefix string, nodes ...*lab.Node) {
	t.Helper()
	var want []string
	for _, n := range nodes {
		want = append(want, n.V4.String())
	}
	l.Eventually(t, lab.Settle, fmt.Sprintf("BIRD has %s from %v", prefix, want), func() error {
		got, err := b.from(prefix)
		if err != nil && (len(want) > 0 || !strings.Contains(err.Error(), "not found")) {
			return err
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			return fmt.Errorf("it has it from %v", got)
		}
		return nil
	})
}
