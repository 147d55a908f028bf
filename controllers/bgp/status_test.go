package bgp

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/bgpcheck"
)

// report is what a node says of one BGPPeer's sessions.
func report(node, source string, expected, established int32, sessions ...v1alpha1.BGPSessionStatus) v1alpha1.BGPNodeState {
	r := v1alpha1.BGPNodeState{ObjectMeta: metav1.ObjectMeta{Name: node}}
	r.Status.Sources = []v1alpha1.BGPSourceStatus{{Source: "NodeToNodeMesh", Expected: 9, Established: 3}, {Source: source, Expected: expected, Established: established}}
	r.Status.Sessions = sessions
	return r
}

func racks(values ...string) (out []labels.Set) {
	for _, v := range values {
		out = append(out, labels.Set{"rack": v})
	}
	return out
}

func rack(values ...string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "rack", Operator: metav1.LabelSelectorOpIn, Values: values}}}
}

// peer makes a BGPPeer of an age in seconds.
func peer(name string, age int, change func(*v1alpha1.BGPPeerSpec)) v1alpha1.BGPPeer {
	p := v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0))}}
	change(&p.Spec)
	return p
}

func TestPeer(t *testing.T) {
	as := int64(65001)
	router := func(s *v1alpha1.BGPPeerSpec) { s.PeerIP, s.ASNumber = "10.0.0.1", &as }
	with := func(change func(*v1alpha1.BGPPeerSpec)) []v1alpha1.BGPPeer {
		return []v1alpha1.BGPPeer{peer("a", 1, func(s *v1alpha1.BGPPeerSpec) { router(s); change(s) })}
	}
	plain := with(func(*v1alpha1.BGPPeerSpec) {})
	secret := &v1alpha1.BGPPassword{SecretKeyRef: corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"}}
	withSecret := with(func(s *v1alpha1.BGPPeerSpec) { s.Password = secret })
	down := v1alpha1.BGPSessionStatus{Source: "BGPPeer/a", Peer: "10.0.0.1", State: "Active", LastError: "connection refused."}
	invalid := &v1alpha1.BGPFilter{Spec: v1alpha1.BGPFilterSpec{ImportV4: []v1alpha1.BGPFilterRule{{Action: "Accept", CIDR: "::/0", MatchOperator: "In"}}}}
	for _, c := range []struct {
		name     string
		facts    facts
		sessions string
		reason   string
		message  string
		extra    string // the other condition
	}{
		{"up", facts{peers: plain, nodes: racks("1", "1"), reports: []v1alpha1.BGPNodeState{report("n1", "BGPPeer/a", 1, 1), report("n2", "BGPPeer/a", 1, 1)}},
			"2/2", "SessionsEstablished", "2 of 2", ""},
		{"new", facts{peers: plain, nodes: racks("1", "1"), reports: []v1alpha1.BGPNodeState{report("n1", "BGPPeer/b", 1, 1)}},
			"0/2", "SessionsDown", "0 of 2", "Reconciling"},
		{"one down", facts{peers: plain, nodes: racks("1", "1"), reports: []v1alpha1.BGPNodeState{report("n1", "BGPPeer/a", 1, 1), report("n2", "BGPPeer/a", 1, 0, down)}},
			"1/2", "SessionsDown", "n2 to 10.0.0.1: connection refused", ""},
		{"more than the detail shows", facts{peers: plain, nodes: racks("1"), reports: []v1alpha1.BGPNodeState{report("n1", "BGPPeer/a", 4000, 3999)}},
			"3999/4000", "SessionsDown", "3999 of 4000", "Reconciling"},
		{"the younger of two", facts{peers: []v1alpha1.BGPPeer{plain[0], peer("b", 9, router)}, nodes: racks("1")}, "0/1", bgpcheck.DuplicatePeer, "BGPPeer/b", "Stalled"},
		{"the older of two", facts{peers: []v1alpha1.BGPPeer{plain[0], peer("b", 0, router)}, nodes: racks("1")}, "0/1", "SessionsDown", "", "Reconciling"},
		{"the same router from other nodes", facts{peers: []v1alpha1.BGPPeer{
			with(func(s *v1alpha1.BGPPeerSpec) { s.NodeSelector = rack("1") })[0],
			peer("b", 9, func(s *v1alpha1.BGPPeerSpec) { router(s); s.NodeSelector = rack("2") })},
			nodes: racks("1", "2"), reports: []v1alpha1.BGPNodeState{report("n1", "BGPPeer/a", 1, 1)}}, "1/1", "SessionsEstablished", "1 of 1", ""},
		{"no filter", facts{peers: with(func(s *v1alpha1.BGPPeerSpec) { s.Filters = []string{"f"} }), nodes: racks("1")}, "0/1", bgpcheck.FilterNotFound, `BGPFilter "f"`, "Stalled"},
		{"an invalid filter", facts{peers: with(func(s *v1alpha1.BGPPeerSpec) { s.Filters = []string{"f"} }), filters: map[string]*v1alpha1.BGPFilter{"f": invalid}, nodes: racks("1")},
			"0/1", bgpcheck.InvalidFilter, "Rule 1 of importV4", "Stalled"},
		{"no Secret", facts{peers: withSecret, nodes: racks("1")}, "0/1", bgpcheck.SecretNotFound, "create Secret causeway-bgp/s", "Stalled"},
		{"no key", facts{peers: withSecret, nodes: racks("1"), secrets: bgpcheck.Secrets{"s": {}}}, "0/1", bgpcheck.SecretKeyNotFound, "add the key", "Stalled"},
		{"empty", facts{peers: withSecret, nodes: racks("1"), secrets: bgpcheck.Secrets{"s": {"k": 0}}}, "0/1", bgpcheck.PasswordEmpty, "is empty", "Stalled"},
		{"too long", facts{peers: withSecret, nodes: racks("1"), secrets: bgpcheck.Secrets{"s": {"k": 81}}}, "0/1", bgpcheck.PasswordTooLong, "at most 80", "Stalled"},
		{"a password", facts{peers: withSecret, nodes: racks("1"), secrets: bgpcheck.Secrets{"s": {"k": 80}}}, "0/1", "SessionsDown", "", "Reconciling"},
		{"no nodes", facts{peers: plain}, "0/0", bgpcheck.NoNodeSelected, "label a node", "Reconciling"},
		{"a contradiction", facts{peers: with(func(s *v1alpha1.BGPPeerSpec) { one := int32(1); s.TTLSecurity, s.EBGPMultihop = &one, &one }), nodes: racks("1")},
			"0/1", bgpcheck.Contradiction, "remove one", "Stalled"},
		{"route reflectors", facts{peers: []v1alpha1.BGPPeer{peer("a", 1, func(s *v1alpha1.BGPPeerSpec) { s.PeerSelector = rack("rr") })}, nodes: racks("1", "1", "rr", "rr")},
			"0/10", "SessionsDown", "0 of 10", "Reconciling"},
		{"a reflector alone", facts{peers: []v1alpha1.BGPPeer{peer("a", 1, func(s *v1alpha1.BGPPeerSpec) { s.PeerSelector = rack("rr") })}, nodes: racks("rr")},
			"0/0", bgpcheck.NoPeerSelected, "no two nodes", "Reconciling"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := &c.facts.peers[0]
			before.Status.Conditions = []metav1.Condition{{Type: "Stalled", Status: "True"}, {Type: "Reconciling", Status: "True"}}
			s := c.facts.peer(before)
			ready := s.Conditions[0]
			if s.Sessions != c.sessions || ready.Reason != c.reason || !strings.Contains(ready.Message, c.message) || !strings.HasSuffix(ready.Message, ".") {
				t.Errorf("%s %s %q, want %s %s %q", s.Sessions, ready.Reason, ready.Message, c.sessions, c.reason, c.message)
			}
			for _, kind := range []string{"Reconciling", "Stalled"} {
				if meta.IsStatusConditionTrue(s.Conditions, kind) != (kind == c.extra) {
					t.Errorf("conditions are %+v, want %q besides Ready", s.Conditions, c.extra)
				}
			}
			if again := c.facts.peer(&v1alpha1.BGPPeer{ObjectMeta: before.ObjectMeta, Spec: before.Spec, Status: s}); again.Conditions[0] != ready {
				t.Error("the second time the status is another")
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
		{"too long for IPv4", v1alpha1.BGPFilterRule{PrefixLength: &v1alpha1.PrefixLength{Min: n(33)}}, 0, "Rule 1 of importV4 has a prefixLength"},
		{"equal but another length", v1alpha1.BGPFilterRule{CIDR: "10.0.0.0/8", MatchOperator: "Equal", PrefixLength: &v1alpha1.PrefixLength{Min: n(24)}}, 0, "24 to 32 bits"},
		{"outside of everything", v1alpha1.BGPFilterRule{CIDR: "0.0.0.0/0", MatchOperator: "NotIn"}, 0, "matches nothing"},
		{"never reached", v1alpha1.BGPFilterRule{}, 1, "never reached"},
		{"the last may match all", v1alpha1.BGPFilterRule{}, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := v1alpha1.BGPFilter{}
			c.rule.Action = v1alpha1.FilterAccept
			b.Spec.ImportV4 = []v1alpha1.BGPFilterRule{c.rule}
			for range c.more {
				b.Spec.ImportV4 = append(b.Spec.ImportV4, v1alpha1.BGPFilterRule{Action: v1alpha1.FilterReject, CIDR: "10.0.0.0/8", MatchOperator: "Equal"})
			}
			conditions := (&facts{}).filter(&b).Conditions
			got := conditions[0]
			if (got.Status == metav1.ConditionTrue) != (c.want == "") || !strings.Contains(got.Message, c.want) {
				t.Errorf("%s %q, want %q", got.Status, got.Message, c.want)
			}
			if meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled) != (c.want != "") {
				t.Errorf("conditions are %+v", conditions)
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	c := v1alpha1.BGPConfiguration{}
	if got := (&facts{}).configuration(&c).Conditions; got[0].Status != metav1.ConditionTrue || len(got) != 1 {
		t.Errorf("conditions of an empty one are %+v", got)
	}
	c.Spec.Nodes = []v1alpha1.BGPNodeSettings{{NodeSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}}}
	c.Spec.ListenAddresses = []string{"nonsense"}
	got := (&facts{}).configuration(&c).Conditions
	if got[0].Reason != bgpcheck.InvalidSelector || !strings.HasPrefix(got[0].Message, "nodes[0].nodeSelector") || !strings.HasSuffix(got[0].Message, "There are 1 more problems.") {
		t.Errorf("conditions are %+v", got)
	}
}

// TestChangedPeers has a node's report change: only the BGPPeers whose status says something else are looked at.
func TestChangedPeers(t *testing.T) {
	base := func() *v1alpha1.BGPNodeState {
		r := report("n1", "BGPPeer/a", 2, 1, v1alpha1.BGPSessionStatus{Source: "BGPPeer/a", Peer: "10.0.0.1", State: "Active"})
		r.Status.Sources = append(r.Status.Sources, v1alpha1.BGPSourceStatus{Source: "BGPPeer/b", Expected: 1, Established: 1})
		return &r
	}
	var none client.Object
	for what, c := range map[string]struct {
		before client.Object
		change func(*v1alpha1.BGPNodeState)
		want   []string
	}{
		"new":             {none, func(*v1alpha1.BGPNodeState) {}, []string{"a", "b"}},
		"the same":        {base(), func(*v1alpha1.BGPNodeState) {}, nil},
		"prefix counters": {base(), func(r *v1alpha1.BGPNodeState) { r.Status.Sessions[0].PrefixesReceived, r.Status.RoutesLearned = 7, 7 }, nil},
		"the mesh":        {base(), func(r *v1alpha1.BGPNodeState) { r.Status.Sources[0].Established = 9 }, nil},
		"one is up":       {base(), func(r *v1alpha1.BGPNodeState) { r.Status.Sources[1].Established = 2 }, []string{"a"}},
		"another error":   {base(), func(r *v1alpha1.BGPNodeState) { r.Status.Sessions[0].LastError = "no" }, []string{"a"}},
		"one is gone":     {base(), func(r *v1alpha1.BGPNodeState) { r.Status.Sources = r.Status.Sources[:2] }, []string{"b"}},
	} {
		after := base()
		c.change(after)
		if got := changedPeers(c.before, after); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, not %v", what, got, c.want)
		}
	}
}
