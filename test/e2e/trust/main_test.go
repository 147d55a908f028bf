// Package trust_test asks the real API server, with the manifests of config/, what an agent's token, the controller and an
// administrator may do. Nothing else of Causeway runs.
package trust_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/lab/controlplane"
	"github.com/causeway-net/causeway/test/retry"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

const apiAddress = "172.30.0.1"

// world is a control plane and those who ask it.
type world struct {
	*controlplane.ControlPlane
	// own is the agent of node "own"; unbound has a token of the same service account without a node.
	own, unbound client.WithWatch
	controller   client.Client
	// agents are those of the nodes "own" and "other".
	agents map[string]client.Client
}

func begin(t *testing.T) *world {
	t.Helper()
	repo, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/mnt", "trust-")
	if err != nil {
		t.Fatal(err)
	}
	// The API server takes no loopback address for its own, so this one is given to the loopback device.
	for _, args := range [][]string{{"link", "set", "lo", "up"}, {"addr", "replace", apiAddress + "/32", "dev", "lo"}} {
		if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	plane, err := controlplane.Start(t.Context(), controlplane.Options{
		Dir: dir, Bin: filepath.Join(repo, "bin"), Config: filepath.Join(repo, "config"), Address: netip.MustParseAddr(apiAddress),
	})
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "kube-apiserver.log")) // for people only
		t.Fatalf("%v\n%s", err, log[max(0, len(log)-2000):])
	}
	t.Cleanup(plane.Stop)
	w := &world{ControlPlane: plane}
	own, err := plane.AgentToken(t.Context(), "own")
	must(t, err)
	unbound, err := plane.UnboundAgentToken(t.Context())
	must(t, err)
	other, err := plane.AgentToken(t.Context(), "other")
	must(t, err)
	w.own, w.unbound = w.with(t, own), w.with(t, unbound)
	w.agents = map[string]client.Client{"own": w.own, "other": w.with(t, other)}
	w.controller, err = plane.As(controlplane.ControllerUser)
	must(t, err)
	w.await(t)
	return w
}

// with returns a client that has nothing but a token.
func (w *world) with(t *testing.T, token string) client.WithWatch {
	t.Helper()
	c := rest.AnonymousClientConfig(w.Config)
	c.BearerToken, c.QPS = token, -1
	out, err := client.NewWithWatch(c, client.Options{Scheme: w.Client.Scheme()})
	must(t, err)
	return out
}

// await waits until the API server has compiled the policies: it hears of them by watches of its own.
func (w *world) await(t *testing.T) {
	t.Helper()
	dry := client.DryRunAll
	create(t.Context(), t, w.Client, &v1alpha1.IPPool{
		ObjectMeta: metav1.ObjectMeta{Name: "any", Finalizers: []string{v1alpha1.FinalizerPool}}, Spec: v1alpha1.IPPoolSpec{CIDR: "10.250.0.0/16"},
	})
	probes := map[string]func() error{
		"only the agent":      func() error { return w.Client.Create(t.Context(), endpoint("own"), dry) },
		"only causeway's":     func() error { return w.Client.Create(t.Context(), block("10.250.0.0/26", "any"), dry) },
		"own node only":       func() error { return w.own.Create(t.Context(), claim("other"), dry) },
		"the lease causeway":  func() error { return w.own.Create(t.Context(), lease("other"), dry) },
		"comes from causeway": func() error { return w.own.Create(t.Context(), event("own", "other"), dry) },
		"there is no ippool":  func() error { return w.controller.Create(t.Context(), block("10.9.0.0/26", "none"), dry) },
	}
	for want, ask := range probes {
		must(t, retry.Until(t.Context(), 30*time.Second, func() error {
			if err := ask(); err == nil || !strings.Contains(strings.ToLower(err.Error()), want) {
				return fmt.Errorf("the policy that says %q is not yet in force: %v", want, err)
			}
			return nil
		}))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// check compares an answer with what is wanted: "" is success, all else is part of the refusal.
func check(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused, but it is needed: %v", err)
	case want != "" && err == nil:
		t.Errorf("allowed, but should be refused with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("refused with %q, want %q", err, want)
	}
}

const containerID = "0123456789abcdef"

// endpoint is a record as the agent of a node writes it.
func endpoint(node string, change ...func(*v1alpha1.WorkloadEndpoint)) *v1alpha1.WorkloadEndpoint {
	id := containerID + node
	link := names.HostInterface(id, "eth0")
	e := &v1alpha1.WorkloadEndpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pod-" + strings.TrimPrefix(link, names.HostInterfacePrefix)},
		Spec: v1alpha1.WorkloadEndpointSpec{
			Pod: "pod", PodUID: "0a0b0c0d-0000-4000-8000-000000000001", ContainerID: id, Node: node, Network: "causeway", ContainerInterface: "eth0",
			Interface: link, MAC: names.PodMAC(id, "eth0").String(), NetworkNamespace: "/var/run/netns/cni-1",
			Addresses: []string{"10.9.0.5/32", "fd00:9::5/128"}, Pools: []string{"four", "six"},
		},
	}
	for _, c := range change {
		c(e)
	}
	return e
}

func block(cidr, pool string) *v1alpha1.IPBlock {
	return &v1alpha1.IPBlock{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.BlockName(netip.MustParsePrefix(cidr)), Finalizers: []string{v1alpha1.FinalizerBlock}},
		Spec:       v1alpha1.IPBlockSpec{CIDR: cidr, Pool: pool, Node: "own", NodeAddresses: []string{"192.0.2.1"}},
	}
}

func claim(node string) *v1alpha1.BlockClaim {
	return &v1alpha1.BlockClaim{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: v1alpha1.BlockClaimSpec{
		Pools: []v1alpha1.PoolClaim{{Pool: "four", Wanted: 16, Held: []string{"10.9.0.0/26"}, Released: []v1alpha1.ReleasedBlock{{CIDR: "fd00:9::/122", UID: "1"}}}},
	}}
}

// create creates objects as the administrator, or whoever is asked.
func create(ctx context.Context, t *testing.T, c client.Client, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := c.Create(ctx, o); err != nil {
			t.Fatalf("create %s: %v", o.GetName(), err)
		}
	}
}
