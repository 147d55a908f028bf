package route

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func TestWhatPeopleType(t *testing.T) {
	for _, c := range []struct {
		from, to, protocol string
		want               v1alpha1.PathTraceSpec
		namespace, refused string
	}{
		{"web", "db", "", v1alpha1.PathTraceSpec{SourcePod: "web", Destination: v1alpha1.PathDestination{Pod: "db"}, Protocol: "ICMP"}, "default", ""},
		{"shop/web", "shop/db:5432", "", v1alpha1.PathTraceSpec{SourcePod: "web", Destination: v1alpha1.PathDestination{Pod: "db"}, Protocol: "TCP", Port: 5432}, "shop", ""},
		{"web", "svc/db:53", "udp", v1alpha1.PathTraceSpec{SourcePod: "web", Destination: v1alpha1.PathDestination{Service: "db", ServiceNamespace: "default"}, Protocol: "UDP", Port: 53}, "default", ""},
		{"web", "svc/shop/db:80", "", v1alpha1.PathTraceSpec{SourcePod: "web", Destination: v1alpha1.PathDestination{Service: "db", ServiceNamespace: "shop"}, Protocol: "TCP", Port: 80}, "default", ""},
		{"web", "svc/db.shop", "", v1alpha1.PathTraceSpec{SourcePod: "web", Destination: v1alpha1.PathDestination{Service: "db", ServiceNamespace: "shop"}, Protocol: "ICMP"}, "default", ""},
		{"web", "fd00::1", "", v1alpha1.PathTraceSpec{SourcePod: "web", Destination: v1alpha1.PathDestination{Address: "fd00::1"}, Protocol: "ICMP"}, "default", ""},
		{"web", "[fd00::1]:80", "", v1alpha1.PathTraceSpec{SourcePod: "web", Destination: v1alpha1.PathDestination{Address: "fd00::1"}, Protocol: "TCP", Port: 80}, "default", ""},
		{from: "web", to: "db", protocol: "tcp", refused: "needs a port"},
		{from: "web", to: "db:80", protocol: "icmp", refused: "no ports"},
		{from: "web", to: "db:http", refused: "is no port"},
		{from: "web", to: "db:0", refused: "is no port"},
		{from: "web", to: "db", protocol: "sctp", refused: "use icmp, tcp or udp"},
		{from: "web", to: "shop/db", refused: "name it by its address"},
	} {
		got, err := Ask{Protocol: c.protocol}.Object(c.from, c.to, "default")
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s to %s: %v, want %q", c.from, c.to, err, c.refused)
			}
			continue
		}
		if err != nil || got.Spec != c.want || got.Namespace != c.namespace {
			t.Errorf("%s to %s: %+v (%v), want %+v", c.from, c.to, got, err, c.want)
		}
	}
}

func TestAServiceWithOnePortNeedsNoPort(t *testing.T) {
	tcp := corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolTCP}
	udp := corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP}
	for _, c := range []struct {
		ports    []corev1.ServicePort
		protocol string
		want     corev1.ServicePort
		refused  string
	}{
		{ports: []corev1.ServicePort{udp}, want: udp},
		{ports: []corev1.ServicePort{tcp, udp}, protocol: "udp", want: udp},
		{ports: []corev1.ServicePort{tcp, udp}, refused: ":53 --protocol=tcp, :53 --protocol=udp"},
		{ports: []corev1.ServicePort{tcp}, protocol: "udp", refused: "no port for udp"},
		{ports: []corev1.ServicePort{tcp}, protocol: "icmp", refused: "no port for icmp"},
	} {
		got, err := OnlyPort(c.ports, c.protocol)
		if c.refused == "" && (err != nil || got != c.want) || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%v for %q: %v, %v", c.ports, c.protocol, got, err)
		}
	}
}
