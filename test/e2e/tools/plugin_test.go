package tools_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/addresses"
	"github.com/causeway-net/causeway/kubectl-causeway/health"
	"github.com/causeway-net/causeway/kubectl-causeway/sessions"
	"github.com/causeway-net/causeway/test/lab"
)

// TestPlugin has a cluster in which all is well, then one fault after the other: each is named, and none once it is mended.
func TestPlugin(t *testing.T) {
	l := lab.Start(t, lab.Options{})
	l.Create(t, pool("default-v4", "10.211.0.0/16"))
	l.Create(t, pool("default-v6", "fd00:10:211::/112"))
	l.Create(t, &v1alpha1.BGPConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.BGPConfigurationSpec{
		ASNumber: 64512, ListenPort: 179, NodeToNodeMesh: v1alpha1.NodeToNodeMesh{Enabled: true}}})
	pods := l.PodsOnAll(t, "pod")

	t.Run("all is well", func(t *testing.T) {
		await(t, l, 0, []string{"status", "--wait", "--timeout=30s"}, "node1", "live", "default-v4", "All is well.")
		await(t, l, 0, []string{"bgp"}, "NodeToNodeMesh", "Established", "(node2)")
		await(t, l, 0, []string{"ipam", "check"}, "6 addresses of 3 records, 3 pods", "Everything fits together.")
		await(t, l, 0, []string{"ipam", "show", "-o", "wide"}, "3 of 64512 addresses used", "default/pod-0")
		await(t, l, 0, []string{"ipam", "show", pods[0].V4().String()}, "Pod default/pod-0 on node node1 has the address.")
		await(t, l, 0, []string{"ipam", "free", "--dry-run"}, "nothing that can be freed")
		await(t, l, 0, []string{"version"}, "kubectl-causeway ", "Kubernetes v1.")
	})
	t.Run("values", func(t *testing.T) { values(t, l) })
	t.Run("windows", func(t *testing.T) { agentsSay(t, l) })
	t.Run("map", func(t *testing.T) { drawn(t, l) })
	t.Run("diag", func(t *testing.T) { packed(t, l) })
	t.Run("import", func(t *testing.T) { imported(t, l) })
	t.Run("errors", func(t *testing.T) {
		await(t, l, 2, []string{"status", "-o", "xml"}, "use table, wide, json or yaml")
		await(t, l, 2, []string{"bgp", "node9"}, "node node9 has no BGPNodeState")
		await(t, l, 2, []string{"ipam", "show", "10.0.0"}, "not an IP address")
		await(t, l, 2, []string{"status", "--server=https://172.30.0.1:1"}, "refused")
	})
	t.Run("completion", func(t *testing.T) {
		await(t, l, 0, []string{"__complete", "bgp", ""}, "node1\nnode2\nnode3\n")
		await(t, l, 0, []string{"__complete", "status", "-o", ""}, "table\nwide\njson\nyaml\n")
		must(t, says(t.Context(), l, 0, []string{"completion", "bash"}, "kubectl-causeway"))
		kubectlCompletes(t, l)
	})
	t.Run("a router that is not there", func(t *testing.T) {
		as := int64(65001)
		peer := &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "rack"}, Spec: v1alpha1.BGPPeerSpec{PeerIP: "172.30.1.1", ASNumber: &as}}
		l.Create(t, peer)
		await(t, l, 1, []string{"bgp", "node1"}, "BGPPeer/rack", "refuses connections", "Configure BGP on the router")
		await(t, l, 1, []string{"status"}, "Trouble 1: The BGP session of", "with 172.30.1.1 (AS 65001, BGPPeer/rack) is down")
		must(t, l.Client.Delete(t.Context(), peer))
		await(t, l, 0, []string{"status"}, "All is well.")
	})
	t.Run("pools that can't be used", func(t *testing.T) {
		nodes, second := pool("nodes", "172.30.0.0/16"), pool("second", "10.211.64.0/18")
		l.Create(t, nodes)
		await(t, l, 1, []string{"status"}, "Pool nodes: The pool", "What to do: Delete the pool and choose another range.")
		must(t, l.Client.Delete(t.Context(), nodes))
		l.Create(t, second)
		await(t, l, 1, []string{"status"}, "Pool second: The pool shares addresses with pool default-v4", "Delete one of the two pools.")
		must(t, l.Client.Delete(t.Context(), second))
		await(t, l, 0, []string{"status", "--wait"}, "All is well.")
	})
	t.Run("a pool that is drained", func(t *testing.T) { drained(t, l, pods) })
	t.Run("a pool that is used up", func(t *testing.T) { usedUp(t, l) })
	t.Run("an agent that is away, and a pod that goes meanwhile", func(t *testing.T) { leak(t, l, pods[2]) })
}

// kubectlCompletes asks kubectl itself, which asks the plugin by another name.
func kubectlCompletes(t *testing.T, l *lab.Lab) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Symlink(l.Bin("kubectl-causeway"), filepath.Join(dir, "kubectl_complete-causeway")))
	c := l.Command(t.Context(), l.Bin("kubectl"), "__complete", "causeway", "bgp", "")
	c.Env = []string{"KUBECONFIG=" + l.AdminKubeconfig(), "PATH=" + dir + ":" + l.Bin("") + ":" + os.Getenv("PATH"), "HOME=" + l.Dir}
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(out, "node1\nnode2\nnode3\n") {
		t.Errorf("kubectl completes (%v)\n%s", err, out)
	}
}

// values reads the answers that scripts read.
func values(t *testing.T, l *lab.Lab) {
	report := decoded[health.Report](t, l, "status")
	if !report.Healthy || len(report.Nodes) != 3 || len(report.Pools) != 2 || len(report.Troubles) != 0 {
		t.Errorf("status says %+v", report)
	}
	account := decoded[addresses.Account](t, l, "ipam", "check")
	if account.Addresses != 6 || account.Pods != 3 || len(account.Disagreements) != 0 {
		t.Errorf("ipam check says %+v", account)
	}
	pools := decoded[[]addresses.Pool](t, l, "ipam", "show")
	if len(pools) != 2 || pools[0].Used != 3 || len(pools[0].Blocks) != 3 {
		t.Errorf("ipam show says %+v", pools)
	}
	speakers := decoded[[]sessions.Speaker](t, l, "bgp")
	if len(speakers) != 3 || speakers[0].Established != speakers[0].Expected || len(speakers[0].Sessions) == 0 {
		t.Errorf("bgp says %+v", speakers)
	}
}

// usedUp has a pool of one block for three pods, and a fourth that asks for it by name.
func usedUp(t *testing.T, l *lab.Lab) {
	bits := int32(30)
	tiny := pool("tiny", "10.213.0.0/30")
	tiny.Spec.BlockSize, tiny.Spec.AssignmentMode = &bits, v1alpha1.AssignmentManual
	l.Create(t, tiny)
	l.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "tiny", Annotations: map[string]string{v1alpha1.AnnotationPools: "tiny"}}})
	var pods []*lab.Pod
	l.Eventually(t, lab.Settle, "three pods have all addresses of the pool", func() error {
		p, err := l.StartPod(t.Context(), l.Nodes[0], fmt.Sprintf("tiny/pod-%d", len(pods)), lab.PodOptions{NoObject: true})
		if err == nil {
			pods = append(pods, p)
		}
		if len(pods) < 3 {
			return errors.Join(err, fmt.Errorf("%d pods run", len(pods)))
		}
		return nil
	})
	asked := make(chan error, 1)
	go func() {
		_, err := l.StartPod(t.Context(), l.Nodes[0], "tiny/one-more", lab.PodOptions{NoObject: true})
		asked <- err
	}()
	await(t, l, 1, []string{"status"}, "Pool tiny: ", "Add another pool, or delete pods.")
	if err := <-asked; err == nil {
		t.Error("a fourth pod got an address")
	}
	for _, p := range pods {
		must(t, l.StopPod(t.Context(), p))
	}
	must(t, l.Client.Delete(t.Context(), tiny))
	await(t, l, 0, []string{"status", "--wait"}, "All is well.")
}

// leak lets an agent crash and a pod's object go: the record is named, can be freed, and comes back as long as the pod's link
// is there, so nobody else gets the address.
func leak(t *testing.T, l *lab.Lab, p *lab.Pod) {
	must(t, p.Node.StopAgent(syscall.SIGKILL))
	makeOld(t, l, v1alpha1.AgentLeasePrefix+p.Node.Name)
	await(t, l, 1, []string{"status"}, "Trouble 1: The agent of node node3 has not renewed its Lease for", "logs causeway-agent-node3 -c agent")

	must(t, l.Client.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}, client.GracePeriodSeconds(0)))
	check := []string{"ipam", "check", "--pause=100ms"}
	await(t, l, 1, check, "PodGone: The record default/pod-2-", "for pod default/pod-2, which is gone.", "1 thing does not fit together.")
	await(t, l, 0, []string{"ipam", "free", "--dry-run", "--pause=100ms"}, "default/pod-2", "would be deleted")
	await(t, l, 1, check, "PodGone")
	must(t, says(t.Context(), l, 0, []string{"ipam", "free", "--pause=100ms"}, "default/pod-2", "deleted"))
	await(t, l, 0, check, "Everything fits together.")

	must(t, p.Node.StartAgent())
	await(t, l, 1, check, "PodGone: The record default/pod-2-")
	must(t, l.StopPod(t.Context(), p))
	await(t, l, 0, check, "Everything fits together.")
	await(t, l, 0, []string{"status"}, "All is well.")
}

// makeOld takes a Lease back to where it has run out, so that the test need not wait for that.
func makeOld(t *testing.T, l *lab.Lab, name string) {
	t.Helper()
	var lease coordinationv1.Lease
	must(t, l.Object(t.Context(), v1alpha1.SystemNamespace+"/"+name, &lease))
	old := metav1.NewMicroTime(time.Now().Add(-3 * time.Minute))
	lease.Spec.RenewTime = &old
	must(t, l.Client.Update(t.Context(), &lease))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(strings.TrimSpace(err.Error()))
	}
}
