package chart_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/scrape"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/test/lab/controlplane"
	"github.com/causeway-net/causeway/test/nextrelease"
	"github.com/causeway-net/causeway/test/retry"
)

// The life of a release: installed in one command, changed, rolled back, taken out again, from half-way states too.
func TestRelease(t *testing.T) {
	c := begin(t)
	ctx := t.Context()

	t.Log("install")
	started := time.Now()
	out, err := c.helm("install", "causeway", chartPath, "--set", "firstPools.ipv4=10.211.0.0/16,firstPools.ipv6=fd00:10:211::/48,uninstall.timeoutSeconds=20", "--timeout", "2m")
	must(t, err)
	t.Logf("installed in %s", time.Since(started).Round(100*time.Millisecond))
	for _, notes := range []string{"kubectl get ippools", "clusterCIDR", "portmap", "helm uninstall causeway"} {
		if !strings.Contains(out, notes) {
			t.Errorf("the notes don't say %q: %s", notes, out)
		}
	}
	var pool v1alpha1.IPPool
	must(t, c.Client.Get(ctx, client.ObjectKey{Name: "default-v4"}, &pool))
	must(t, c.Client.Get(ctx, client.ObjectKey{Name: "default-v6"}, &v1alpha1.IPPool{}))

	t.Log("metrics are for those whom Kubernetes lets, with the roles that the release brings")
	c.askForMetrics()

	t.Log("the people's side of a pool stays through upgrade and rollback")
	must(t, retry.Until(ctx, 30*time.Second, func() error {
		if err := c.Client.Get(ctx, client.ObjectKeyFromObject(&pool), &pool); err != nil {
			return err
		}
		pool.Spec.Encapsulation = v1alpha1.EncapsulationVXLAN
		return c.Client.Update(ctx, &pool)
	}))
	newer, err := nextrelease.Chart(ctx, chartPath, t.TempDir())
	must(t, err)
	_, err = c.helm("upgrade", "causeway", newer, "--reuse-values", "--set", "agent.verbosity=1,mtu=1400")
	must(t, err)
	c.agentHas("--verbosity=1", "--mtu=1400")
	if !c.definitionHas(nextrelease.Field) {
		t.Error("the upgrade has not brought the new field of the definition")
	}
	_, err = c.helm("rollback", "causeway", "1")
	must(t, err)
	c.agentHas("--verbosity=0")
	if c.definitionHas(nextrelease.Field) {
		t.Error("the rollback has left the new field in the definition")
	}
	must(t, c.Client.Get(ctx, client.ObjectKeyFromObject(&pool), &pool))
	if pool.Spec.Encapsulation != v1alpha1.EncapsulationVXLAN {
		t.Errorf("the pool's encapsulation is %s again", pool.Spec.Encapsulation)
	}

	t.Log("a pod runs: the uninstallation refuses, and changes nothing")
	c.startPod()
	if _, err := c.helm("uninstall", "causeway"); err == nil {
		t.Fatal("uninstalled while a pod runs")
	}
	if said := c.said("causeway-uninstall"); !strings.Contains(said, "1 pods of the network still run: default/pod.") {
		t.Errorf("it said: %s", said)
	}
	must(t, c.Client.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "causeway-agent"}, &appsv1.DaemonSet{}))

	t.Log("told to go on, it does; a node can't be cleaned, so it says which and why, and stops half-way")
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}}
	must(t, c.Client.Patch(ctx, namespace, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"causeway.dev/uninstall":"force"}}}`))))
	c.setDirty("n2", "the agent of this node still answers")
	if _, err := c.helm("uninstall", "causeway"); err == nil {
		t.Fatal("uninstalled though a node is not clean")
	}
	if said := c.said("causeway-uninstall"); !strings.Contains(said, "1 of 2 nodes are not clean yet: n2 (the agent of this node still answers).") {
		t.Errorf("it said: %s", said)
	}

	t.Log("a second run gets out")
	c.setDirty("n2", "")
	started = time.Now()
	_, err = c.helm("uninstall", "causeway")
	if err != nil {
		t.Fatalf("%v: %s", err, c.said("causeway-uninstall"))
	}
	c.nothingLeft()
	t.Logf("uninstalled in %s", time.Since(started).Round(100*time.Millisecond))
}

// Somebody deletes everything with kubectl, as people do: the controller goes with the objects that it should release, and
// the definitions wait for ever. The verb gets out of that, and a new installation follows.
func TestUninstallAfterKubectlDelete(t *testing.T) {
	c := begin(t)
	ctx := t.Context()
	kubectl := func(args ...string) {
		t.Helper()
		_, err := run(t, []string{"KUBECONFIG=" + c.AdminKubeconfig()}, "kubectl", args...)
		must(t, err)
	}
	// Definitions first, and again what needs them: server-side apply does not wait.
	kubectl("apply", "--server-side", "-k", root+"/config/crd")
	kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	kubectl("apply", "--server-side", "-k", root+"/config/default")
	kubectl("apply", "-k", root+"/config/samples")
	c.startPod()
	// The controller goes first: with luck it would still release something.
	kubectl("-n", v1alpha1.SystemNamespace, "delete", "deployment", "causeway-controller")
	must(t, retry.Until(ctx, 30*time.Second, func() error {
		if c.controllerRuns() {
			return errors.New("the controller runs")
		}
		return nil
	}))
	kubectl("delete", "-k", root+"/config/default", "--wait=false", "--ignore-not-found")
	must(t, retry.Until(ctx, 30*time.Second, func() error {
		var crds apiextensionsv1.CustomResourceDefinitionList
		if err := c.Client.List(ctx, &crds); err != nil {
			return err
		}
		state := "is gone"
		for _, d := range crds.Items {
			if d.Name == "ippools.causeway.dev" {
				state = fmt.Sprintf("is there, deleted at %v", d.DeletionTimestamp)
				if d.DeletionTimestamp != nil {
					return nil
				}
			}
		}
		return fmt.Errorf("the definition of pools is not waiting: it %s", state)
	}))
	uninstall := func() {
		t.Helper()
		out, err := exec.CommandContext(ctx, root+"/bin/kubectl-causeway", "uninstall", "--kubeconfig="+c.AdminKubeconfig(), "--image=causeway:v0.1.0", "--timeout=60s").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%s", out)
	}
	uninstall()
	c.nothingLeft()
	_, err := c.helm("install", "causeway", chartPath, "--set", "firstPools.ipv4=10.211.0.0/16", "--timeout", "2m")
	must(t, err)
	_, err = c.helm("uninstall", "causeway")
	must(t, err)
	c.nothingLeft()
}

// newerChart is a copy of the chart with one more field in a definition.
func (c *cluster) definitionHas(field string) bool {
	c.t.Helper()
	var crd apiextensionsv1.CustomResourceDefinition
	must(c.t, c.Client.Get(c.t.Context(), client.ObjectKey{Name: "ippools.causeway.dev"}, &crd))
	_, found := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties[field]
	return found
}

func (c *cluster) agentHas(flags ...string) {
	c.t.Helper()
	var agents appsv1.DaemonSet
	must(c.t, c.Client.Get(c.t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "causeway-agent"}, &agents))
	for _, f := range flags {
		if !slices.Contains(agents.Spec.Template.Spec.Containers[0].Command, f) {
			c.t.Errorf("the agent is started as %q, without %s", agents.Spec.Template.Spec.Containers[0].Command, f)
		}
	}
}

func (c *cluster) setDirty(node, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirty[node] = why
}

// startPod makes a pod with a block and a record, as the controller and an agent do.
func (c *cluster) startPod() {
	c.t.Helper()
	ctx := c.t.Context()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pod"}, Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "none"}}}}
	must(c.t, c.Client.Create(ctx, pod))
	controller, err := c.As(controlplane.ControllerUser)
	must(c.t, err)
	block := &v1alpha1.IPBlock{
		ObjectMeta: metav1.ObjectMeta{Name: "10.211.0.0-26", Finalizers: []string{v1alpha1.FinalizerBlock}},
		Spec:       v1alpha1.IPBlockSpec{CIDR: "10.211.0.0/26", Pool: "default-v4", Node: "n1", NodeAddresses: []string{"192.0.2.1"}},
	}
	// The pool first needs its finalizer from the controller. The API server asks for it as soon as it has heard of the policies.
	must(c.t, retry.Until(ctx, 60*time.Second, func() error {
		var pool v1alpha1.IPPool
		if err := c.Client.Get(ctx, client.ObjectKey{Name: block.Spec.Pool}, &pool); err != nil {
			return err
		}
		if !slices.Contains(pool.Finalizers, v1alpha1.FinalizerPool) {
			return errors.New("the controller has not put its finalizer on the pool")
		}
		return nil
	}))
	must(c.t, retry.Until(ctx, 60*time.Second, func() error { return client.IgnoreAlreadyExists(controller.Create(ctx, block)) }))
	var token string
	must(c.t, retry.Until(ctx, 30*time.Second, func() (err error) { token, err = c.AgentToken(ctx, "n1"); return err }))
	config := rest.AnonymousClientConfig(c.Config)
	config.BearerToken = token
	agent, err := client.New(config, client.Options{Scheme: c.Client.Scheme()})
	must(c.t, err)
	link := names.HostInterface("0123456789abcdef", "eth0")
	record := &v1alpha1.WorkloadEndpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pod-" + strings.TrimPrefix(link, names.HostInterfacePrefix)},
		Spec: v1alpha1.WorkloadEndpointSpec{Pod: "pod", ContainerID: "0123456789abcdef", Node: "n1", Network: "causeway", ContainerInterface: "eth0",
			Interface: link, Addresses: []string{"10.211.0.5/32"}, Pools: []string{"default-v4"}},
	}
	must(c.t, retry.Until(ctx, 30*time.Second, func() error { return client.IgnoreAlreadyExists(agent.Create(ctx, record)) }))
}

// askForMetrics serves metrics with the rights of the agents' account, and asks with a token before and after it may.
func (c *cluster) askForMetrics() {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	kubeconfig, err := c.Kubeconfig("metrics.kubeconfig", "system:serviceaccount:"+v1alpha1.SystemNamespace+":causeway-agent", "system:authenticated")
	must(c.t, err)
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	must(c.t, err)
	const address = "127.0.0.1:9441"
	server, err := scrape.New(scrape.Options{Address: address, Secure: true, Config: config, Log: logr.Discard(),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") })})
	must(c.t, err)
	done := make(chan error, 1)
	go func() { done <- server.Start(ctx) }()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "prometheus"}}
	must(c.t, c.Client.Create(ctx, account))
	token := &authenticationv1.TokenRequest{}
	must(c.t, c.Client.SubResource("token").Create(ctx, account, token))
	browser := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	answers := func(wanted int) {
		c.t.Helper()
		must(c.t, retry.Until(ctx, 30*time.Second, func() error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/metrics", nil)
			if err != nil {
				return err
			}
			request.Header.Set("Authorization", "Bearer "+token.Status.Token)
			response, err := browser.Do(request)
			if err != nil {
				return err
			}
			response.Body.Close()
			if response.StatusCode != wanted {
				return fmt.Errorf("%s, want %d", response.Status, wanted)
			}
			return nil
		}))
	}
	answers(http.StatusForbidden)
	must(c.t, c.Client.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "prometheus"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "causeway-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "prometheus"}},
	}))
	answers(http.StatusOK)
	cancel()
	must(c.t, <-done)
}
