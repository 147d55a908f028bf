package chart_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/test/lab/controlplane"
	"github.com/causeway-net/causeway/test/retry"
)

const (
	apiAddress = "172.30.0.1"
	nameLabel  = "app.kubernetes.io/name"
)

// cluster is a real API server with two nodes that the test plays.
type cluster struct {
	*controlplane.ControlPlane
	t     *testing.T
	dir   string
	bin   string // the folder with our programs
	nodes []string

	mu    sync.Mutex
	dirty map[string]string // nodes that can't be cleaned, and why
	jobs  map[string]string // what each Job's container has printed

	controlling sync.Mutex
	controller  *controlplane.Daemon
}

func begin(t *testing.T) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("/mnt", "chart-")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"link", "set", "lo", "up"}, {"addr", "replace", apiAddress + "/32", "dev", "lo"}} {
		if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	bin, err := filepath.Abs(root + "/bin")
	if err != nil {
		t.Fatal(err)
	}
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Dir: dir, Bin: bin, Address: netip.MustParseAddr(apiAddress)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plane.Stop)
	c := &cluster{ControlPlane: plane, t: t, dir: dir, bin: bin, nodes: []string{"n1", "n2"}, dirty: map[string]string{}, jobs: map[string]string{}}
	for _, name := range c.nodes {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: "linux"}}}
		must(t, c.Client.Create(t.Context(), node))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.play(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		c.stopController()
		if log, err := os.ReadFile(filepath.Join(c.dir, "causeway-controller.log")); err == nil && t.Failed() {
			t.Logf("the controller printed:\n%s", log)
		}
	})
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// helm runs helm as the administrator.
func (c *cluster) helm(args ...string) (string, error) {
	c.t.Helper()
	return run(c.t, []string{"KUBECONFIG=" + c.AdminKubeconfig(), "HELM_CACHE_HOME=" + c.dir, "HELM_CONFIG_HOME=" + c.dir, "HELM_DATA_HOME=" + c.dir}, "helm", args...)
}

// play does what controllers and kubelets do, until the context ends. Errors are those of a moment: the next turn repairs it.
func (c *cluster) play(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			wanted := c.workloads(ctx)
			c.pods(ctx, wanted)
			c.runJobs(ctx)
			c.namespaces(ctx)
		}
	}
}

// workload is what pods are made from.
type workload struct {
	namespace string
	template  corev1.PodTemplateSpec
}

// workloads says which workload's pods there should be, and that they are there.
func (c *cluster) workloads(ctx context.Context) map[string]workload {
	wanted := map[string]workload{}
	var sets appsv1.DaemonSetList
	var deployments appsv1.DeploymentList
	_ = c.Client.List(ctx, &sets)
	_ = c.Client.List(ctx, &deployments)
	for _, s := range sets.Items {
		wanted[s.Name] = workload{s.Namespace, s.Spec.Template}
		n := int32(len(c.nodes))
		s.Status = appsv1.DaemonSetStatus{ObservedGeneration: s.Generation, DesiredNumberScheduled: n, CurrentNumberScheduled: n, NumberReady: n, UpdatedNumberScheduled: n, NumberAvailable: n}
		_ = c.Client.Status().Update(ctx, &s)
	}
	running := false
	for _, d := range deployments.Items {
		wanted[d.Name], running = workload{d.Namespace, d.Spec.Template}, true
		n := *d.Spec.Replicas
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n,
			Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue}}}
		_ = c.Client.Status().Update(ctx, &d)
	}
	if running {
		c.startController()
	} else {
		c.stopController()
	}
	return wanted
}

// startController runs the real controller, with the rights of its service account and no more. One that has ended by itself is started
// again, as a kubelet does.
func (c *cluster) startController() {
	c.controlling.Lock()
	defer c.controlling.Unlock()
	if c.controller != nil && c.controller.Exited() == nil {
		return
	}
	kubeconfig, err := c.Kubeconfig("controller.kubeconfig", controlplane.ControllerUser, controlplane.AgentGroup, "system:authenticated")
	if err != nil {
		return
	}
	if d, err := controlplane.StartDaemon(c.dir, filepath.Join(c.bin, "causeway-controller"), "--kubeconfig="+kubeconfig, "--leader-elect=false"); err == nil {
		c.controller = d
	}
}

func (c *cluster) stopController() {
	c.controlling.Lock()
	defer c.controlling.Unlock()
	c.controller.Kill()
	c.controller = nil
}

func (c *cluster) controllerRuns() bool {
	c.controlling.Lock()
	defer c.controlling.Unlock()
	return c.controller != nil
}

// pods makes the pods of workloads, and removes those whose workload is gone.
func (c *cluster) pods(ctx context.Context, wanted map[string]workload) {
	var pods corev1.PodList
	if c.Client.List(ctx, &pods, client.HasLabels{nameLabel}) != nil {
		return
	}
	there := map[string]bool{}
	for _, p := range pods.Items {
		there[p.Name] = true
		if _, ok := wanted[p.Labels[nameLabel]]; !ok {
			_ = c.Client.Delete(ctx, &p, client.GracePeriodSeconds(0))
			continue
		}
		p.Status.Phase = corev1.PodRunning
		if p.Labels[nameLabel] == "causeway-cleanup" {
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{c.cleaning(p.Spec.NodeName)}
		}
		_ = c.Client.Status().Update(ctx, &p)
	}
	for name, w := range wanted {
		for _, node := range c.nodes {
			if !there[name+"-"+node] {
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name + "-" + node, Labels: w.template.Labels}, Spec: w.template.Spec}
				pod.Spec.NodeName = node
				_ = c.Client.Create(ctx, pod)
			}
		}
	}
}

func (c *cluster) cleaning(node string) corev1.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := &corev1.ContainerStateTerminated{}
	if why := c.dirty[node]; why != "" {
		end.ExitCode, end.Message = 1, why
	}
	return corev1.ContainerStatus{Name: "cleanup", State: corev1.ContainerState{Terminated: end}}
}

// runJobs runs the container of each new Job as its service account.
func (c *cluster) runJobs(ctx context.Context) {
	var jobs batchv1.JobList
	if c.Client.List(ctx, &jobs) != nil {
		return
	}
	for _, j := range jobs.Items {
		c.mu.Lock()
		_, begun := c.jobs[string(j.UID)]
		c.jobs[string(j.UID)] += ""
		c.mu.Unlock()
		if !begun {
			go c.runJob(ctx, j)
		}
	}
}

func (c *cluster) runJob(ctx context.Context, j batchv1.Job) {
	spec := j.Spec.Template.Spec
	out, err := "", error(nil)
	kubeconfig, err := c.Kubeconfig(j.Name+".kubeconfig", "system:serviceaccount:"+j.Namespace+":"+spec.ServiceAccountName, "system:authenticated")
	if err == nil {
		command := spec.Containers[0].Command
		cmd := exec.CommandContext(ctx, filepath.Join(c.bin, filepath.Base(command[0])), append(command[1:], "--kubeconfig="+kubeconfig)...)
		var text []byte
		text, err = cmd.CombinedOutput()
		out = string(text)
	}
	now := metav1.Now()
	j.Status.StartTime = &now
	condition := func(kind batchv1.JobConditionType) batchv1.JobCondition {
		return batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, LastProbeTime: now, LastTransitionTime: now, Reason: "Played"}
	}
	if err == nil {
		j.Status.Succeeded, j.Status.CompletionTime = 1, &now
		j.Status.Conditions = []batchv1.JobCondition{condition(batchv1.JobSuccessCriteriaMet), condition(batchv1.JobComplete)}
	} else {
		j.Status.Failed = 1
		j.Status.Conditions = []batchv1.JobCondition{condition(batchv1.JobFailureTarget), condition(batchv1.JobFailed)}
		out += err.Error()
	}
	c.mu.Lock()
	c.jobs[j.Name] = out
	c.mu.Unlock()
	_ = retry.Until(ctx, 10*time.Second, func() error { return client.IgnoreNotFound(c.Client.Status().Update(ctx, &j)) })
}

// said is what the last run of a Job has printed.
func (c *cluster) said(job string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jobs[job]
}

// namespaces ends deleted namespaces once nothing is in them.
func (c *cluster) namespaces(ctx context.Context) {
	var all corev1.NamespaceList
	if c.Client.List(ctx, &all) != nil {
		return
	}
	for _, n := range all.Items {
		if n.DeletionTimestamp == nil || len(n.Spec.Finalizers) == 0 {
			continue
		}
		var accounts corev1.ServiceAccountList
		var pods corev1.PodList
		if c.Client.List(ctx, &accounts, client.InNamespace(n.Name)) != nil || c.Client.List(ctx, &pods, client.InNamespace(n.Name)) != nil {
			continue
		}
		if len(accounts.Items)+len(pods.Items) == 0 {
			n.Spec.Finalizers = nil
			_ = c.Client.SubResource("finalize").Update(ctx, &n)
		}
	}
}

// left names what is there of Causeway.
func (c *cluster) left(ctx context.Context) (string, error) {
	kinds := "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings," +
		"mutatingadmissionpolicies,mutatingadmissionpolicybindings,flowschemas,prioritylevelconfigurations,daemonsets,deployments,jobs,roles,rolebindings,leases,serviceaccounts,pods,configmaps"
	out, err := run(c.t, []string{"KUBECONFIG=" + c.AdminKubeconfig()}, "kubectl", "get", kinds, "-A", "-o", "name", "--ignore-not-found")
	var ours []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "causeway") {
			ours = append(ours, strings.TrimSpace(line))
		}
	}
	return strings.Join(ours, "\n"), err
}

// nothingLeft waits until all of Causeway is gone.
func (c *cluster) nothingLeft() {
	c.t.Helper()
	must(c.t, retry.Until(c.t.Context(), 30*time.Second, func() error {
		left, err := c.left(c.t.Context())
		if err == nil && left != "" {
			err = fmt.Errorf("left: %s", left)
		}
		return err
	}))
}
