package cluster_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// TestPoolsInTheClustersOwnNetworks makes the pools that would cut every agent from the API server: before the agents start, and while
// pods talk. Each says what it hits and gives nothing out, no packet is lost between pods or to the API server, and it can be deleted.
func TestPoolsInTheClustersOwnNetworks(t *testing.T) {
	l := lab.Start(t, lab.Options{NoAgents: true})
	ctx := t.Context()
	api := netip.MustParseAddr("172.30.0.1")
	conflicting := func(name, hits string) error {
		s, err := poolStatus(ctx, l, name)
		if err != nil {
			return err
		}
		c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionConflicting)
		if c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, hits) || meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("%+v", s)
		}
		if s.Blocks != 0 {
			return fmt.Errorf("%d blocks were given out", s.Blocks)
		}
		return nil
	}
	l.Create(t, pool("early", "172.30.1.0/24", nil))
	l.Create(t, pool("pool", "10.211.0.0/16", func(s *v1alpha1.IPPoolSpec) { s.NATOutgoing = true }))
	for _, n := range l.Nodes {
		if err := n.StartAgent(); err != nil {
			t.Fatal(err)
		}
	}
	l.Eventually(t, lab.Settle, "the pool that was there before the nodes conflicts with them", func() error { return conflicting("early", "the subnet 172.30.1.0/24 of node") })
	pods := l.PodsOnAll(t, "pod")
	l.AwaitMatrix(t, pods)

	between := l.StartTraffic(t, pods)
	toAPI := lab.Pings(t, pods[2], api)
	for name, c := range map[string]struct{ cidr, hits string }{
		"underlay": {"172.30.0.0/16", "the address 172.30.0.1 of the API server"}, "subnet": {"172.30.2.0/25", "the subnet 172.30.2.0/24 of node"},
		"services": {"10.96.0.0/16", "the Service range 10.96.0.0/16"}, "six": {"fd00:30::/32", "the subnet fd00:30:1::/64 of node"},
	} {
		began := time.Now()
		l.Create(t, pool(name, c.cidr, nil))
		l.Eventually(t, lab.Settle, name+" conflicts", func() error { return conflicting(name, c.hits) })
		t.Logf("pool %s says so %s after its creation", c.cidr, time.Since(began).Round(time.Millisecond))
	}
	// All agents know the pools now, and still reach the API server: a pod's record shows it.
	for i := range l.Nodes {
		mustRecord(t, l, l.MustStartPod(t, i, fmt.Sprintf("default/more-%d", i)))
	}
	// A connection that begins now is masqueraded like one that began before.
	if err := lab.Ping(ctx, pods[1], api); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"early", "underlay", "subnet", "services", "six"} {
		if err := conflicting(name, "which the cluster itself needs"); err != nil {
			t.Error(err)
		}
		if err := l.Client.Delete(ctx, pool(name, "10.0.0.0/16", nil)); err != nil {
			t.Error(err)
		}
		l.Eventually(t, lab.Settle, name+" is gone", func() error {
			if err := l.Client.Get(ctx, client.ObjectKey{Name: name}, &v1alpha1.IPPool{}); err == nil {
				return errors.New("it is there")
			}
			return nil
		})
	}
	between.Judge(t, "pools in the cluster's own networks, pod to pod")
	toAPI("pools in the cluster's own networks, pod to API server")
	checkConsistent(t, l)
}
