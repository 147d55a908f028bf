package tools_test

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

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
		await(t, l, 0, []string{"trace", "pod-0", to, "--observe"}, "NAT: source "+pods[0].V4().String()+" became "+l.Nodes[0].V4.String(), "Answered",
			"From node node1 on the packet has the source "+l.Nodes[0].V4.String())
	})
	t.Run("a Service", func(t *testing.T) { observeService(t, l, pods) })
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

// observeService follows a connection to a Service before and after its destination is rewritten. A rule of the test does what
// kube-proxy's does: it sends all to pod-2.
func observeService(t *testing.T, l *lab.Lab, pods []*lab.Pod) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"}, Spec: corev1.ServiceSpec{
		Ports: []corev1.ServicePort{{Port: 5432, TargetPort: intstr.FromInt32(lab.StreamPort)}}}}
	l.Create(t, service)
	port, name, protocol := int32(lab.StreamPort), "", corev1.ProtocolTCP
	slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4,
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db", Labels: map[string]string{discoveryv1.LabelServiceName: "db"}},
		Ports:      []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}}}
	for _, p := range pods[1:] {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{p.V4().String()}})
	}
	l.Create(t, slice)
	before := netip.AddrPortFrom(netip.MustParseAddr(service.Spec.ClusterIP), 5432)
	after := netip.AddrPortFrom(pods[2].V4(), lab.StreamPort)
	rule := fmt.Sprintf("nft 'table ip proxy { chain nat { type nat hook prerouting priority -100; ip daddr %s tcp dport %d dnat to %s; }; }'", before.Addr(), before.Port(), after)
	if out, err := l.Nodes[0].Run(t.Context(), "sh", "-ec", rule); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	server, err := l.ServeStreams(t.Context(), pods[2])
	must(t, err)
	stream, err := l.StartStream(t.Context(), pods[0], before.Addr(), "--to="+before.String())
	must(t, err)
	await(t, l, 0, []string{"trace", "pod-0", "svc/db", "--observe"}, "NAT: destination "+before.String()+" became "+after.String(), "in VXLAN",
		"NAT: source "+after.String()+" became "+before.String(), "Answered at node node3",
		"Service default/db forwarded the packet to "+after.String()+", pod default/pod-2 on node node3.")
	planted(t, l, l.Nodes[2], "nft add table inet foreign; nft 'add chain inet foreign f { type filter hook forward priority 0; }'; nft add rule inet foreign f ip daddr "+pods[2].V4().String()+" drop",
		"nft delete table inet foreign", []string{"pod-0", "svc/default/db:5432", "--observe"}, "Dropped at node node3 (Firewall)", "table inet foreign, chain f")
	if report, err := stream.Stop(); err != nil {
		t.Errorf("%v: %+v", err, report)
	}
	_ = server.Signal(syscall.SIGTERM) // another test listens there too
	_ = server.Wait()                  // it was told to
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
