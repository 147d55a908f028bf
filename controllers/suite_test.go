package controllers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers"
	"github.com/causeway-net/causeway/controllers/internal/testcluster"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

var cluster *testcluster.Cluster

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "causeway-controllers-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join("..", "bin")
	if path := os.Getenv("CAUSEWAY_BIN"); path != "" {
		bin = path
	}
	bin, err = filepath.Abs(bin)
	if err == nil {
		cluster, err = testcluster.Start(context.Background(), dir, bin, filepath.Join("..", "config", "crd", "bases"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the control plane:", err)
		return 1
	}
	defer cluster.Stop()
	for _, file := range []string{"role.yaml", "role_binding.yaml", "service_account.yaml"} {
		if err := cluster.Apply(context.Background(), filepath.Join("..", "config", "rbac", "controller", file)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// world is one test's view of the cluster, with a controller that runs as long as the test does.
type world struct {
	*testing.T
	ctx context.Context
	client.Client
}

// begin starts with an empty cluster and a running controller.
func begin(t *testing.T) *world {
	w := &world{T: t, ctx: t.Context(), Client: cluster.Client}
	w.wipe()
	w.controller()
	return w
}

// controller starts a controller with no more rights than config/rbac gives it, and returns what stops it.
func (w *world) controller(change ...func(*controllers.Options)) context.CancelFunc {
	w.Helper()
	o := controllers.DefaultOptions()
	o.LeaderElect = false
	o.AgentLeaseDuration, o.StatusInterval = 2*time.Second, 200*time.Millisecond
	for _, c := range change {
		c(&o)
	}
	mgr, err := controllers.New(cluster.As("causeway-controller"), o)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stop := func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("controller: %v", err)
		}
		done <- nil
	}
	w.Cleanup(stop)
	return stop
}

// wipe removes every object of an earlier test.
func (w *world) wipe() {
	w.Helper()
	for _, list := range []client.ObjectList{&v1alpha1.WorkloadEndpointList{}, &v1alpha1.IPBlockList{}, &v1alpha1.IPPoolList{}, &corev1.NodeList{},
		&v1alpha1.NodeNetworkList{}, &v1alpha1.BlockClaimList{}, &v1alpha1.BGPNodeStateList{}, &v1alpha1.BGPPeerList{}, &v1alpha1.BGPFilterList{}, &v1alpha1.BGPConfigurationList{}, &coordinationv1.LeaseList{}} {
		w.must(w.List(w.ctx, list))
		for _, o := range objects(list) {
			if o.GetNamespace() != "" && o.GetNamespace() != v1alpha1.SystemNamespace && o.GetNamespace() != "default" {
				continue
			}
			w.must(client.IgnoreNotFound(w.Patch(w.ctx, o, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))))
			w.must(client.IgnoreNotFound(w.Delete(w.ctx, o)))
		}
	}
}

func objects(list client.ObjectList) []client.Object {
	var out []client.Object
	add := func(o client.Object) { out = append(out, o) }
	switch l := list.(type) {
	case *v1alpha1.WorkloadEndpointList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *v1alpha1.IPBlockList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *v1alpha1.IPPoolList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *corev1.NodeList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *v1alpha1.NodeNetworkList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *v1alpha1.BlockClaimList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *v1alpha1.BGPNodeStateList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *v1alpha1.BGPPeerList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *v1alpha1.BGPFilterList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *v1alpha1.BGPConfigurationList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	case *coordinationv1.LeaseList:
		for i := range l.Items {
			add(&l.Items[i])
		}
	}
	return out
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// wait waits until try returns nothing; what it returns last is why the test fails.
func (w *world) wait(what string, try func() string) {
	w.Helper()
	deadline := time.NewTimer(time.Minute) // a busy machine is slow; what hangs, hangs longer
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		why := try()
		if why == "" {
			return
		}
		select {
		case <-deadline.C:
			w.Fatalf("%s: %s\n%s", what, why, w.dump())
		case <-tick.C:
		}
	}
}

// steady checks that something stays so for a while: a negative needs time in which it could have gone wrong.
func (w *world) steady(what string, d time.Duration, try func() string) {
	w.Helper()
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if why := try(); why != "" {
			w.Fatalf("%s: %s\n%s", what, why, w.dump())
		}
		select {
		case <-end.C:
			return
		case <-tick.C:
		}
	}
}

func (w *world) dump() string {
	var text string
	for _, list := range []client.ObjectList{&v1alpha1.IPPoolList{}, &v1alpha1.IPBlockList{}, &v1alpha1.NodeNetworkList{}, &v1alpha1.BlockClaimList{}, &v1alpha1.WorkloadEndpointList{}} {
		if err := w.List(w.ctx, list); err != nil {
			return err.Error()
		}
		for _, o := range objects(list) {
			o.SetManagedFields(nil)
			line, err := json.Marshal(o)
			if err != nil {
				return err.Error()
			}
			text += fmt.Sprintf("%T %s\n", o, line)
		}
	}
	return text
}

// node makes a Node, its lease, and what its agent reports.
func (w *world) node(name, address string, pools ...v1alpha1.PoolClaim) {
	w.Helper()
	// The lease comes first: a pool is not ready while there is a node and no live agent, however short that is.
	w.renew(name, 3600)
	w.must(w.Create(w.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}}))
	w.report(name, func(nn *v1alpha1.NodeNetwork) {
		nn.Status.Addresses = []v1alpha1.NodeAddress{{Address: address, Subnet: "192.168.0.0/24", Interface: "eth0"}}
	})
	if len(pools) > 0 {
		w.claim(name, func(c *v1alpha1.BlockClaim) { c.Spec.Pools = pools })
	}
}

// renew writes a node's lease, as its agent does.
func (w *world) renew(node string, seconds int32) {
	w.Helper()
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.AgentLeasePrefix + node}}
	err := w.Get(w.ctx, client.ObjectKeyFromObject(l), l)
	now := metav1.NowMicro()
	l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = &now, &seconds
	if err != nil {
		w.must(w.Create(w.ctx, l))
		return
	}
	w.must(w.Update(w.ctx, l))
}

// report changes a NodeNetwork's status, as its agent does.
func (w *world) report(node string, change func(*v1alpha1.NodeNetwork)) {
	w.Helper()
	w.wait("report of "+node, func() string {
		var nn v1alpha1.NodeNetwork
		if err := w.Get(w.ctx, client.ObjectKey{Name: node}, &nn); err != nil {
			return err.Error()
		}
		change(&nn)
		if err := w.Status().Update(w.ctx, &nn); err != nil {
			return err.Error()
		}
		return ""
	})
}

// claim changes what a node asks for, as its agent does.
func (w *world) claim(node string, change func(*v1alpha1.BlockClaim)) {
	w.Helper()
	w.wait("claim of "+node, func() string {
		c := &v1alpha1.BlockClaim{ObjectMeta: metav1.ObjectMeta{Name: node}}
		if err := w.Get(w.ctx, client.ObjectKey{Name: node}, c); err != nil {
			if err := w.Create(w.ctx, c); err != nil {
				return err.Error()
			}
		}
		change(c)
		status := c.Status.DeepCopy()
		if err := w.Update(w.ctx, c); err != nil {
			return err.Error()
		}
		c.Status = *status
		if err := w.Status().Update(w.ctx, c); err != nil {
			return err.Error()
		}
		return ""
	})
}

func (w *world) pool(name, cidr string, change ...func(*v1alpha1.IPPool)) *v1alpha1.IPPool {
	w.Helper()
	p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.IPPoolSpec{CIDR: cidr}}
	for _, c := range change {
		c(p)
	}
	w.must(w.Create(w.ctx, p))
	return p
}

func (w *world) endpoint(name, node, pool, address string) *v1alpha1.WorkloadEndpoint {
	w.Helper()
	e := &v1alpha1.WorkloadEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: v1alpha1.WorkloadEndpointSpec{
		Pod: name, ContainerID: name, Node: node, ContainerInterface: "eth0", Interface: names.HostInterface(name, "eth0"), Addresses: []string{address}, Pools: []string{pool}}}
	w.must(w.Create(w.ctx, e))
	return e
}
