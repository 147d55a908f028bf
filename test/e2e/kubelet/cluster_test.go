package kubelet_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers"
	"github.com/causeway-net/causeway/test/cluster"
	"github.com/causeway-net/causeway/test/lab/machine"
	"github.com/causeway-net/causeway/test/nextrelease"
)

// TestCluster is the life of Causeway in one cluster. Pings between two pods go on through all of it, until it is uninstalled.
func TestCluster(t *testing.T) {
	f := begin(t, cluster.Options{Nodes: 3, Subnets: 2, Tainted: true})
	f.step("install", f.install)
	f.step("pods", f.pods)
	f.step("services, host ports, DNS, MTU", f.services)
	f.step("kubectl causeway check", f.check)
	f.step("BGP by speakers that are not root", f.speak)
	f.step("pods come and go", f.churn)
	f.step("agents roll out", f.rollAgents)
	f.step("an agent is killed", f.killAgent)
	f.step("an agent hangs", f.hangAgent)
	f.step("the API server is away", f.apiServerAway)
	f.step("kubelet and containerd restart", f.restartDaemons)
	f.step("a node is drained", f.drain)
	f.step("power cut", f.powerCut)
	f.step("a node leaves and joins with another address", f.rejoin)
	f.step("a second pool", f.secondPool)
	f.step("bad versions stop at one node", f.badVersions)
	f.step("upgrade and back", f.upgrade)
	f.step("no ping is lost", f.unwatch)
	f.step("uninstall", f.uninstall)
}

func (f *fixture) pods() {
	f.apply(workloads)
	f.kubectl("wait", "pod", "still-1", "still-2", "server", "--for=condition=Ready", "--timeout="+patience.String())
	f.crowd(30)
	f.audit()
	f.watch("still-1", "still-2")
	f.watch("still-2", "still-1")
}

// crowd is how many pods come and go.
func (f *fixture) crowd(n int) {
	f.t.Helper()
	f.kubectl("scale", "deployment/crowd", fmt.Sprintf("--replicas=%d", n))
	f.rollout("default", "deployment/crowd")
	f.eventually(fmt.Sprintf("%d pods are there", n), func() error {
		out, err := f.Command(f.t.Context(), "kubectl", "get", "pods", "-l", "app=crowd", "-o", "name")
		if got := len(strings.Fields(out)); err == nil && got != n {
			err = fmt.Errorf("there are %d", got)
		}
		return err
	})
}

// services asks the server by every way that leads to it, and itself too (hairpin).
func (f *fixture) services() {
	server := f.place("server")
	var urls []string
	for _, a := range server.addresses {
		urls = append(urls, netip.AddrPortFrom(a, 8080).String())
	}
	for _, a := range strings.Fields(f.kubectl("get", "service", "web", "-o", `jsonpath={range .spec.clusterIPs[*]}{@}{"\n"}{end}`)) {
		urls = append(urls, netip.AddrPortFrom(netip.MustParseAddr(a), 80).String())
	}
	urls = append(urls, "web", "web.default.svc.cluster.local", netip.AddrPortFrom(f.Nodes[0].Addresses()[0], 30080).String())
	for _, url := range urls {
		for _, from := range []string{"still-1", "still-2", "server"} {
			f.reaches(from, "http://"+url+"/hostname", "server")
		}
	}
	// From outside: the node port of every node, and the host port of the pod's.
	for _, n := range f.Nodes {
		f.reaches("", "http://"+netip.AddrPortFrom(n.Addresses()[0], 30080).String()+"/hostname", "server")
	}
	f.reaches("", "http://"+netip.AddrPortFrom(server.node.Addresses()[0], 18080).String()+"/hostname", "server")
	// The largest packet goes through unbroken, the next one does not leave the pod.
	from := f.place("still-1")
	mtu, to := f.mtu(from), f.place("still-2").addresses[0]
	headers := 20 + 8 // of IPv4 and ICMP
	if to.Is6() {
		headers = 40 + 8
	}
	for size, passes := range map[int]bool{mtu - headers: true, mtu - headers + 1: false} {
		_, err := from.node.RunIn(f.t.Context(), from.netns, "ping", "-c1", "-W5", "-M", "do", "-s", fmt.Sprint(size), to.String())
		if (err == nil) != passes {
			f.t.Errorf("a ping with %d bytes from a pod with MTU %d: %v", size, mtu, err)
		}
	}
}

func (f *fixture) mtu(p place) int {
	f.t.Helper()
	out, err := p.node.RunIn(f.t.Context(), p.netns, "sh", "-c", `ip -o link show dev eth0 | sed 's/.* mtu \([0-9]*\) .*/\1/'`)
	if err != nil {
		f.t.Fatal(err)
	}
	mtu, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil || mtu < 1280 || mtu > 1500 {
		f.t.Fatalf("the pod's MTU is %q", out)
	}
	return mtu
}

// allIsWell asks kubectl's plugin.
func (f *fixture) allIsWell() {
	out, err := f.Command(f.t.Context(), "kubectl-causeway", "check", "--outside="+f.APIServer())
	if err != nil || !strings.Contains(out, fmt.Sprintf("All is well between %d nodes.", len(f.Nodes))) {
		f.t.Errorf("%v\n%s", err, out)
	}
}

// check asks kubectl's plugin whether all is well, and again with a firewall on node3 that somebody has forgotten. A check that was
// killed before leaves its namespace, which the first one lets be, since it is young, and the second one takes away.
func (f *fixture) check() {
	left := f.killedCheck()
	f.allIsWell()
	if young := f.kubectl("get", "namespace", left, "-o", "jsonpath={.status.phase}"); young != "Active" {
		f.t.Errorf("the namespace %s of a check that may still run is %s after another check", left, young)
	}
	f.kubectl("annotate", "namespace", left, "causeway.dev/check-lasts=1s", "--overwrite")
	n := f.Nodes[2]
	if _, err := n.Run(f.t.Context(), "nft", "table inet forgotten { chain forward { type filter hook forward priority 0; ip daddr 10.211.0.0/16 tcp dport 8480 drop; }; }"); err != nil {
		f.t.Fatal(err)
	}
	out, err := f.Command(f.t.Context(), "kubectl-causeway", "check")
	for _, want := range []string{"Taking away what killed checks have left: " + left + ".", "pod to pod, from a pod on node3 to node1", "Node node3 reaches no other by IPv4, and none reaches it", "A packet from the pod on node", "dropped by nftables on node node3: table inet forgotten"} {
		if err == nil || !strings.Contains(out, want) {
			f.t.Errorf("want %q: %v\n%s", want, err, out)
		}
	}
	if _, err := n.Run(f.t.Context(), "nft", "delete table inet forgotten"); err != nil {
		f.t.Fatal(err)
	}
	f.eventually("nothing is left of the checks", func() error {
		out, err := f.Command(f.t.Context(), "kubectl", "get", "namespaces", "-l", "causeway.dev/check", "-o", "name")
		if left := strings.TrimSpace(out); err == nil && left != "" {
			err = errors.New("there is " + left)
		}
		return err
	})
}

// killedCheck kills a check with SIGKILL while it waits for its pods, whose image nobody has, and returns the name of its namespace.
func (f *fixture) killedCheck() string {
	c := exec.CommandContext(f.t.Context(), f.Bin("kubectl-causeway"), "check", "--image=localhost/nobody-has-this:1")
	c.Env = append(os.Environ(), f.Environment()...)
	out := &machine.Buffer{}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		f.t.Fatal(err)
	}
	var namespaces corev1.NamespaceList
	f.eventually("a check has made its pods", func() error {
		var pods corev1.PodList
		err := f.Client.List(f.t.Context(), &namespaces, client.HasLabels{"causeway.dev/check"})
		if err == nil && len(namespaces.Items) == 1 {
			err = f.Client.List(f.t.Context(), &pods, client.InNamespace(namespaces.Items[0].Name))
		}
		if err == nil && len(pods.Items) != len(f.Nodes) {
			err = fmt.Errorf("there are %d namespaces and %d pods, and it says %q", len(namespaces.Items), len(pods.Items), out)
		}
		return err
	})
	if err := c.Process.Kill(); err != nil {
		f.t.Fatalf("kill the check: %v: it says %q", err, out)
	}
	_ = c.Wait() // it was killed
	return namespaces.Items[0].Name
}

// speak turns the mesh of BGP sessions on and off. The speakers listen on port 179 and have no other right.
func (f *fixture) speak() {
	f.apply(mesh)
	f.eventually("every node has a session with every other", func() error {
		var states v1alpha1.BGPNodeStateList
		err := f.Client.List(f.t.Context(), &states)
		up := 0
		for _, s := range states.Items {
			up += int(s.Status.Established)
		}
		if want := len(f.Nodes) * (len(f.Nodes) - 1); err == nil && up != want {
			err = fmt.Errorf("%d of %d ends of sessions are up", up, want)
		}
		return err
	})
	for _, n := range f.Nodes {
		out, err := n.Run(f.t.Context(), "sh", "-c", `cat /proc/$(pgrep -x causeway-speake)/status`) // The kernel keeps 15 characters of a name.
		if err != nil {
			f.t.Fatal(err)
		}
		for _, want := range []string{"Uid:\t65179\t65179\t65179\t65179\n", "Gid:\t65179\t65179\t65179\t65179\n", "Groups:\t \n",
			"CapPrm:\t0000000000000400\n", "CapEff:\t0000000000000400\n", "NoNewPrivs:\t1\n"} {
			if !strings.Contains(out, want) {
				f.t.Errorf("the speaker of %s lacks %q: %s", n.Name, want, out)
			}
		}
	}
	f.kubectl("delete", "bgpconfiguration", "default")
	f.audit()
}

func (f *fixture) churn() {
	for _, n := range []int{0, 30, 5} {
		f.crowd(n)
		f.audit()
	}
}

func (f *fixture) rollAgents() {
	f.kubectl("-n", "causeway-system", "rollout", "restart", "daemonset/causeway-agent")
	f.rollout("causeway-system", "daemonset/causeway-agent")
	f.audit()
}

func (f *fixture) killAgent() {
	f.agentRestartsAfter(f.Nodes[0], "-KILL")
	f.crowd(8)
	f.audit()
}

// hangAgent stops an agent without ending it. The kubelet sees by its probe that it does not answer, and starts another. The node is
// Ready all the while: one that is not loses its pods from all Services.
func (f *fixture) hangAgent() {
	n := f.Nodes[1]
	ready := func() string {
		return f.kubectl("get", "node", n.Name, "-o", `jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status} since {.lastTransitionTime}{end}`)
	}
	before := ready()
	f.agentRestartsAfter(n, "-STOP")
	if after := ready(); after != before {
		f.t.Errorf("node %s was Ready: %s, and is after its agent hung: %s", n.Name, before, after)
	}
	f.crowd(10)
	f.audit()
}

// agentRestartsAfter sends an agent a signal and waits until its container has started again and is ready.
func (f *fixture) agentRestartsAfter(n *cluster.Node, signal string) {
	f.t.Helper()
	restarts := func() (count int32, ready bool) {
		for _, s := range f.agentOf(n).Status.ContainerStatuses {
			if s.Name == "agent" {
				return s.RestartCount, s.Ready
			}
		}
		return 0, false
	}
	before, _ := restarts()
	if _, err := n.Run(f.t.Context(), "pkill", signal, "-x", "causeway-agent"); err != nil {
		f.t.Fatal(err)
	}
	f.eventually("the agent runs again", func() error {
		if count, ready := restarts(); count <= before || !ready {
			return fmt.Errorf("it has restarted %d times, %d of them before, and is ready: %t", count, before, ready)
		}
		return nil
	})
}

func (f *fixture) apiServerAway() {
	f.ControlPlane.Kill()
	// Longer than it takes a leader to give up. Kubernetes' own controllers try again after a time that doubles with each failure.
	time.Sleep(controllers.DefaultOptions().LeaseDuration + 2*time.Second)
	if err := f.ControlPlane.Restart(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	f.crowd(12)
	f.audit()
}

func (f *fixture) restartDaemons() {
	for _, n := range f.Nodes[:2] {
		if err := errors.Join(n.RestartRuntime(), n.RestartKubelet()); err != nil {
			f.t.Fatal(err)
		}
	}
	f.nodesReady()
	f.crowd(16)
	f.audit()
}

func (f *fixture) nodesReady() {
	f.t.Helper()
	// Kubernetes may take a while to see that a node is not ready, so new leases are what tells.
	since := time.Now()
	f.eventually("the nodes are ready", func() error {
		out, err := f.Command(f.t.Context(), "kubectl", "get", "leases", "-n", "kube-node-lease", "-o", `jsonpath={range .items[*]}{.spec.renewTime}{"\n"}{end}`)
		if err != nil {
			return err
		}
		times := strings.Fields(out)
		for _, text := range times {
			if at, err := time.Parse(time.RFC3339, text); err != nil || at.Before(since) {
				return fmt.Errorf("a lease is of %s (%v)", text, err)
			}
		}
		if len(times) != len(f.Nodes) {
			return fmt.Errorf("there are %d leases", len(times))
		}
		_, err = f.Command(f.t.Context(), "kubectl", "wait", "node", "--all", "--for=condition=Ready", "--timeout=1s")
		return err
	})
}

func (f *fixture) drain() {
	f.kubectl("drain", "node3", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout="+patience.String())
	f.rollout("default", "deployment/crowd")
	f.audit()
	f.kubectl("uncordon", "node3")
}

// powerCut ends everything on a node at once, and starts it again with its disk and a new network namespace.
func (f *fixture) powerCut() {
	n := f.Nodes[2]
	n.PowerCut(f.t.Context())
	if err := n.Join(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	f.nodesReady()
	f.kubectl("delete", "pods", "-l", "app=crowd", "--wait=false")
	f.rollout("default", "deployment/crowd")
	f.audit()
}

// rejoin deletes a node, and lets one of that name with another address join.
func (f *fixture) rejoin() {
	n := f.Nodes[2]
	f.kubectl("drain", n.Name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout="+patience.String())
	n.PowerCut(f.t.Context())
	f.kubectl("delete", "node", n.Name)
	n.V4, n.V6 = n.V4.Next().Next().Next().Next(), n.V6.Next().Next().Next().Next()
	if err := n.Join(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	f.nodesReady()
	f.eventually("the agent runs on the new node", func() error {
		if p := f.agentOf(n); p.Status.HostIP != n.V4.String() || len(p.Status.ContainerStatuses) == 0 || !p.Status.ContainerStatuses[0].Ready {
			return fmt.Errorf("it is on %s: %+v", p.Status.HostIP, p.Status.ContainerStatuses)
		}
		return nil
	})
	f.kubectl("delete", "pods", "-l", "app=crowd", "--wait=false")
	f.rollout("default", "deployment/crowd")
	f.audit()
}

func (f *fixture) secondPool() {
	f.apply(secondPool)
	f.kubectl("wait", "pod", "a", "-n", "second", "--for=condition=Ready", "--timeout="+patience.String())
	address := f.kubectl("get", "pod", "a", "-n", "second", "-o", "jsonpath={.status.podIP}")
	if a, err := netip.ParseAddr(address); err != nil || !netip.MustParsePrefix("10.212.0.0/24").Contains(a) {
		f.t.Fatalf("the pod has the address %q", address)
	}
	f.audit()
	f.kubectl("delete", "namespace", "second", "--timeout="+patience.String())
	f.kubectl("delete", "ippool", "second", "--timeout="+patience.String())
	f.audit()
}

// agents are how many agents are of the wanted version, and how many are ready.
func (f *fixture) agents() (s appsv1.DaemonSetStatus, err error) {
	var d appsv1.DaemonSet
	err = f.Client.Get(f.t.Context(), client.ObjectKey{Namespace: "causeway-system", Name: "causeway-agent"}, &d)
	if err == nil && d.Status.ObservedGeneration != d.Generation {
		err = errors.New("the DaemonSet's controller has not seen the change")
	}
	return d.Status, err
}

// badVersions upgrades to images whose programs end at once, and to ones that never get ready. One node gets them, the others keep
// theirs, and so does one of the controllers; a rollback mends it.
func (f *fixture) badVersions() {
	f.badVersion("crashing", "echo this version is broken\nexit 1", func(s corev1.ContainerStatus) bool { return s.RestartCount >= 2 })
	f.badVersion("sleeping", "exec sleep 1000000", func(s corev1.ContainerStatus) bool {
		return s.State.Running != nil && time.Since(s.State.Running.StartedAt.Time) > 10*time.Second // The others would have had their turn.
	})
}

func (f *fixture) badVersion(tag, script string, shown func(corev1.ContainerStatus) bool) {
	program := f.t.TempDir() + "/script"
	if err := os.WriteFile(program, []byte("#!/bin/sh\n[ \"$1\" = install ] && exit 0\n"+script+"\n"), 0o755); err != nil {
		f.t.Fatal(err)
	}
	archive := f.Dir + "/shared/" + tag + ".tar" // Nodes can read it there.
	args := []string{"-out", archive, "-name", "docker.io/library/causeway:" + tag, "-busybox", "sh,sleep", "/bin/busybox=/bin/busybox"}
	for _, name := range []string{"agent", "speaker", "controller"} {
		args = append(args, program+"=/usr/local/bin/causeway-"+name)
	}
	if _, err := f.Command(f.t.Context(), "images/pack", args...); err != nil {
		f.t.Fatal(err)
	}
	for _, n := range f.Nodes {
		if err := n.Load(f.t.Context(), archive); err != nil {
			f.t.Fatal(err)
		}
	}
	f.helm("upgrade", "causeway", "charts/causeway", "--reuse-values", "--set=image.tag="+tag, "--no-hooks")
	var agents appsv1.DaemonSetStatus
	f.eventually("one agent is of the "+tag+" version", func() (err error) {
		if agents, err = f.agents(); err != nil {
			return err
		}
		for _, n := range f.Nodes {
			for _, s := range f.agentOf(n).Status.ContainerStatuses {
				if s.Name == "agent" && strings.HasSuffix(s.Image, ":"+tag) && shown(s) {
					return nil
				}
			}
		}
		return fmt.Errorf("%+v", agents)
	})
	if agents.UpdatedNumberScheduled != 1 || agents.NumberReady != int32(len(f.Nodes))-1 {
		f.t.Errorf("of %d agents, %d are of the %s version and %d are ready", len(f.Nodes), agents.UpdatedNumberScheduled, tag, agents.NumberReady)
	}
	var controller appsv1.Deployment
	if err := f.Client.Get(f.t.Context(), client.ObjectKey{Namespace: "causeway-system", Name: "causeway-controller"}, &controller); err != nil {
		f.t.Fatal(err)
	}
	if controller.Status.ReadyReplicas == 0 {
		f.t.Errorf("no controller is left: %+v", controller.Status)
	}
	f.helm("rollback", "causeway", "--wait", "--timeout="+patience.String())
	f.rollout("causeway-system", "daemonset/causeway-agent")
	f.audit()
}

// nextVersion is what `make test` builds besides: the same programs by another name (NEXT in the Makefile).
const nextVersion = "v0.2.0-next"

// upgrade goes to another build, whose IPPools have a field more, and back with helm. New pods start meanwhile, and the field is in
// use when the older version, which does not know it, comes back.
func (f *fixture) upgrade() {
	for _, n := range f.Nodes {
		if err := n.Load(f.t.Context(), f.Bin("causeway-image-next.tar")); err != nil {
			f.t.Fatal(err)
		}
	}
	first := f.agentVersion()
	chart, err := nextrelease.Chart(f.t.Context(), f.Repo+"/charts/causeway", f.t.TempDir())
	if err != nil {
		f.t.Fatal(err)
	}
	f.helm("upgrade", "causeway", chart, "--reuse-values", "--set=image.tag="+nextVersion, "--timeout="+patience.String())
	f.crowd(20)
	f.rollout("causeway-system", "daemonset/causeway-agent")
	f.rollout("causeway-system", "deployment/causeway-controller")
	for _, n := range f.Nodes {
		if image := f.agentOf(n).Spec.Containers[0].Image; image != "causeway:"+nextVersion {
			f.t.Errorf("the agent of %s is of the image %s", n.Name, image)
		}
	}
	if now := f.agentVersion(); !strings.Contains(now, nextVersion) || now == first {
		f.t.Errorf("the agents were %q and are %q", first, now)
	}
	f.kubectl("patch", "ippool", "default-v4", "--type=merge", "--patch", `{"spec":{"`+nextrelease.Field+`":"in use"}}`)
	f.audit()
	f.logStarts("during the upgrade")

	f.helm("rollback", "causeway", "--timeout="+patience.String())
	f.crowd(10)
	f.crowd(20)
	f.rollout("causeway-system", "daemonset/causeway-agent")
	f.rollout("causeway-system", "deployment/causeway-controller")
	if now := f.agentVersion(); now != first {
		f.t.Errorf("the agents were %q and are %q after the rollback", first, now)
	}
	f.kubectl("patch", "ippool", "default-v4", "--type=merge", "--patch", `{"spec":{"natOutgoing":true}}`)
	f.kubectl("wait", "ippool", "default-v4", "--for=condition=Ready", "--timeout="+patience.String())
	if text := f.kubectl("get", "ippool", "default-v4", "-o", "json"); strings.Contains(text, nextrelease.Field) {
		f.t.Errorf("the older version keeps a field that it does not know: %s", text)
	}
	f.crowd(10)
	f.audit()
	f.logStarts("during the rollback")
}

// agentVersion is what an agent says of itself.
func (f *fixture) agentVersion() string {
	return f.kubectl("-n", "causeway-system", "exec", f.agentOf(f.Nodes[0]).Name, "-c", "agent", "--", "/usr/local/bin/causeway-agent", "--version")
}

// logStarts prints how long the pods that are there took to start, at most; Kubernetes counts in seconds.
func (f *fixture) logStarts(when string) {
	var pods corev1.PodList
	if err := f.Client.List(f.t.Context(), &pods, client.InNamespace("default"), client.MatchingLabels{"app": "crowd"}); err != nil {
		f.t.Fatal(err)
	}
	var slowest time.Duration
	for _, p := range pods.Items {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady {
				slowest = max(slowest, c.LastTransitionTime.Sub(p.CreationTimestamp.Time))
			}
		}
	}
	f.t.Logf("the slowest of %d pods %s was ready after %s", len(pods.Items), when, slowest)
}

// takePodsAway deletes all pods of the network.
func (f *fixture) takePodsAway() {
	f.kubectl("delete", "deployment/crowd", "pod/still-1", "pod/still-2", "pod/server", "--timeout="+patience.String())
	f.kubectl("-n", "kube-system", "scale", "deployment/coredns", "--replicas=0")
	f.eventually("no pod of the network is left", func() error {
		out, err := f.Command(f.t.Context(), "kubectl", "get", "workloadendpoints", "-A", "-o", "name")
		if err == nil && out != "" {
			err = errors.New(out)
		}
		return err
	})
}

// uninstall is refused while pods run; after that every node is as it was before.
func (f *fixture) uninstall() {
	if out, err := f.Command(f.t.Context(), "helm", "uninstall", "causeway", "--timeout=60s"); err == nil {
		f.t.Errorf("uninstalling cuts pods off: %s", out)
	}
	f.takePodsAway()
	f.helm("uninstall", "causeway", "--timeout="+patience.String())
	f.eventually("agents have ended", func() error {
		for _, n := range f.Nodes {
			if out, err := n.Run(f.t.Context(), "pgrep", "-a", "causeway"); err == nil {
				return errors.New(out)
			}
		}
		return nil
	})
	for _, n := range f.Nodes {
		if n.Name == "node3" {
			continue // It has got another address meanwhile.
		}
		if after := f.print(n); after != f.before[n.Name] {
			f.t.Errorf("%s was\n%s\nand is\n%s", n.Name, f.before[n.Name], after)
		}
	}
	f.eventually("no object is left", func() error {
		out, err := f.Command(f.t.Context(), "kubectl", "get", "crds,namespaces,clusterroles,clusterrolebindings,validatingadmissionpolicies", "-o", "name")
		for _, line := range strings.Fields(out) {
			if strings.Contains(line, "causeway") {
				err = errors.Join(err, fmt.Errorf("%s is there", line))
			}
		}
		return err
	})
}
