package health_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/health"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

var now = time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Generation: 1} }

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: 1}
}

func lease(name string, ago time.Duration) coordinationv1.Lease {
	renewed, seconds, holder := metav1.NewMicroTime(now.Add(-ago)), int32(40), name+"-0_1f2e"
	return coordinationv1.Lease{ObjectMeta: named(name), Spec: coordinationv1.LeaseSpec{RenewTime: &renewed, LeaseDurationSeconds: &seconds, HolderIdentity: &holder}}
}

func agentPod(node string) corev1.Pod {
	return corev1.Pod{ObjectMeta: named("causeway-agent-" + node), Spec: corev1.PodSpec{
		NodeName: node, ServiceAccountName: "causeway-agent", Containers: []corev1.Container{{Name: "agent", Image: "causeway:1"}},
	}}
}

// well is a cluster of two nodes and a pool in which all is well.
func well() *objects.Cluster {
	c := &objects.Cluster{Now: now, Server: "v1.37.0"}
	c.Leases.Items = []coordinationv1.Lease{lease("causeway-controller", 2*time.Second)}
	for i, name := range []string{"node1", "node2"} {
		c.Nodes.Items = append(c.Nodes.Items, corev1.Node{ObjectMeta: named(name)})
		c.Networks.Items = append(c.Networks.Items, v1alpha1.NodeNetwork{ObjectMeta: named(name), Status: v1alpha1.NodeNetworkStatus{
			Addresses:  []v1alpha1.NodeAddress{{Address: fmt.Sprintf("192.168.0.%d", i+1), Subnet: "192.168.0.0/24", Interface: "eth0"}},
			Conditions: []metav1.Condition{condition("Ready", "True", "PlanApplied", "The kernel shows the plan.")},
		}})
		c.Leases.Items = append(c.Leases.Items, lease("causeway-agent-"+name, 9*time.Second))
		c.SystemPods.Items = append(c.SystemPods.Items, agentPod(name))
	}
	c.Pools.Items = []v1alpha1.IPPool{{ObjectMeta: named("default-v4"), Spec: v1alpha1.IPPoolSpec{CIDR: "10.211.0.0/16", Encapsulation: "VXLAN"}, Status: v1alpha1.IPPoolStatus{
		Capacity: 1000, Allocated: 10, Encapsulation: "VXLAN", Conditions: []metav1.Condition{condition("Ready", "True", "AllNodesReady", "2 of 2 nodes.")},
	}}}
	return c
}

func session(peer, source, state, lastError string) v1alpha1.BGPSessionStatus {
	return v1alpha1.BGPSessionStatus{Peer: peer, Source: source, State: state, LastError: lastError, ASNumber: 65001}
}

func state(node, source string, sessions ...v1alpha1.BGPSessionStatus) v1alpha1.BGPNodeState {
	up := int32(0)
	for _, s := range sessions {
		if s.State == "Established" {
			up++
		}
	}
	expected := int32(len(sessions))
	return v1alpha1.BGPNodeState{ObjectMeta: named(node), Status: v1alpha1.BGPNodeStateStatus{
		Expected: expected, Established: up, Sessions: sessions, Sources: []v1alpha1.BGPSourceStatus{{Source: source, Expected: expected, Established: up}},
		SessionCounts: fmt.Sprintf("%d/%d", up, expected),
	}}
}

func setPool(c *objects.Cluster, conditions ...metav1.Condition) {
	c.Pools.Items[0].Status.Conditions = conditions
}

// want is an object, a part of its message and a part of the advice.
type want struct{ object, message, advice string }

func TestTroubles(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*objects.Cluster)
		want   []want
		notes  []want
	}{
		"all is well": {change: func(*objects.Cluster) {}},
		"agent is silent": {
			change: func(c *objects.Cluster) { c.Leases.Items[1] = lease("causeway-agent-node1", 3*time.Minute) },
			want:   []want{{"Node/node1", "has not renewed its Lease for 3m0s", "logs causeway-agent-node1 -c agent"}},
		},
		"an old fault of a silent agent is not repeated": {
			change: func(c *objects.Cluster) {
				c.Leases.Items[1] = lease("causeway-agent-node1", 3*time.Minute)
				c.Networks.Items[0].Status.Conditions = []metav1.Condition{condition("Ready", "False", "ApplyFailed", "No.")}
			},
			want: []want{{"Node/node1", "has not renewed", "logs"}},
		},
		"agent is silent because its node is down": {
			change: func(c *objects.Cluster) {
				c.Leases.Items[1] = lease("causeway-agent-node1", time.Minute)
				c.Nodes.Items[0].Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: "Unknown", Reason: "NodeStatusUnknown"}}
			},
			want: []want{{"Node/node1", "has not renewed", "The Node itself is not ready (NodeStatusUnknown)"}},
		},
		"agent does not start": {
			change: func(c *objects.Cluster) {
				c.Leases.Items = c.Leases.Items[:2]
				c.SystemPods.Items[1].Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "agent", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
			},
			want: []want{{"Node/node2", "has never said that it works", "agent: ImagePullBackOff"}},
		},
		"no agent's pod on a node": {
			change: func(c *objects.Cluster) {
				c.Leases.Items, c.SystemPods.Items = c.Leases.Items[:2], c.SystemPods.Items[:1]
			},
			want: []want{{"Node/node2", "never", "no agent's pod on that node"}},
		},
		"controller is away": {
			change: func(c *objects.Cluster) { c.Leases.Items[0] = lease("causeway-controller", time.Hour) },
			want:   []want{{"Deployment/causeway-controller", "nobody has renewed the leader's Lease for 1h0m0s", "get pods"}},
		},
		"controller never came": {
			change: func(c *objects.Cluster) { c.Leases.Items = c.Leases.Items[1:] },
			want:   []want{{"Deployment/causeway-controller", "No controller has ever led", "get pods"}},
		},
		"node without NodeNetwork": {
			change: func(c *objects.Cluster) { c.Networks.Items = c.Networks.Items[1:] },
			want:   []want{{"Node/node1", "has no NodeNetwork", "controller"}},
		},
		"NodeNetwork without node": {
			change: func(c *objects.Cluster) { c.Nodes.Items = c.Nodes.Items[1:] },
			want:   []want{{"NodeNetwork/node1", "is gone", "causeway-agent-node1"}},
		},
		"kernel refuses the plan": {
			change: func(c *objects.Cluster) {
				c.Networks.Items[1].Status.Conditions = []metav1.Condition{condition("Ready", "False", "Refused", "1 route is refused."), condition("RoutesApplied", "False", "Refused", "1 route is refused: add route 10.0.0.0/26: no")}
			},
			want: []want{{"NodeNetwork/node2", "Node node2: 1 route is refused: add route 10.0.0.0/26: no.", "plan node2"}},
		},
		"no conflict is well": {
			change: func(c *objects.Cluster) {
				c.Networks.Items[1].Status.Conditions = append(c.Networks.Items[1].Status.Conditions, condition("Conflicting", "False", "NoConflict", "Nothing touches a network of the cluster."))
			},
		},
		"a node's own conflict": {
			change: func(c *objects.Cluster) {
				c.Networks.Items[1].Status.Conditions = append(c.Networks.Items[1].Status.Conditions, condition("Conflicting", "True", "Touches", "Block 10.0.0.0/26 holds the node's address."))
			},
			want: []want{{"NodeNetwork/node2", "Block 10.0.0.0/26 holds the node's address.", "choose another range"}},
		},
		"records are refused": {
			change: func(c *objects.Cluster) {
				c.Networks.Items[1].Status.Conditions = append(c.Networks.Items[1].Status.Conditions, condition("EndpointsRecorded", "False", "Refused", "2 pods have no record: quota."))
			},
			want: []want{{"NodeNetwork/node2", "2 pods have no record: quota.", "The pods run."}},
		},
		"pool conflicts": {
			change: func(c *objects.Cluster) {
				setPool(c, condition("Ready", "False", "Conflicting", "It can't be used."), condition("Conflicting", "True", "Node", "The pool holds node node1's address 10.211.0.1."))
			},
			want: []want{{"IPPool/default-v4", "The pool holds node node1's address", "choose another range"}},
		},
		"a pool's reserved addresses can't be read": {
			change: func(c *objects.Cluster) {
				c.Pools.Items[0].Status.Conditions = append(c.Pools.Items[0].Status.Conditions, condition("ReservationsValid", "False", "Unreadable", "10.211.0.x is ignored."))
			},
			want: []want{{"IPPool/default-v4", "10.211.0.x is ignored.", "spec.reserved"}},
		},
		"pool waits for nodes": {
			change: func(c *objects.Cluster) {
				setPool(c, condition("Ready", "False", "NodesPending", "1 of 2 nodes; waiting for node node2."))
			},
			want: []want{{"IPPool/default-v4", "waiting for node node2", "plan NODE"}},
		},
		"pool's newest spec is not seen": {
			change: func(c *objects.Cluster) { c.Pools.Items[0].Generation = 2 },
			want:   []want{{"IPPool/default-v4", "newest spec", "controller"}},
		},
		"pods wait": {
			change: func(c *objects.Cluster) {
				setPool(c, condition("Ready", "True", "AllNodesReady", "Yes."), condition("Exhausted", "True", "NoFreeBlock", "Node node1 asked for a block and there is none."))
				c.Claims.Items = []v1alpha1.BlockClaim{{ObjectMeta: named("node1"), Spec: v1alpha1.BlockClaimSpec{Pools: []v1alpha1.PoolClaim{{Pool: "default-v4", Waiting: 2}}}}}
			},
			want: []want{{"IPPool/default-v4", "there is none", "Add another pool"}, {"BlockClaim/node1", "2 pods wait on node node1 for an address of pool default-v4.", "ipam show"}},
		},
		"a reservation that can't be read": {
			change: func(c *objects.Cluster) {
				c.Reservations.Items = []v1alpha1.IPReservation{{ObjectMeta: named("old"), Status: v1alpha1.IPReservationStatus{Conditions: []metav1.Condition{condition("Ready", "False", "Unreadable", "10.0.0.0-9 is ignored.")}}}}
			},
			want: []want{{"IPReservation/old", "10.0.0.0-9 is ignored.", "spec.addresses"}},
		},
		"no pool": {
			change: func(c *objects.Cluster) { c.Pools.Items = nil },
			want:   []want{{"IPPool", "There is no IPPool", "config/samples"}},
		},
		"notes are no trouble": {
			change: func(c *objects.Cluster) {
				c.Pools.Items[0].Spec.Disabled, c.Pools.Items[0].Status.Allocated = true, 900
				c.Pools.Items[0].Status.NamespacesAtLimit = []string{"a", "b"}
			},
			notes: []want{{"IPPool/default-v4", "is disabled", ""}, {"IPPool/default-v4", "gives no more addresses to 2 namespaces", ""}, {"IPPool/default-v4", "nearly full: 900 of 1000", "another pool"}},
		},
		"agents of two versions": {
			change: func(c *objects.Cluster) { c.SystemPods.Items[1].Spec.Containers[0].Image = "causeway:2" },
			notes:  []want{{"DaemonSet/causeway-agent", "2 different images", "update"}},
		},
		"a peer that is down is named once": {
			change: func(c *objects.Cluster) {
				const wrong = "AS 65999 expected, 65001 came"
				c.Peers.Items = []v1alpha1.BGPPeer{{ObjectMeta: named("rack"), Status: v1alpha1.BGPPeerStatus{Conditions: []metav1.Condition{condition("Ready", "False", "SessionsDown", "0 of 2.")}}}}
				for _, n := range []string{"node1", "node2"} {
					c.States.Items = append(c.States.Items, state(n, "BGPPeer/rack", session("192.168.0.254", "BGPPeer/rack", "Active", wrong)))
				}
			},
			want: []want{{"BGPPeer/rack", "The BGP session of nodes node1, node2 with 192.168.0.254 (AS 65001, BGPPeer/rack) is down (Active). AS 65999 expected, 65001 came.", "Correct asNumber"}},
		},
		"a wrong peer hides its sessions": {
			change: func(c *objects.Cluster) {
				c.Peers.Items = []v1alpha1.BGPPeer{{ObjectMeta: named("rack"), Status: v1alpha1.BGPPeerStatus{Conditions: []metav1.Condition{condition("Ready", "False", "FilterNotFound", "The filter x does not exist.")}}}}
				c.States.Items = []v1alpha1.BGPNodeState{state("node1", "BGPPeer/rack", session("192.168.0.254", "BGPPeer/rack", "Idle", ""))}
			},
			want: []want{{"BGPPeer/rack", "The filter x does not exist.", "Correct the object"}},
		},
		"more sessions than are described": {
			change: func(c *objects.Cluster) {
				var many []v1alpha1.BGPSessionStatus
				for i := range 10 {
					many = append(many, session(fmt.Sprintf("10.0.0.%d", 10+i), "NodeToNodeMesh", "Idle", ""))
				}
				c.States.Items = []v1alpha1.BGPNodeState{state("node1", "NodeToNodeMesh", many...)}
			},
			want: append(manyWants(8), want{"NodeToNodeMesh", "2 more sessions of NodeToNodeMesh are down", "causeway bgp"}),
		},
		"speaker is broken": {
			change: func(c *objects.Cluster) {
				s := state("node1", "x")
				s.Status.Conditions = []metav1.Condition{condition("Ready", "False", "SpeakerFault", "Another program has 192.168.0.1:179 already")}
				c.States.Items = []v1alpha1.BGPNodeState{s}
			},
			want: []want{{"BGPNodeState/node1", "Another program has", "log"}},
		},
		"not installed": {
			change: func(c *objects.Cluster) {
				c.Pools.Items, c.Networks.Items, c.Nodes.Items = nil, nil, nil
				c.Unread = []objects.Unread{{Kind: objects.IPPools, Why: objects.NoSuchKind}, {Kind: objects.NodeNetworks, Why: objects.NoSuchKind}}
			},
			want: []want{{"CustomResourceDefinition", "does not know 2", "config/default"}},
		},
		"may not read": {
			change: func(c *objects.Cluster) {
				c.Leases.Items, c.Unread = nil, []objects.Unread{{Kind: objects.Leases, Why: "forbidden"}}
			},
			want: []want{{"leases", "could not be read: forbidden", "right"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := well()
			c.change(cluster)
			r := health.Compute(cluster)
			compare(t, "troubles", r.Troubles, c.want)
			compare(t, "notes", r.Notes, c.notes)
			if r.Healthy != (len(c.want) == 0) {
				t.Errorf("healthy is %v", r.Healthy)
			}
		})
	}
}

func manyWants(n int) []want {
	var out []want
	for i := range n {
		out = append(out, want{"NodeToNodeMesh", fmt.Sprintf("with 10.0.0.%d ", 10+i), "other side"})
	}
	return out
}

func compare(t *testing.T, what string, got []health.Trouble, want []want) {
	t.Helper()
	ok := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		g, w := got[i], want[i]
		ok = ok && g.Object == w.object && strings.Contains(g.Message, w.message) && strings.Contains(g.Advice, w.advice) && strings.HasSuffix(g.Message, ".")
	}
	if !ok {
		t.Errorf("%s are\n%+v\nwant\n%+v", what, got, want)
	}
}

func TestTables(t *testing.T) {
	c := well()
	c.Blocks.Items = []v1alpha1.IPBlock{{ObjectMeta: named("a"), Spec: v1alpha1.IPBlockSpec{CIDR: "10.211.0.0/26", Node: "node2"}}}
	c.States.Items = []v1alpha1.BGPNodeState{state("node1", "NodeToNodeMesh", session("192.168.0.2", "NodeToNodeMesh", "Established", ""))}
	c.Pools.Items[0].Spec.Encapsulation = "IPIP"
	r := health.Compute(c)
	if len(r.Nodes) != 2 || r.Nodes[0].Agent != "live" || r.Nodes[0].Sessions != "1/1" || r.Nodes[1].Blocks != 1 || r.Nodes[1].Addresses[0] != "192.168.0.2" {
		t.Errorf("nodes are %+v", r.Nodes)
	}
	if len(r.Pools) != 1 || r.Pools[0].Encapsulation != "IPIP (still VXLAN)" || r.Pools[0].Allocated != 10 {
		t.Errorf("pools are %+v", r.Pools)
	}
	if r.Controller.Leader != "causeway-controller-0" || len(r.Agents) != 1 || r.Agents[0].Pods != 2 {
		t.Errorf("controller %+v, agents %+v", r.Controller, r.Agents)
	}
}
