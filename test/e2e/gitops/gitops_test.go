package gitops_test

import (
	"fmt"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
)

// poolText is the manifest of an IPPool.
func poolText(name, cidr string, encapsulation v1alpha1.Encapsulation, more ...string) string {
	return fmt.Sprintf("apiVersion: causeway.dev/v1alpha1\nkind: IPPool\nmetadata:\n  name: %s\nspec:\n  cidr: %s\n  encapsulation: %s\n", name, cidr, encapsulation) +
		strings.Join(more, "")
}

// repository is what the network's people have in Git: a pool, one for moving to, and sessions among all nodes.
func repository() map[string]string {
	return map[string]string{
		"pool.yaml":  poolText("web", "10.214.0.0/16", v1alpha1.EncapsulationVXLANCrossSubnet),
		"other.yaml": poolText("other", "10.215.0.0/16", v1alpha1.EncapsulationVXLANCrossSubnet, "  assignmentMode: Manual\n"),
		"bgp.yaml": `apiVersion: causeway.dev/v1alpha1
kind: BGPConfiguration
metadata:
  name: default
spec:
  asNumber: 64512
  nodeToNodeMesh:
    enabled: false
---
apiVersion: causeway.dev/v1alpha1
kind: BGPPeer
metadata:
  name: nodes
spec:
  peerSelector: {}
`,
	}
}

// with is a copy of some files with one changed, or without it if its text is empty.
func with(files map[string]string, name, text string) map[string]string {
	out := maps.Clone(files)
	out[name] = text
	if text == "" {
		delete(out, name)
	}
	return out
}

// cluster is a lab with Flux, and pods that ping each other all the time.
type cluster struct {
	*lab.Lab
	source *source
	git    map[string]string // what was published last, and is good
	pods   []*lab.Pod
}

// TestGitOps leads a network through its life, all of it by files that Flux applies, and asks Argo CD at each step.
func TestGitOps(t *testing.T) {
	l := lab.Start(t, lab.Options{})
	c := &cluster{Lab: l, source: startFlux(t, l), git: repository()}
	for _, step := range []struct {
		name string
		do   func(*testing.T, *cluster)
	}{
		{"apply", applied}, {"mode", modeChanges}, {"drift", driftEnds}, {"conflict", conflicts}, {"argo", argoStates}, {"prune", pruned}, {"delete", deleted},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.do(t, c) }) {
			return // Each step begins where the one before it ends.
		}
	}
}

// applied is the first revision: the Kustomization is Ready once pools and sessions are.
func applied(t *testing.T, c *cluster) {
	revision := c.source.publish(t, c.git)
	if out, err := c.kubectlApply(t, kustomization); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	awaitApplied(t, c.Lab, revision)
	awaitArgo(t, c.Lab, "ippool web", "Healthy", "3 of 3 nodes have rendered")
	awaitArgo(t, c.Lab, "bgppeer nodes", "Healthy", "6 of 6 sessions are established")
	awaitArgo(t, c.Lab, "bgpconfiguration default", "Healthy", "")
	c.pods = c.PodsOnAll(t, "web")
	c.AwaitMatrix(t, c.pods)
}

func (c *cluster) kubectlApply(t *testing.T, text string) (string, error) {
	k := c.Command(t.Context(), c.Bin("kubectl"), "--kubeconfig="+c.AdminKubeconfig(), "apply", "-f", "-")
	k.Stdin = strings.NewReader(text)
	return k.CombinedOutput()
}

// modeChanges changes the encapsulation while pods ping each other. One agent is away: Flux and Argo CD wait for it.
func modeChanges(t *testing.T, c *cluster) {
	pings := c.StartTraffic(t, c.pods)
	must(t, c.Nodes[2].StopAgent(syscall.SIGKILL))
	c.git = with(c.git, "pool.yaml", poolText("web", "10.214.0.0/16", v1alpha1.EncapsulationVXLAN))
	revision := c.source.publish(t, c.git)
	awaitFlux(t, c.Lab, "Reconciling", metav1.ConditionTrue, "Running health checks for revision "+revision)
	awaitArgo(t, c.Lab, "ippool web", "Progressing", "waiting for node node3")
	pings.More(t, 500*time.Millisecond)
	must(t, c.Nodes[2].StartAgent())
	awaitApplied(t, c.Lab, revision)
	awaitArgo(t, c.Lab, "ippool web", "Healthy", "3 of 3 nodes have rendered generation 2")
	pings.More(t, 1500*time.Millisecond) // Old tunnels go after Ready.
	pings.Judge(t, "the encapsulation changes")
}

// driftEnds changes by hand what Git says otherwise, and deletes an object.
func driftEnds(t *testing.T, c *cluster) {
	ctx := t.Context()
	pings := c.StartTraffic(t, c.pods)
	web := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	must(t, c.Client.Patch(ctx, web, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"encapsulation":"VXLANCrossSubnet"}}`))))
	must(t, c.Client.Delete(ctx, &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "nodes"}}))
	c.Eventually(t, lab.Settle, "Flux corrects what was changed by hand", func() error {
		if err := c.Object(ctx, "web", web); err != nil {
			return err
		}
		if web.Spec.Encapsulation != v1alpha1.EncapsulationVXLAN {
			return fmt.Errorf("the pool has %s", web.Spec.Encapsulation)
		}
		return c.Object(ctx, "nodes", &v1alpha1.BGPPeer{})
	})
	awaitArgo(t, c.Lab, "ippool web", "Healthy", "")
	awaitArgo(t, c.Lab, "bgppeer nodes", "Healthy", "")
	pings.Judge(t, "a change by hand is undone")
}

// conflicts publishes a pool that lies in the Service range, then one that the API server refuses. Pods don't notice.
func conflicts(t *testing.T, c *cluster) {
	pings := c.StartTraffic(t, c.pods)
	c.source.publish(t, with(c.git, "clash.yaml", poolText("clash", "10.96.0.0/16", v1alpha1.EncapsulationVXLAN)))
	awaitFlux(t, c.Lab, "Ready", metav1.ConditionFalse, "IPPool/clash status: 'Failed'")
	awaitArgo(t, c.Lab, "ippool clash", "Degraded", "The pool has addresses in common with")
	awaitArgo(t, c.Lab, "ippool clash", "Degraded", "delete it and choose another range")

	c.source.publish(t, with(c.git, "wrong.yaml", poolText("wrong", "10.216.0.1/16", v1alpha1.EncapsulationVXLAN)))
	awaitFlux(t, c.Lab, "Ready", metav1.ConditionFalse, "spec.cidr: Invalid value")
	revision := c.source.publish(t, c.git)
	awaitApplied(t, c.Lab, revision)
	if err := c.Object(t.Context(), "clash", &v1alpha1.IPPool{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pool that Git has no more is still there: %v", err)
	}
	pings.Judge(t, "a pool conflicts")
}

// pruned takes a pool out of Git while pods use it: Flux has done its part, and the pool goes with its last address.
func pruned(t *testing.T, c *cluster) {
	pings := c.StartTraffic(t, c.pods)
	c.git = with(c.git, "pool.yaml", "")
	awaitApplied(t, c.Lab, c.source.publish(t, c.git))
	awaitArgo(t, c.Lab, "ippool web", "Progressing", "Pending deletion")
	web := &v1alpha1.IPPool{}
	c.Eventually(t, lab.Settle, "the pool says what it waits for", func() error {
		if err := c.Object(t.Context(), "web", web); err != nil {
			return err
		}
		return hasCondition(web.Status.Conditions, v1alpha1.ConditionTerminating, "Waiting for 3 addresses")
	})
	pings.Judge(t, "a pool in use is pruned")
	c.stopPods(t, "web")
}

// deleted deletes the Kustomization: with deletionPolicy WaitForTermination it waits until the last pool is gone.
func deleted(t *testing.T, c *cluster) {
	ctx := t.Context()
	c.startIn(t, "other")
	k, err := getKustomization(ctx, c.Lab)
	must(t, err)
	must(t, c.Client.Delete(ctx, k))
	awaitArgo(t, c.Lab, "ippool other", "Progressing", "Pending deletion")
	if _, err := getKustomization(ctx, c.Lab); err != nil {
		t.Errorf("the Kustomization does not wait for the pool: %v", err)
	}
	c.stopPods(t, "other")
	c.Eventually(t, lab.Settle, "the Kustomization goes", func() error {
		if _, err := getKustomization(ctx, c.Lab); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is still there: %w", err)
		}
		return nil
	})
}
