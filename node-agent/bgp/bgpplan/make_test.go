package bgpplan

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/bgpcheck"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

func ptr[T any](v T) *T { return &v }

// nodeNetwork makes a node: addresses with prefix lengths, labels as k=v.
func nodeNetwork(name string, addrs []string, labels ...string) v1alpha1.NodeNetwork {
	nn := v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		nn.Labels[k] = v
	}
	for _, a := range addrs {
		p := netip.MustParsePrefix(a)
		nn.Status.Addresses = append(nn.Status.Addresses, v1alpha1.NodeAddress{Address: p.Addr().String(), Subnet: p.Masked().String(), Interface: "eth0"})
	}
	return nn
}

func threeNodes() Input {
	return Input{
		Node: "a",
		NodeNetworks: []v1alpha1.NodeNetwork{
			nodeNetwork("a", []string{"10.0.0.1/24", "2001:db8::1/64"}, "rack=1"),
			nodeNetwork("b", []string{"10.0.0.2/24", "2001:db8::2/64"}, "rack=1"),
			nodeNetwork("c", []string{"10.0.9.3/24"}, "rack=2"),
		},
	}
}

func bgpPeer(name string, age int, change func(*v1alpha1.BGPPeerSpec)) v1alpha1.BGPPeer {
	p := v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1000-int64(age), 0))}}
	change(&p.Spec)
	return p
}

func router(ip string, as int64) func(*v1alpha1.BGPPeerSpec) {
	return func(s *v1alpha1.BGPPeerSpec) { s.PeerIP, s.ASNumber = ip, &as }
}

func labelled(kv string) *metav1.LabelSelector {
	k, v, _ := strings.Cut(kv, "=")
	return &metav1.LabelSelector{MatchLabels: map[string]string{k: v}}
}

// reflectorNode gives a node a cluster id, nodeAS an AS number, by an entry of the BGPConfiguration.
func reflectorNode(in *Input, i int) {
	set(in, i, v1alpha1.BGPNodeSettings{RouteReflectorClusterID: "224.0.0.1"})
}

func nodeAS(in *Input, i int, as int64) { set(in, i, v1alpha1.BGPNodeSettings{ASNumber: &as}) }

func set(in *Input, i int, s v1alpha1.BGPNodeSettings) {
	if in.Configuration == nil {
		in.Configuration = &v1alpha1.BGPConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	}
	s.NodeSelector = labelled("name=" + in.NodeNetworks[i].Name)
	in.Configuration.Spec.Nodes = append(in.Configuration.Spec.Nodes, s)
}

func mesh() *v1alpha1.BGPConfiguration {
	c := &v1alpha1.BGPConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	c.Spec.NodeToNodeMesh.Enabled = true
	return c
}

// short prints sessions: peer, AS, source and what is not as by default.
func short(p Plan) (list []string) {
	for _, s := range p.Sessions {
		text := fmt.Sprintf("%s AS%d %s", s.Peer, s.PeerAS, s.Source)
		if s.ClusterID.IsValid() {
			text += " client"
		}
		if s.Password != "" {
			text += " " + string(s.Password)
		}
		list = append(list, text)
	}
	return list
}

func TestSessions(t *testing.T) {
	reflectors := func(self string) func(*Input) {
		return func(in *Input) {
			in.Node = self
			reflectorNode(in, 0)
			in.NodeNetworks[0].Labels["rr"] = "true"
			reflectorNode(in, 1)
			in.NodeNetworks[1].Labels["rr"] = "true"
			in.Peers = []v1alpha1.BGPPeer{bgpPeer("rr", 1, func(s *v1alpha1.BGPPeerSpec) { s.PeerSelector = labelled("rr=true") })}
		}
	}
	for name, c := range map[string]struct {
		change   func(*Input)
		want     []string
		problems []string
	}{
		"nothing configured": {change: func(*Input) {}},
		"mesh": {
			change: func(in *Input) { in.Configuration = mesh() },
			want:   []string{"10.0.0.2 AS64512 NodeToNodeMesh", "10.0.9.3 AS64512 NodeToNodeMesh"},
		},
		"mesh of nodes with AS numbers of their own": {
			change: func(in *Input) {
				in.Configuration = mesh()
				in.Configuration.Spec.ASNumber = 4200000000
				nodeAS(in, 1, 65002)
			},
			want: []string{"10.0.0.2 AS65002 NodeToNodeMesh", "10.0.9.3 AS4200000000 NodeToNodeMesh"},
		},
		"a router for all nodes": {
			change: func(in *Input) { in.Peers = []v1alpha1.BGPPeer{bgpPeer("tor", 1, router("192.0.2.1", 65001))} },
			want:   []string{"192.0.2.1 AS65001 BGPPeer/tor"},
		},
		"a router for other nodes": {
			change: func(in *Input) {
				in.Peers = []v1alpha1.BGPPeer{bgpPeer("tor", 1, func(s *v1alpha1.BGPPeerSpec) {
					router("192.0.2.1", 65001)(s)
					s.NodeSelector = labelled("rack=2")
				})}
			},
		},
		"an explicit peer wins over the mesh": {
			change: func(in *Input) {
				in.Configuration = mesh()
				in.Peers = []v1alpha1.BGPPeer{bgpPeer("b", 1, router("10.0.0.2", 64512))}
			},
			want: []string{"10.0.0.2 AS64512 BGPPeer/b", "10.0.9.3 AS64512 NodeToNodeMesh"},
		},
		"the older of two has the address": {
			change: func(in *Input) {
				in.Peers = []v1alpha1.BGPPeer{bgpPeer("young", 1, router("192.0.2.1", 65001)), bgpPeer("old", 9, router("192.0.2.1", 65002))}
			},
			want: []string{"192.0.2.1 AS65002 BGPPeer/old"}, problems: []string{"BGPPeer/young DuplicatePeer"},
		},
		"a node that selects its peers": {
			change: func(in *Input) {
				in.Peers = []v1alpha1.BGPPeer{bgpPeer("p", 1, func(s *v1alpha1.BGPPeerSpec) {
					s.NodeSelector, s.PeerSelector = labelled("name=a"), labelled("rack=2")
				})}
			},
			want: []string{"10.0.9.3 AS64512 BGPPeer/p"},
		},
		"a node that is selected as a peer": {
			change: func(in *Input) {
				in.Node = "c"
				in.Peers = []v1alpha1.BGPPeer{bgpPeer("p", 1, func(s *v1alpha1.BGPPeerSpec) {
					s.NodeSelector, s.PeerSelector = labelled("name=a"), labelled("rack=2")
				})}
			},
			want: []string{"10.0.0.1 AS64512 BGPPeer/p"},
		},
		"a reflector": {
			change: reflectors("a"), want: []string{"10.0.0.2 AS64512 BGPPeer/rr", "10.0.9.3 AS64512 BGPPeer/rr client"},
		},
		"a reflector's client": {
			change: reflectors("c"), want: []string{"10.0.0.1 AS64512 BGPPeer/rr", "10.0.0.2 AS64512 BGPPeer/rr"},
		},
		"selectors that match nothing": {
			change: func(in *Input) {
				in.Peers = []v1alpha1.BGPPeer{
					bgpPeer("p", 1, func(s *v1alpha1.BGPPeerSpec) { s.PeerSelector = labelled("rack=9") }),
					bgpPeer("n", 1, func(s *v1alpha1.BGPPeerSpec) {
						router("192.0.2.1", 65001)(s)
						s.NodeSelector = labelled("rack=9")
					}),
				}
			},
			problems: []string{"BGPPeer/n NoNodeSelected", "BGPPeer/p NoPeerSelected"},
		},
		"passwords": {
			change: func(in *Input) {
				in.Passwords = Passwords{"s": {"good": "secret", "empty": "", "long": strings.Repeat("x", 81)}}
				for i, key := range []string{"good", "empty", "long", "missing"} {
					in.Peers = append(in.Peers, bgpPeer(key, 1, func(s *v1alpha1.BGPPeerSpec) {
						router(fmt.Sprintf("192.0.2.%d", i+1), 65001)(s)
						s.Password = &v1alpha1.BGPPassword{SecretKeyRef: corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: key}}
					}))
				}
			},
			want:     []string{"192.0.2.1 AS65001 BGPPeer/good secret"},
			problems: []string{"BGPPeer/empty PasswordEmpty", "BGPPeer/long PasswordTooLong", "BGPPeer/missing SecretKeyNotFound"},
		},
		"a filter that is missing": {
			change: func(in *Input) {
				in.Peers = []v1alpha1.BGPPeer{bgpPeer("p", 1, func(s *v1alpha1.BGPPeerSpec) {
					router("192.0.2.1", 65001)(s)
					s.Filters = []string{"nope"}
				})}
			},
			problems: []string{"BGPPeer/p FilterNotFound"},
		},
		"an IPv6 router and no IPv6 address": {
			change: func(in *Input) {
				in.Node = "c"
				in.Peers = []v1alpha1.BGPPeer{bgpPeer("p", 1, router("2001:db8::99", 65001))}
			},
			problems: []string{"BGPPeer/p NoSourceAddress"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := threeNodes()
			c.change(&in)
			p := Make(in)
			if got := short(p); !slices.Equal(got, c.want) {
				t.Errorf("sessions are\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			var problems []string
			for _, pr := range p.Problems {
				problems = append(problems, pr.Kind+"/"+pr.Name+" "+pr.Reason)
				if !strings.HasSuffix(pr.Message, ".") {
					t.Errorf("not a sentence: %q", pr.Message)
				}
			}
			if !slices.Equal(problems, c.problems) {
				t.Errorf("problems are %q, not %q", p.Problems, c.problems)
			}
			if !reflect.DeepEqual(p, Make(in)) {
				t.Error("the same input gives another plan")
			}
			if p.Global.Listen != (len(p.Sessions) > 0) {
				t.Error("listening without need, or the other way round")
			}
		})
	}
}

// TestSettingsOfNodes has several entries choose the same node: each setting is the first one's that has it.
func TestSettingsOfNodes(t *testing.T) {
	entry := func(selector *metav1.LabelSelector, as int64, id string) v1alpha1.BGPNodeSettings {
		s := v1alpha1.BGPNodeSettings{NodeSelector: selector, RouteReflectorClusterID: id}
		if as != 0 {
			s.ASNumber = &as
		}
		return s
	}
	wrong := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "rack", Operator: "Near"}}}
	in := threeNodes()
	in.Configuration = mesh()
	in.Configuration.Spec.ASNumber = 65000
	in.Configuration.Spec.Nodes = []v1alpha1.BGPNodeSettings{
		entry(wrong, 1, "9.9.9.9"), entry(labelled("name=b"), 0, "1.1.1.1"), entry(labelled("rack=1"), 65001, "2.2.2.2"),
		entry(labelled("rack=1"), 65002, ""), entry(nil, 0, "3.3.3.3"),
	}
	got := map[string]string{}
	for _, self := range []string{"a", "b", "c"} {
		in.Node = self
		p := Make(in)
		if len(p.Problems) != 1 || p.Problems[0].Reason != bgpcheck.InvalidSelector || p.Problems[0].Kind != "BGPConfiguration" {
			t.Errorf("problems are %+v", p.Problems)
		}
		s := newSettings(&in.Configuration.Spec)
		for _, n := range in.NodeNetworks {
			if n.Name == self {
				as, id := s.of(n.Labels)
				got[self] = fmt.Sprint(as, " ", id)
				if p.Global.AS != as {
					t.Errorf("%s has AS %d, not %d", self, p.Global.AS, as)
				}
			}
		}
	}
	for node, want := range map[string]string{"a": "65001 2.2.2.2", "b": "65001 1.1.1.1", "c": "65000 3.3.3.3"} {
		if got[node] != want {
			t.Errorf("%s has %s, not %s", node, got[node], want)
		}
	}
}

func TestSessionOptions(t *testing.T) {
	in := threeNodes()
	in.Peers = []v1alpha1.BGPPeer{bgpPeer("p", 1, func(s *v1alpha1.BGPPeerSpec) {
		router("192.0.2.1", 65001)(s)
		s.LocalASNumber, s.Port, s.TTLSecurity = ptr(int64(65100)), 1790, ptr(int32(2))
		s.HoldTime, s.MaxRestartTime = &metav1.Duration{Duration: 9 * time.Second}, &metav1.Duration{}
		s.NumAllowedLocalASNumbers, s.KeepOriginalNextHop, s.ReachableBy = ptr(int32(1)), true, "10.0.0.254"
	})}
	p := Make(in)
	want := []Session{{
		Peer: netip.MustParseAddr("192.0.2.1"), PeerAS: 65001, LocalAS: 65100, Port: 1790, Source: "BGPPeer/p",
		SourceAddress: netip.MustParseAddr("10.0.0.1"), OtherAddress: netip.MustParseAddr("2001:db8::1"), TTLSecurity: 2, IPv4: true, IPv6: true,
		HoldTime: 9 * time.Second, KeepaliveTime: 3 * time.Second, AllowOwnAS: 1, NextHop: NextHopKeep,
	}}
	if !reflect.DeepEqual(p.Sessions, want) {
		t.Errorf("got  %+v\nwant %+v", p.Sessions, want)
	}
	if want := []plan.PeerRoute{{Peer: netip.MustParseAddr("192.0.2.1"), Via: netip.MustParseAddr("10.0.0.254")}}; !slices.Equal(p.PeerRoutes, want) {
		t.Errorf("peer routes are %v", p.PeerRoutes)
	}
	if text := fmt.Sprintf("%v %+v", Session{Password: "secret"}, Session{Password: "secret"}); strings.Contains(text, "secret") {
		t.Errorf("a printed plan shows the password: %s", text)
	}
}

func TestSourceAddress(t *testing.T) {
	for mode, want := range map[v1alpha1.SourceAddressMode]netip.Addr{
		"": netip.MustParseAddr("10.0.0.1"), v1alpha1.SourceAddressNodeIP: netip.MustParseAddr("10.0.0.1"), v1alpha1.SourceAddressNone: {},
	} {
		in := threeNodes()
		in.Peers = []v1alpha1.BGPPeer{bgpPeer("p", 1, func(s *v1alpha1.BGPPeerSpec) {
			router("192.0.2.1", 65001)(s)
			s.SourceAddress = mode
		})}
		if sessions := Make(in).Sessions; len(sessions) != 1 || sessions[0].SourceAddress != want {
			t.Errorf("sourceAddress %q: sessions are %+v", mode, sessions)
		}
	}
}

// TestOtherAddress looks at the node's address of the family that the session's transport is not of.
func TestOtherAddress(t *testing.T) {
	for _, c := range []struct{ node, peer, want string }{
		{"a", "192.0.2.1", "2001:db8::1"}, {"a", "2001:db8::99", "10.0.0.1"}, {"c", "192.0.2.1", "invalid IP"},
	} {
		in := threeNodes()
		in.Node, in.Peers = c.node, []v1alpha1.BGPPeer{bgpPeer("p", 1, router(c.peer, 65001))}
		sessions := Make(in).Sessions
		if len(sessions) != 1 || sessions[0].OtherAddress.String() != c.want {
			t.Fatalf("%+v: sessions are %+v", c, sessions)
		}
		if s := sessions[0]; s.OtherAddress.IsValid() != (s.IPv4 && s.IPv6) {
			t.Errorf("%+v: the session carries IPv4: %v, IPv6: %v", c, s.IPv4, s.IPv6)
		}
	}
}

func TestAnnouncements(t *testing.T) {
	block := func(cidr, pool string) Block { return Block{CIDR: netip.MustParsePrefix(cidr), Pool: pool} }
	in := threeNodes()
	in.Configuration = mesh()
	in.Configuration.Spec.PrefixAdvertisements = []v1alpha1.PrefixAdvertisement{
		{CIDR: "10.211.0.0/16", Communities: []v1alpha1.Community{"64512:100", "64512:1:2", "64512:100"}},
		{CIDR: "10.211.0.0/26", Communities: []v1alpha1.Community{"64512:7"}},
	}
	in.Configuration.Spec.ServiceClusterIPs = []v1alpha1.ServiceCIDR{{CIDR: "10.96.0.0/16"}}
	in.Configuration.Spec.ServiceExternalIPs = []v1alpha1.ServiceCIDR{{CIDR: "203.0.113.0/24"}}
	in.Configuration.Spec.ServiceLoadBalancerIPs = []v1alpha1.ServiceCIDR{{CIDR: "198.51.100.0/24"}}
	in.Pools = []Pool{
		{Name: "pods", CIDR: netip.MustParsePrefix("10.211.0.0/16"), Export: true}, {Name: "quiet", CIDR: netip.MustParsePrefix("10.212.0.0/16")},
	}
	in.Blocks = []Block{
		block("10.211.0.0/26", "pods"), block("10.211.0.64/26", "pods"), block("10.211.0.0/26", "pods"), block("10.212.0.0/26", "quiet"),
	}
	in.PodAddresses = []PodAddress{
		{netip.MustParseAddr("10.211.0.5"), "pods"}, {netip.MustParseAddr("10.211.1.9"), "pods"}, {netip.MustParseAddr("10.212.9.9"), "quiet"},
	}
	service := func(name string, local bool, cluster, external, balancer string) corev1.Service {
		s := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
		s.Spec.ClusterIPs, s.Spec.ExternalIPs = []string{cluster}, []string{external}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: balancer}, {Hostname: "x.example"}}
		if local {
			s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		}
		return s
	}
	in.Services = []corev1.Service{
		service("cluster", false, "10.96.0.1", "203.0.113.1", "198.51.100.1"), service("here", true, "10.96.0.2", "203.0.113.2", "198.51.100.2"),
		service("there", true, "10.96.0.3", "203.0.113.3", "198.51.100.3"), service("headless", false, "None", "192.0.2.55", ""),
	}
	slice := func(service, node string, ready bool) discoveryv1.EndpointSlice {
		return discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			Endpoints:  []discoveryv1.Endpoint{{NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		}
	}
	in.EndpointSlices = []discoveryv1.EndpointSlice{slice("here", "a", true), slice("there", "b", true), slice("there", "a", false)}

	var got []string
	for _, a := range Make(in).Announcements {
		got = append(got, strings.TrimSpace(fmt.Sprint(a.Prefix, " ", a.Source, " ", strings.Join(append(a.Communities, a.LargeCommunities...), " "))))
	}
	want := []string{
		"10.96.0.0/16 Service", "10.96.0.2/32 Service",
		"10.211.0.0/26 Block 64512:100 64512:7 64512:1:2", "10.211.0.64/26 Block 64512:100 64512:1:2",
		"10.211.1.9/32 Address 64512:100 64512:1:2",
		"198.51.100.1/32 Service", "198.51.100.2/32 Service", "203.0.113.1/32 Service", "203.0.113.2/32 Service",
	}
	if !slices.Equal(got, want) {
		t.Errorf("announced:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	in.Draining = true
	if p := Make(in); len(p.Announcements) != 0 || len(p.Sessions) != 2 {
		t.Errorf("a drained node announces %v over %d sessions", p.Announcements, len(p.Sessions))
	}
}

func TestRouterIDWithoutIPv4(t *testing.T) {
	in := Input{Node: "six", NodeNetworks: []v1alpha1.NodeNetwork{nodeNetwork("six", []string{"2001:db8::6/64"})}}
	if id := Make(in).Global.RouterID; !id.Is4() || !netip.MustParsePrefix("240.0.0.0/4").Contains(id) {
		t.Errorf("router id is %s", id)
	}
}
