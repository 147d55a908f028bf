package addresses_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/addresses"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}
}

func block(cidr, pool, node string) v1alpha1.IPBlock {
	return v1alpha1.IPBlock{ObjectMeta: named(v1alpha1.BlockName(netip.MustParsePrefix(cidr))), Spec: v1alpha1.IPBlockSpec{CIDR: cidr, Pool: pool, Node: node}}
}

func record(pod, node string, ips ...string) v1alpha1.WorkloadEndpoint {
	e := v1alpha1.WorkloadEndpoint{ObjectMeta: named(pod + "-0123456789a"), Spec: v1alpha1.WorkloadEndpointSpec{Pod: pod, PodUID: "uid-" + pod, Node: node}}
	for _, ip := range ips {
		a := netip.MustParseAddr(ip)
		e.Spec.Addresses = append(e.Spec.Addresses, netip.PrefixFrom(a, a.BitLen()).String())
		e.Spec.Pools = append(e.Spec.Pools, map[bool]string{true: "four", false: "six"}[a.Is4()])
	}
	e.Spec.Networks = strings.Join(e.Spec.Addresses, ",")
	return e
}

func pod(name, node string, ips ...string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: named(name), Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

func claim(node string, held ...string) v1alpha1.BlockClaim {
	return v1alpha1.BlockClaim{ObjectMeta: named(node), Spec: v1alpha1.BlockClaimSpec{Pools: []v1alpha1.PoolClaim{{Pool: "four", Held: held}}}}
}

// consistent is a cluster in which everything fits together: two nodes, two pools, two pods.
func consistent() *objects.Cluster {
	c := &objects.Cluster{}
	c.Pools.Items = []v1alpha1.IPPool{
		{ObjectMeta: named("four"), Spec: v1alpha1.IPPoolSpec{CIDR: "10.0.0.0/16"}}, {ObjectMeta: named("six"), Spec: v1alpha1.IPPoolSpec{CIDR: "fd00::/112"}},
	}
	c.Blocks.Items = []v1alpha1.IPBlock{
		block("10.0.0.64/26", "four", "node2"), block("10.0.0.0/26", "four", "node1"), block("fd00::/122", "six", "node1"), block("fd00::40/122", "six", "node2"),
	}
	c.Nodes.Items = []corev1.Node{{ObjectMeta: named("node1")}, {ObjectMeta: named("node2")}}
	c.Endpoints.Items = []v1alpha1.WorkloadEndpoint{record("a", "node1", "10.0.0.1", "fd00::1"), record("b", "node2", "10.0.0.65", "fd00::41")}
	host := pod("host", "node1", "192.168.0.1")
	host.Spec.HostNetwork = true
	c.Pods.Items = []corev1.Pod{pod("a", "node1", "10.0.0.1", "fd00::1"), pod("b", "node2", "10.0.0.65", "fd00::41"), host, pod("pending", "node1"), pod("foreign", "node1", "172.17.0.2")}
	c.Claims.Items = []v1alpha1.BlockClaim{claim("node1", "10.0.0.0/26", "fd00::/122"), claim("node2", "10.0.0.64/26", "fd00::40/122")}
	return c
}

func TestCheck(t *testing.T) {
	type want struct{ reason, subject, message string }
	for name, c := range map[string]struct {
		change func(*objects.Cluster)
		want   []want
		stale  []string
	}{
		"everything fits": {change: func(*objects.Cluster) {}},
		"one address twice": {
			change: func(c *objects.Cluster) {
				c.Endpoints.Items = append(c.Endpoints.Items, record("c", "node1", "10.0.0.1"))
				c.Pods.Items = append(c.Pods.Items, pod("c", "node1", "10.0.0.1"))
			},
			want: []want{{addresses.AddressTwice, "10.0.0.1", "Pods default/a on node node1 and default/c on node node1 both have 10.0.0.1."}},
		},
		"remembered for another pod": {
			change: func(c *objects.Cluster) {
				c.Sticky.Items = []v1alpha1.StickyAddress{stickyAddress("db-0", "10.0.0.1", "four"), stickyAddress("b", "fd00::41", "six")}
			},
			want: []want{{addresses.RememberedForOther, "10.0.0.1", "remembered for pod default/db-0 of StatefulSet set, but pod default/a on node node1 has it"}},
		},
		"address in no block": {
			change: func(c *objects.Cluster) {
				c.Endpoints.Items = append(c.Endpoints.Items, record("c", "node1", "10.0.9.1"))
				c.Pods.Items = append(c.Pods.Items, pod("c", "node1", "10.0.9.1"))
			},
			want: []want{{addresses.NoBlock, "10.0.9.1", "no route"}},
		},
		"address in another node's block": {
			change: func(c *objects.Cluster) {
				c.Endpoints.Items = append(c.Endpoints.Items, record("c", "node1", "10.0.0.70"))
				c.Pods.Items = append(c.Pods.Items, pod("c", "node1", "10.0.0.70"))
			},
			want: []want{{addresses.ForeignBlock, "10.0.0.70", "which is in block 10.0.0.64/26 of node node2"}},
		},
		"address that was lent": {
			change: func(c *objects.Cluster) {
				c.Endpoints.Items = append(c.Endpoints.Items, record("c", "node1", "10.0.0.70"), record("d", "node2", "10.0.0.71"))
				c.Pods.Items = append(c.Pods.Items, pod("c", "node1", "10.0.0.70"), pod("d", "node2", "10.0.0.71"))
				for i := range c.Blocks.Items {
					if c.Blocks.Items[i].Spec.CIDR == "10.0.0.64/26" {
						c.Blocks.Items[i].Spec.Lent = []v1alpha1.Loan{{CIDR: "10.0.0.70/31", Node: "node1", Granted: true}, {CIDR: "10.0.0.80/31", Node: "node1"}}
					}
				}
				for i := range c.Claims.Items {
					if claim := &c.Claims.Items[i]; claim.Name == "node1" {
						claim.Spec.Pools[0].Held = append(claim.Spec.Pools[0].Held, "10.0.0.70/31")
					}
				}
			},
			want: []want{{addresses.ForeignBlock, "10.0.0.71", "which is in block 10.0.0.64/26 of node node1"}},
		},
		"record of another pool": {
			change: func(c *objects.Cluster) { c.Endpoints.Items[0].Spec.Pools[0] = "other" },
			want:   []want{{addresses.WrongPool, "10.0.0.1", "of pool other, but its block 10.0.0.0/26 is of pool four"}},
		},
		"pod is gone": {
			change: func(c *objects.Cluster) { c.Pods.Items = c.Pods.Items[1:] },
			want:   []want{{addresses.PodGone, "default/a-0123456789a", "keeps 10.0.0.1/32,fd00::1/128 for pod default/a, which is gone"}},
			stale:  []string{"a-0123456789a"},
		},
		"pod was made again": {
			change: func(c *objects.Cluster) { c.Pods.Items[0].UID, c.Pods.Items[0].Status.PodIPs = "newer", nil },
			want:   []want{{addresses.PodGone, "default/a-0123456789a", "gone"}},
			stale:  []string{"a-0123456789a"},
		},
		"pod has ended": {
			change: func(c *objects.Cluster) { c.Pods.Items[0].Status.Phase = corev1.PodSucceeded },
			want:   []want{{addresses.PodEnded, "default/a-0123456789a", "has ended (Succeeded)"}},
			stale:  []string{"a-0123456789a"},
		},
		"pod is elsewhere": {
			change: func(c *objects.Cluster) { c.Pods.Items[0].Spec.NodeName = "node2" },
			want:   []want{{addresses.PodElsewhere, "default/a-0123456789a", "on node node1, but it is on node2"}},
			stale:  []string{"a-0123456789a"},
		},
		"node is gone": {
			change: func(c *objects.Cluster) { c.Nodes.Items = c.Nodes.Items[:1] },
			want: []want{{addresses.NodeGone, "10.0.0.64/26", "which does not exist"}, {addresses.NodeGone, "default/b-0123456789a", "of node node2"},
				{addresses.NodeGone, "fd00::40/122", "node2"}},
		},
		"pod without record": {
			change: func(c *objects.Cluster) { c.Endpoints.Items = c.Endpoints.Items[1:] },
			want:   []want{{addresses.NoRecord, "default/a", "runs with 10.0.0.1, fd00::1, and there is no record"}},
		},
		"pod with another address": {
			change: func(c *objects.Cluster) { c.Pods.Items[0].Status.PodIPs[0].IP = "10.0.0.2" },
			want:   []want{{addresses.OtherAddress, "default/a", "has 10.0.0.2, but the record says 10.0.0.1, fd00::1"}},
		},
		"pool is gone": {
			change: func(c *objects.Cluster) {
				c.Pools.Items, c.Blocks.Items = c.Pools.Items[:1], c.Blocks.Items[:3]
				c.Claims.Items = nil
				c.Endpoints.Items, c.Pods.Items = c.Endpoints.Items[:1], c.Pods.Items[:1]
			},
			want: []want{{addresses.BlockWithoutPool, "fd00::/122", "pool six, which does not exist"}},
		},
		"block outside of its pool": {
			change: func(c *objects.Cluster) {
				c.Blocks.Items = append(c.Blocks.Items, block("10.9.0.0/26", "four", "node1"))
				c.Claims.Items = nil
			},
			want: []want{{addresses.BlockOutside, "10.9.0.0/26", "outside of its pool four (10.0.0.0/16)"}},
		},
		"blocks overlap": {
			change: func(c *objects.Cluster) {
				c.Blocks.Items = append(c.Blocks.Items, block("10.0.0.32/27", "four", "node2"))
				c.Claims.Items = nil
			},
			want: []want{{addresses.BlocksOverlap, "10.0.0.0/26", "10.0.0.0/26 of node node1 holds block 10.0.0.32/27 of node node2"}},
		},
		"block is lost": {
			change: func(c *objects.Cluster) {
				c.Claims.Items[0] = claim("node1", "10.0.0.0/26", "fd00::/122", "10.0.7.0/26")
			},
			want: []want{{addresses.BlockLost, "10.0.7.0/26", "there is no such IPBlock"}},
		},
		"block of two nodes": {
			change: func(c *objects.Cluster) {
				c.Claims.Items[0] = claim("node1", "10.0.0.0/26", "fd00::/122", "10.0.0.64/26")
			},
			want: []want{{addresses.BlockLost, "10.0.0.64/26", "Node node1 uses block 10.0.0.64/26, which belongs to node node2"}},
		},
		"block that nobody uses": {
			change: func(c *objects.Cluster) { c.Claims.Items[0] = claim("node1", "10.0.0.0/26") },
			want:   []want{{addresses.BlockUnknown, "fd00::/122", "whose agent does not use it"}},
		},
		"released block": {
			change: func(c *objects.Cluster) {
				c.Claims.Items[0] = claim("node1", "10.0.0.0/26")
				c.Claims.Items[0].Spec.Pools[0].Released = []v1alpha1.ReleasedBlock{{CIDR: "fd00::/122", UID: "1"}}
			},
		},
		"pods can't be read": {
			change: func(c *objects.Cluster) {
				c.Pods.Items, c.Unread = nil, []objects.Unread{{Kind: objects.Pods, Why: "forbidden"}}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := consistent()
			c.change(cluster)
			account := addresses.Check(cluster)
			ok := len(account.Disagreements) == len(c.want)
			for i := range min(len(c.want), len(account.Disagreements)) {
				got, want := account.Disagreements[i], c.want[i]
				ok = ok && got.Reason == want.reason && got.Subject == want.subject && strings.Contains(got.Message, want.message) && strings.HasSuffix(got.Advice, ".")
			}
			if !ok {
				t.Errorf("got\n%+v\nwant\n%+v", account.Disagreements, c.want)
			}
			var stale []string
			for _, r := range account.Stale() {
				stale = append(stale, r.Name)
			}
			if !slices.Equal(stale, c.stale) {
				t.Errorf("stale are %v, want %v", stale, c.stale)
			}
		})
	}
}

func TestCounts(t *testing.T) {
	a := addresses.Check(consistent())
	if got, want := fmt.Sprint(a.Addresses, a.Records, a.Pods, a.Blocks, a.Pools), "4 2 2 4 2"; got != want {
		t.Errorf("counts are %s, want %s", got, want)
	}
}

// What only one of two looks shows was a change in the middle.
func TestLasting(t *testing.T) {
	d := func(reason, subject string) addresses.Disagreement {
		return addresses.Disagreement{Reason: reason, Subject: subject}
	}
	got := addresses.Lasting([]addresses.Disagreement{d("A", "1"), d("A", "2")}, []addresses.Disagreement{d("A", "2"), d("B", "1")})
	if len(got) != 1 || got[0].Subject != "2" {
		t.Errorf("lasting are %+v", got)
	}
}

func stickyAddress(pod, address, pool string) v1alpha1.StickyAddress {
	o := v1alpha1.StickyAddress{ObjectMeta: named(pod), Spec: v1alpha1.StickyAddressSpec{StatefulSet: "set", Addresses: []string{address}, Pools: []string{pool}}}
	o.Namespace = "default"
	return o
}

func TestShow(t *testing.T) {
	c := consistent()
	c.Sticky.Items = []v1alpha1.StickyAddress{stickyAddress("db-0", "10.0.0.12", "four"), stickyAddress("a", "10.0.0.1", "four")}
	pools := addresses.Show(c)
	if len(pools) != 2 || pools[0].Name != "four" || pools[0].Used != 2 || pools[0].MostBlocks != 1024 || pools[0].Capacity != 1024*63 {
		t.Fatalf("pools are %+v", pools)
	}
	if pools[0].Remembered != 1 || pools[1].Remembered != 0 {
		t.Errorf("of the pools %d and %d addresses are remembered and free", pools[0].Remembered, pools[1].Remembered)
	}
	first := pools[0].Blocks[0]
	if first.CIDR != "10.0.0.0/26" || first.Node != "node1" || first.Used != 1 || first.Capacity != 63 || first.Holders[0].Pod != "default/a" {
		t.Errorf("the first block is %+v", first)
	}
}

func TestFind(t *testing.T) {
	c := consistent()
	c.Networks.Items = []v1alpha1.NodeNetwork{{ObjectMeta: named("node1"), Status: v1alpha1.NodeNetworkStatus{Addresses: []v1alpha1.NodeAddress{{Address: "192.168.0.1"}}}}}
	c.Reservations.Items = []v1alpha1.IPReservation{{ObjectMeta: named("lab"), Spec: v1alpha1.IPReservationSpec{Addresses: []string{"10.0.0.20-10.0.0.29"}, Reason: "printers"}}}
	c.Pools.Items[1].Spec.Reserved = []string{"fd00::9"}
	c.Sticky.Items = []v1alpha1.StickyAddress{stickyAddress("db-0", "10.0.0.12", "four"), stickyAddress("b", "fd00::41", "six")}
	for address, want := range map[string]string{
		"10.0.0.25":   "four 10.0.0.0/26 node1 No pod gets the address: it is reserved by IPReservation lab (printers).",
		"fd00::9":     "six fd00::/122 node1 No pod gets the address: it is reserved by IPPool six.",
		"10.0.0.1":    "four 10.0.0.0/26 node1 Pod default/a on node node1 has the address.",
		"fd00::41":    "six fd00::40/122 node2 Pod default/b on node node2 has the address. It is remembered for pod default/b of StatefulSet set.",
		"10.0.0.12":   "four 10.0.0.0/26 node1 No pod has the address; it is remembered for pod default/db-0 of StatefulSet set.",
		"10.0.0.64":   "four 10.0.0.64/26 node2 The address is kept for the tunnels of node node2.",
		"10.0.0.9":    "four 10.0.0.0/26 node1 No pod has the address; node node1 may give it to one.",
		"10.0.9.9":    "four   No node has a block with the address yet.",
		"192.168.0.1": "  node1 The address is the node's own.",
		"8.8.8.8":     "   The address is in no pool.",
	} {
		a := addresses.Find(c, netip.MustParseAddr(address))
		if got := strings.Join([]string{a.Pool, a.Block, a.Node, a.Use}, " "); got != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
}
