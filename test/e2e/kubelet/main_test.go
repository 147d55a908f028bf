// Package kubelet_test runs Causeway in a real cluster, from its installation by helm to its end: kubelet, containerd,
// kube-proxy and CoreDNS on nodes made of namespaces. What is tested elsewhere in more depth, with a lab that plays
// kubelet, is tested here to fit together with the real one.
package kubelet_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/test/cluster"
	"github.com/causeway-net/causeway/test/retry"
)

// patience is how long something may take that takes seconds on a quiet machine.
const patience = 4 * time.Minute

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// fixture is the cluster with what the steps share.
type fixture struct {
	*cluster.Cluster
	t *testing.T
	// before is what print shows of each node without Causeway, by its name.
	before map[string]string
	// watched are pings between pods that no step touches.
	watched []*pinger
}

// begin starts a cluster without Causeway.
func begin(t *testing.T, o cluster.Options) *fixture {
	t.Helper()
	log := &strings.Builder{}
	o.Log = log
	c, err := cluster.New(t.Context(), o)
	if err != nil {
		t.Fatal(err, log)
	}
	t.Cleanup(c.Stop)
	f := &fixture{Cluster: c, t: t, before: map[string]string{}}
	for _, n := range c.Nodes {
		f.before[n.Name] = f.print(n)
	}
	return f
}

func (f *fixture) install() {
	// An agent that hangs is found after half a minute, not after more than one.
	const values = "agent.minReadySeconds=2,agent.livenessProbe.periodSeconds=5,agent.livenessProbe.timeoutSeconds=5"
	if err := f.Install(f.t.Context(), "--set="+values); err != nil {
		f.t.Fatal(err)
	}
	f.audit()
}

// step is a part of the test that others build on: if it fails, the test ends.
func (f *fixture) step(name string, do func()) {
	f.t.Helper()
	begin := time.Now()
	do()
	if f.t.Failed() {
		f.t.Fatalf("%s failed", name)
	}
	f.t.Logf("%-46s %5.1f s", name, time.Since(begin).Seconds())
}

// kubectl runs kubectl and ends the test if that fails.
func (f *fixture) kubectl(args ...string) string {
	f.t.Helper()
	out, err := f.Command(f.t.Context(), "kubectl", args...)
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// helm runs helm and ends the test if that fails.
func (f *fixture) helm(args ...string) string {
	f.t.Helper()
	out, err := f.Command(f.t.Context(), "helm", args...)
	if err != nil {
		f.t.Fatal(err, f.state())
	}
	return strings.TrimSpace(out)
}

// apply applies a manifest.
func (f *fixture) apply(manifest string) {
	f.t.Helper()
	file := f.t.TempDir() + "/manifest.yaml"
	if err := os.WriteFile(file, []byte(manifest), 0o644); err != nil {
		f.t.Fatal(err)
	}
	f.kubectl("apply", "-f", file)
}

// eventually waits for something to come about, and ends the test with what the last try said if it does not.
func (f *fixture) eventually(what string, try func() error) {
	f.t.Helper()
	if err := retry.Until(f.t.Context(), patience, func() error {
		err := try()
		if err != nil {
			time.Sleep(300 * time.Millisecond) // Each try starts programs.
		}
		return err
	}); err != nil {
		f.t.Fatalf("%s: %v\n%s", what, err, f.state())
	}
}

// state is what a person would look at first.
func (f *fixture) state() string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.t.Context()), time.Minute)
	defer cancel()
	pods, _ := f.Command(ctx, "kubectl", "get", "nodes,pods,workloadendpoints", "-A", "-o", "wide") // best effort
	events, _ := f.Command(ctx, "kubectl", "get", "events", "-A", "--sort-by=.lastTimestamp")
	lines := strings.Split(events, "\n")
	return pods + strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// rollout waits until a workload has rolled out.
func (f *fixture) rollout(namespace, workload string) {
	f.t.Helper()
	if _, err := f.Command(f.t.Context(), "kubectl", "-n", namespace, "rollout", "status", workload, "--timeout="+patience.String()); err != nil {
		f.t.Fatal(err, f.state())
	}
}
