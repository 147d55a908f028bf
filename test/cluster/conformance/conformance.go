// Package conformance runs Kubernetes' own end-to-end tests of networks against a cluster, and says which have passed. It
// takes a running cluster, and adds to it the images that the tests ask for and routes from the API server to pods.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/causeway-net/causeway/test/cluster"
)

// Focus selects, by their names, the conformance tests of networks, those of dual-stack clusters, and those of host ports,
// node ports and externalTrafficPolicy.
const Focus = `\[sig-network\].*(\[Conformance\]|\[Feature:IPv6DualStack\]|HostPort|hostPort|NodePort|nodePort|[eE]xternalTrafficPolicy)`

// FocusConformance selects the tests that every cluster which calls itself Kubernetes must pass.
const FocusConformance = `\[sig-network\].*\[Conformance\]`

// skip are tests of what this cluster has not got, such as load balancers of a cloud and SCTP, and those that break clusters. The
// last one asks a node port from its own node, for a pod of another node. kube-proxy masquerades that with the address of the
// link on which it leaves, which is the tunnel's where the nodes' subnets differ; the test knows only the node's.
const skip = `\[Slow\]|\[Disruptive\]|\[Flaky\]|\[Feature:LoadBalancer\]|\[Feature:LocalhostNodePorts\]|LoadBalancers|SCTP|sctp|` +
	`NodePort and HealthCheckNodePort correctly when ExternalTrafficPolicy changes`

// Options say what to run.
type Options struct {
	// Focus is a regular expression that selects tests by their names.
	Focus string
	// Processes is how many tests run at once.
	Processes int
	// Attempts is how often a test is tried that fails, 1 by default.
	Attempts int
	// Timeout ends the whole run.
	Timeout time.Duration
	// Dir is where the report goes (junit_01.xml). What an earlier run has left there is removed.
	Dir string
	// Log is told what the tests do.
	Log io.Writer
}

// Run runs the tests. The error says that they could not be run; a test that fails is in the results.
func Run(ctx context.Context, c *cluster.Cluster, o Options) (Results, error) {
	for _, name := range []string{"e2e.test", "ginkgo"} {
		if _, err := os.Stat(c.Bin(name)); err != nil {
			return Results{}, fmt.Errorf("bin/%s is missing: run `make conformance-programs`", name)
		}
	}
	if err := load(ctx, c); err != nil {
		return Results{}, err
	}
	var following sync.WaitGroup
	defer following.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	following.Go(func() { followBlocks(ctx, c) })
	report := filepath.Join(o.Dir, "junit_01.xml")
	// A report of an earlier run must not be taken for this one's.
	if err := os.RemoveAll(o.Dir); err != nil {
		return Results{}, fmt.Errorf("remove the report of an earlier run: %w", err)
	}
	cmd := exec.CommandContext(ctx, c.Bin("ginkgo"), arguments(c, o)...)
	// The tests are a program of another module than the one whose folder they lie in: ginkgo must not ask that for its version.
	cmd.Env, cmd.Dir = append(append(os.Environ(), c.Environment()...), "GO111MODULE=off"), c.Dir
	cmd.Stdout, cmd.Stderr = o.Log, o.Log
	ran := cmd.Run() // It fails if a test fails, so the report decides.
	text, err := os.ReadFile(report)
	if err != nil {
		return Results{}, fmt.Errorf("the tests have left no report: %w", errors.Join(ran, err))
	}
	results, err := parse(text)
	if err == nil && ran != nil && len(results.Failed) == 0 {
		err = fmt.Errorf("no test has failed, but the run did: %w", ran)
	}
	return results, err
}

func arguments(c *cluster.Cluster, o Options) []string {
	return []string{
		"--no-color", "--procs=" + strconv.Itoa(o.Processes), "--timeout=" + o.Timeout.String(), "--flake-attempts=" + strconv.Itoa(max(1, o.Attempts)),
		"--focus=" + o.Focus, "--skip=" + skip, c.Bin("e2e.test"), "--",
		"--kubeconfig=" + c.AdminKubeconfig(), "--provider=skeleton", "--num-nodes=" + strconv.Itoa(len(c.Nodes)), "--kubectl-path=" + c.Bin("kubectl"), "--report-dir=" + o.Dir,
	}
}

// load gives every node the images that the tests ask for by name. Two of them stand in for others: the tests of DNS want an
// image with glibc, and dig, which ours is, and an nginx in a test of endpoints need only run.
func load(ctx context.Context, c *cluster.Cluster) error {
	for _, n := range c.Nodes {
		for _, image := range []string{"tools", "nginx"} {
			if err := n.Load(ctx, c.Bin("images/conformance-"+image+".tar")); err != nil {
				return fmt.Errorf("%s: load the tests' images: %w", n.Name, err)
			}
		}
		for _, name := range []string{"glibc-dns-testing:2.1.1", "busybox:1.37.0-2"} {
			if err := n.Tag(ctx, cluster.AgnhostImage, "registry.k8s.io/e2e-test-images/"+name); err != nil {
				return fmt.Errorf("%s: name the tests' images: %w", n.Name, err)
			}
		}
	}
	return nil
}
