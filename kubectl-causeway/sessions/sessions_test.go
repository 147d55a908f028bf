package sessions_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/sessions"
)

func TestList(t *testing.T) {
	now := time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)
	since := metav1.NewTime(now.Add(-90 * time.Second))
	c := &objects.Cluster{Now: now}
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	c.Networks.Items = []v1alpha1.NodeNetwork{{ObjectMeta: named("node2"), Status: v1alpha1.NodeNetworkStatus{Addresses: []v1alpha1.NodeAddress{{Address: "192.168.0.2"}}}}}
	c.States.Items = []v1alpha1.BGPNodeState{
		{ObjectMeta: named("node2")},
		{ObjectMeta: named("node1"), Status: v1alpha1.BGPNodeStateStatus{
			ASNumber: 64512, Expected: 3, Established: 2,
			Conditions: []metav1.Condition{{Type: "Ready", Status: "False", Message: "2 of 3."}},
			Sessions: []v1alpha1.BGPSessionStatus{
				{Peer: "192.168.0.254", State: "Active", Source: "BGPPeer/rack", LastError: "192.168.0.254 refuses connections"},
				{Peer: "192.168.0.2", State: "Established", Since: &since, PrefixesReceived: 3},
			},
		}},
	}
	all := sessions.List(c, "")
	if len(all) != 2 || all[0].Node != "node1" || all[0].Ready || all[0].Message != "2 of 3." || all[0].Undescribed != 1 {
		t.Fatalf("speakers are %+v", all)
	}
	down, up := all[0].Sessions[0], all[0].Sessions[1]
	if down.Up() || !strings.Contains(down.Advice, "Configure BGP on the router") {
		t.Errorf("the session that is down is %+v", down)
	}
	if !up.Up() || up.PeerNode != "node2" || up.For != 90*time.Second || up.Received != 3 || up.Advice != "" {
		t.Errorf("the session that is up is %+v", up)
	}
	if one := sessions.List(c, "node2"); len(one) != 1 || one[0].Node != "node2" {
		t.Errorf("speakers of node2 are %+v", one)
	}
}
