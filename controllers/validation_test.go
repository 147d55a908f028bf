package controllers_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func TestPoolValidation(t *testing.T) {
	w := &world{T: t, ctx: t.Context(), Client: cluster.Client}
	w.wipe()
	size := func(n int32) *int32 { return &n }
	for _, c := range []struct {
		name string
		spec v1alpha1.IPPoolSpec
		want string // part of the error; empty where the pool is fine
	}{
		{"plain", v1alpha1.IPPoolSpec{CIDR: "10.211.0.0/16"}, ""},
		{"v6", v1alpha1.IPPoolSpec{CIDR: "fd00:10:211::/48"}, ""},
		{"single", v1alpha1.IPPoolSpec{CIDR: "10.1.0.0/24", BlockSize: size(32), Encapsulation: "None"}, ""},
		{"host bits", v1alpha1.IPPoolSpec{CIDR: "10.211.0.1/16"}, "canonical"},
		{"uppercase", v1alpha1.IPPoolSpec{CIDR: "FD00:10:211::/48"}, "canonical"},
		{"long form", v1alpha1.IPPoolSpec{CIDR: "fd00:10:211:0::/48"}, "canonical"},
		{"no cidr", v1alpha1.IPPoolSpec{CIDR: "10.211.0.0"}, "not a CIDR"},
		{"block too large", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/8", BlockSize: size(19)}, "blockSize must be"},
		{"block too small", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/8", BlockSize: size(33)}, "blockSize must be"},
		{"v6 block too large", v1alpha1.IPPoolSpec{CIDR: "fd00::/48", BlockSize: size(115)}, "blockSize must be"},
		{"block larger than the pool", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/28", BlockSize: size(26)}, "larger than its pool"},
		{"small pool without blockSize", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/28"}, "set blockSize"},
		{"IPIP with v6", v1alpha1.IPPoolSpec{CIDR: "fd00::/48", Encapsulation: "IPIPCrossSubnet"}, "IPIP carries IPv4 only"},
		{"single with a tunnel", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/24", BlockSize: size(32)}, "encapsulation None"},
		{"loopback", v1alpha1.IPPoolSpec{CIDR: "127.0.0.0/16"}, "unicast"},
		{"multicast", v1alpha1.IPPoolSpec{CIDR: "224.0.0.0/16"}, "unicast"},
		{"exceptions", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", NATOutgoing: true, NATOutgoingExcept: []string{"192.168.0.0/16", "10.9.0.1/32"}}, ""},
		{"v6 exceptions", v1alpha1.IPPoolSpec{CIDR: "fd00::/48", NATOutgoing: true, NATOutgoingExcept: []string{"fd01::1/64", "fd09::/32"}}, "canonical"},
		{"an exception of the other family", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", NATOutgoing: true, NATOutgoingExcept: []string{"fd09::/32"}}, "other family"},
		{"an exception with host bits", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", NATOutgoing: true, NATOutgoingExcept: []string{"192.168.0.1/16"}}, "canonical"},
		{"an exception that is an address", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", NATOutgoing: true, NATOutgoingExcept: []string{"192.168.0.1"}}, "not a CIDR"},
		{"an exception twice", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", NATOutgoing: true, NATOutgoingExcept: []string{"192.168.0.0/16", "192.168.0.0/16"}}, "Duplicate"},
		{"everything is an exception", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", NATOutgoing: true, NATOutgoingExcept: []string{"0.0.0.0/0"}}, "set natOutgoing to false"},
		{"exceptions from nothing", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", NATOutgoingExcept: []string{"192.168.0.0/16"}}, "natOutgoing is true"},
		{"limits", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", NamespaceLimits: []v1alpha1.NamespaceLimit{{Namespace: "a", Addresses: 5}, {Namespace: "*"}}}, ""},
		{"two limits of a namespace", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", NamespaceLimits: []v1alpha1.NamespaceLimit{{Namespace: "a"}, {Namespace: "a"}}}, "Duplicate"},
		{"a limit below nothing", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", NamespaceLimits: []v1alpha1.NamespaceLimit{{Namespace: "a", Addresses: -1}}}, "greater than or equal to 0"},
		{"a limit of no namespace", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", NamespaceLimits: []v1alpha1.NamespaceLimit{{Namespace: "team-*"}}}, "should match"},
		{"aggregation", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", Aggregation: &v1alpha1.Aggregation{TopologyKey: "topology.kubernetes.io/zone", PrefixLength: 20}}, ""},
		{"v6 aggregation", v1alpha1.IPPoolSpec{CIDR: "fd00::/48", Aggregation: &v1alpha1.Aggregation{TopologyKey: "rack", PrefixLength: 112}}, ""},
		{"aggregates of the pool's size", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", Aggregation: &v1alpha1.Aggregation{TopologyKey: "rack", PrefixLength: 16}}, "prefixLength must be more than that of cidr"},
		{"aggregates of a block's size", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", Aggregation: &v1alpha1.Aggregation{TopologyKey: "rack", PrefixLength: 26}}, "less than blockSize"},
		{"aggregation by no label", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", Aggregation: &v1alpha1.Aggregation{TopologyKey: "a rack", PrefixLength: 20}}, "should match"},
		{"unknown mode", v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16", Encapsulation: "GRE"}, "Unsupported value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Spec: c.spec}
			err := w.Create(w.ctx, p)
			if err == nil {
				defer func() { w.must(w.Delete(w.ctx, p)) }()
			}
			if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestImmutableFields(t *testing.T) {
	w := &world{T: t, ctx: t.Context(), Client: cluster.Client}
	w.wipe()
	p := w.pool("p", "10.0.0.0/16")
	twentySeven := int32(27)
	for _, change := range []func(*v1alpha1.IPPool){
		func(p *v1alpha1.IPPool) { p.Spec.CIDR = "10.1.0.0/16" },
		func(p *v1alpha1.IPPool) { p.Spec.BlockSize = &twentySeven },
	} {
		q := p.DeepCopy()
		change(q)
		if err := w.Update(w.ctx, q); err == nil || !strings.Contains(err.Error(), "can't be changed") {
			t.Errorf("%v", err)
		}
	}
	e := w.endpoint("e", "n1", "p", "10.0.0.1/32")
	e.Spec.Addresses = []string{"10.0.0.2/32"}
	if err := w.Update(w.ctx, e); err == nil || !strings.Contains(err.Error(), "can't be edited") {
		t.Errorf("%v", err)
	}
}
