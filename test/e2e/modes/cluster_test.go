package modes_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/test/lab"
)

const poolName = "pool"

// cluster is a lab of three nodes, the first two on one subnet, with one pool and one block on each node.
type cluster struct {
	*lab.Lab
	blocks map[string]netip.Prefix // by node
	macs   map[string]string       // of nodes' NICs, by name, and of the router's, by "router1", "router2", ...

	a1, a2, b, c *lab.Pod // on node1, node1, node2 and node3
	hostEnds     map[*lab.Pod]string
}

// start makes the cluster, and a router that knows the way to the nodes' blocks, as None needs it between subnets.
func start(t *testing.T, o lab.Options) *cluster {
	t.Helper()
	c := &cluster{Lab: lab.Start(t, o), blocks: map[string]netip.Prefix{}, macs: map[string]string{}, hostEnds: map[*lab.Pod]string{}}
	size := int32(24)
	pool := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: poolName}, Spec: v1alpha1.IPPoolSpec{
		CIDR: "10.211.0.0/16", BlockSize: &size, Encapsulation: v1alpha1.EncapsulationNone, NATOutgoing: true,
	}}
	if err := c.Client.Create(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	c.Eventually(t, lab.Settle, "every node has a block", func() error {
		var list v1alpha1.IPBlockList
		if err := c.Client.List(t.Context(), &list); err != nil {
			return err
		}
		for _, b := range list.Items {
			c.blocks[b.Spec.Node] = netip.MustParsePrefix(b.Spec.CIDR)
		}
		if len(c.blocks) != len(c.Nodes) || len(list.Items) != len(c.Nodes) {
			return fmt.Errorf("blocks: %v", c.blocks)
		}
		return nil
	})
	for _, n := range append(c.Nodes, c.Outside) {
		c.macs[n.Name] = c.mac(t, n, "eth0")
	}
	for i := range 2 {
		c.macs[fmt.Sprintf("router%d", i+1)] = c.mac(t, c.Lab, fmt.Sprintf("sub-%d", i+1))
	}
	c.macs["router9"] = c.mac(t, c.Lab, "sub-9")
	for _, n := range c.Nodes {
		c.run(t, c.Lab, "ip", "route", "add", c.blocks[n.Name].String(), "via", n.V4.String())
	}
	return c
}

// change changes the pool, waits until it is Ready for that, and returns how long this took.
func (c *cluster) change(t *testing.T, to v1alpha1.Encapsulation, nat bool) time.Duration {
	t.Helper()
	return c.changePool(t, poolName, to, nat)
}

func (c *cluster) changePool(t *testing.T, name string, to v1alpha1.Encapsulation, nat bool) time.Duration {
	t.Helper()
	var pool v1alpha1.IPPool
	if err := c.Object(t.Context(), name, &pool); err != nil {
		t.Fatal(err)
	}
	before, begin := pool.DeepCopy(), time.Now()
	pool.Spec.Encapsulation, pool.Spec.NATOutgoing = to, nat
	if err := c.Client.Patch(t.Context(), &pool, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	generation := pool.Generation
	c.Eventually(t, lab.Settle, name+" is Ready with "+string(to), func() error {
		if err := c.Object(t.Context(), name, &pool); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.ObservedGeneration < generation || ready.Status != metav1.ConditionTrue || pool.Status.Encapsulation != to {
			return fmt.Errorf("status %+v", pool.Status)
		}
		return nil
	})
	return time.Since(begin)
}

// startPods starts the four pods for one test.
func (c *cluster) startPods(t *testing.T, prefix string) {
	t.Helper()
	start := func(node int, name string) *lab.Pod {
		p, err := c.StartPod(t.Context(), c.Nodes[node], "default/"+strings.ToLower(prefix)+"-"+name, lab.PodOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c.hostEnds[p] = names.HostInterface(p.ContainerID, p.Interface)
		t.Cleanup(func() {
			if err := c.StopPod(c.background(), p); err != nil {
				t.Error(err)
			}
		})
		return p
	}
	c.a1, c.a2, c.b, c.c = start(0, "a1"), start(0, "a2"), start(1, "b"), start(2, "c")
	c.Eventually(t, lab.Settle, "every pod reaches every other", func() error {
		return lab.PingMatrix(t.Context(), []*lab.Pod{c.a1, c.a2, c.b, c.c})
	})
}

// encapsulation is what the pool says.
func (c *cluster) encapsulation(t *testing.T) v1alpha1.Encapsulation {
	t.Helper()
	var pool v1alpha1.IPPool
	if err := c.Object(t.Context(), poolName, &pool); err != nil {
		t.Fatal(err)
	}
	return pool.Spec.Encapsulation
}
