package bgpstatus

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func node(name, rack string, sessions ...v1alpha1.BGPSessionStatus) v1alpha1.NodeNetwork {
	n := v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"rack": rack}}}
	n.Status.BGP = &v1alpha1.BGPStatus{Sessions: sessions}
	return n
}

func rack(values ...string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "rack", Operator: metav1.LabelSelectorOpIn, Values: values}}}
}

func peer(name string, change func(*v1alpha1.BGPPeerSpec)) v1alpha1.BGPPeer {
	p := v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}}
	change(&p.Spec)
	return p
}

func TestPeer(t *testing.T) {
	router := func(s *v1alpha1.BGPPeerSpec) { s.PeerIP = "10.0.0.1" }
	up := v1alpha1.BGPSessionStatus{Source: "BGPPeer/a", State: "Established"}
	down := v1alpha1.BGPSessionStatus{Source: "BGPPeer/a", Peer: "10.0.0.1", State: "Active", LastError: "connection refused"}
	for _, c := range []struct {
		name     string
		facts    Facts
		sessions string
		reason   string
		message  string
	}{
		{"up", Facts{Peers: []v1alpha1.BGPPeer{peer("a", router)}, Nodes: []v1alpha1.NodeNetwork{node("n1", "1", up), node("n2", "1", up)}}, "2/2", "SessionsEstablished", "2 of 2"},
		{"one down", Facts{Peers: []v1alpha1.BGPPeer{peer("a", router)}, Nodes: []v1alpha1.NodeNetwork{node("n1", "1", up), node("n2", "1", down)}}, "1/2", "SessionsDown", "n2 to 10.0.0.1: connection refused"},
		{"the same router twice", Facts{Peers: []v1alpha1.BGPPeer{peer("a", router), peer("b", router)}, Nodes: []v1alpha1.NodeNetwork{node("n1", "1")}}, "0/1", "DuplicatePeer", "BGPPeer b"},
		{"the same router from other nodes", Facts{Peers: []v1alpha1.BGPPeer{peer("a", func(s *v1alpha1.BGPPeerSpec) { router(s); s.NodeSelector = rack("1") }), peer("b", func(s *v1alpha1.BGPPeerSpec) { router(s); s.NodeSelector = rack("2") })},
			Nodes: []v1alpha1.NodeNetwork{node("n1", "1", up), node("n2", "2")}}, "1/1", "SessionsEstablished", "1 of 1"},
		{"no filter", Facts{Peers: []v1alpha1.BGPPeer{peer("a", func(s *v1alpha1.BGPPeerSpec) { router(s); s.Filters = []string{"f"} })}}, "0/0", "FilterMissing", "BGPFilter f"},
		{"route reflectors", Facts{Peers: []v1alpha1.BGPPeer{peer("a", func(s *v1alpha1.BGPPeerSpec) { s.PeerSelector = rack("rr") })},
			Nodes: []v1alpha1.NodeNetwork{node("n1", "1"), node("n2", "1"), node("r1", "rr"), node("r2", "rr")}}, "0/10", "SessionsDown", "0 of 10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.facts.Peer(&c.facts.Peers[0])
			ready := s.Conditions[0]
			if s.Sessions != c.sessions || ready.Reason != c.reason || !strings.Contains(ready.Message, c.message) {
				t.Errorf("%s %s %q, want %s %s %q", s.Sessions, ready.Reason, ready.Message, c.sessions, c.reason, c.message)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	n := func(i int32) *int32 { return &i }
	for _, c := range []struct {
		name string
		rule v1alpha1.BGPFilterRule
		more int
		want string
	}{
		{"fine", v1alpha1.BGPFilterRule{CIDR: "10.0.0.0/8", MatchOperator: "In", PrefixLength: &v1alpha1.PrefixLength{Min: n(24)}}, 1, ""},
		{"too long for IPv4", v1alpha1.BGPFilterRule{PrefixLength: &v1alpha1.PrefixLength{Min: n(33)}}, 0, "importV4[0] can't match"},
		{"equal but another length", v1alpha1.BGPFilterRule{CIDR: "10.0.0.0/8", MatchOperator: "Equal", PrefixLength: &v1alpha1.PrefixLength{Min: n(24)}}, 0, "is not from 24 to 32"},
		{"inside but shorter", v1alpha1.BGPFilterRule{CIDR: "10.0.0.0/16", MatchOperator: "In", PrefixLength: &v1alpha1.PrefixLength{Max: n(8)}}, 0, "longer than 8"},
		{"outside of everything", v1alpha1.BGPFilterRule{CIDR: "0.0.0.0/0", MatchOperator: "NotIn"}, 0, "every prefix"},
		{"never reached", v1alpha1.BGPFilterRule{}, 1, "never reached"},
		{"the last may match all", v1alpha1.BGPFilterRule{}, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := v1alpha1.BGPFilter{}
			b.Spec.ImportV4 = []v1alpha1.BGPFilterRule{c.rule}
			for range c.more {
				b.Spec.ImportV4 = append(b.Spec.ImportV4, v1alpha1.BGPFilterRule{CIDR: "10.0.0.0/8", MatchOperator: "Equal"})
			}
			got := Facts{}.Filter(&b).Conditions[0]
			if (got.Status == metav1.ConditionTrue) != (c.want == "") || !strings.Contains(got.Message, c.want) {
				t.Errorf("%s %q, want %q", got.Status, got.Message, c.want)
			}
		})
	}
}
