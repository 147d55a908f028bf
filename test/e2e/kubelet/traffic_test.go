package kubelet_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/cluster"
	"github.com/causeway-net/causeway/test/lab/machine"
)

// place is where a pod runs: its node, and its network namespace there.
type place struct {
	node      *cluster.Node
	netns     string
	addresses []netip.Addr
}

// place finds a pod of the namespace default.
func (f *fixture) place(pod string) place {
	f.t.Helper()
	var p place
	f.eventually("pod "+pod+" has an endpoint", func() error {
		var list v1alpha1.WorkloadEndpointList
		if err := f.Client.List(f.t.Context(), &list, client.InNamespace("default")); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Spec.Pod != pod {
				continue
			}
			n, err := f.Node(e.Spec.Node)
			if err != nil {
				return err
			}
			p = place{node: n, netns: e.Spec.NetworkNamespace[strings.LastIndex(e.Spec.NetworkNamespace, "/")+1:]}
			for _, a := range e.Spec.Addresses {
				p.addresses = append(p.addresses, netip.MustParsePrefix(a).Addr())
			}
			return nil
		}
		return fmt.Errorf("no endpoint is of pod %s", pod)
	})
	return p
}

// pinger pings until it is stopped.
type pinger struct {
	what    string
	process machine.Process
	out     machine.Buffer
}

// pingsASecond of each pinger.
const pingsASecond = 20

// watch pings from one pod to another, in both families, until unwatch.
func (f *fixture) watch(from, to string) {
	f.t.Helper()
	a, b := f.place(from), f.place(to)
	for _, address := range b.addresses {
		p := &pinger{what: fmt.Sprintf("from %s to %s, %s", from, to, address)}
		argv := []string{"ping", "-q", "-n", "-i", fmt.Sprint(1.0 / pingsASecond), address.String()}
		process, err := a.node.Start(context.WithoutCancel(f.t.Context()), machine.Spec{Netns: a.netns, Argv: argv}, machine.Stdio{Out: &p.out, Err: &p.out})
		if err != nil {
			f.t.Fatal(err)
		}
		p.process = process
		f.watched = append(f.watched, p)
	}
}

var summary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// unwatch ends the pings. None may be lost: the last may be on its way.
func (f *fixture) unwatch() {
	f.t.Helper()
	sent, lost := 0, 0
	for _, p := range f.watched {
		if err := p.process.Signal(syscall.SIGINT); err != nil {
			f.t.Error(p.what, err)
		}
		_, _ = p.process.Wait() // What it printed says more.
		m := summary.FindStringSubmatch(p.out.String())
		if m == nil {
			f.t.Errorf("ping %s says %q", p.what, p.out.String())
			continue
		}
		out, _ := strconv.Atoi(m[1]) // The pattern has digits only.
		in, _ := strconv.Atoi(m[2])
		if sent, lost = sent+out, lost+out-in; out-in > 1 || out == 0 {
			f.t.Errorf("pings %s: %d of %d are lost", p.what, out-in, out)
		}
	}
	f.t.Logf("pings between pods that were not touched: %d, lost %d", sent, lost)
	f.watched = nil
}

// ask gets something over HTTP from inside a pod of the namespace default, or from outside of the cluster's nodes if that is empty.
func (f *fixture) ask(pod, url string) (string, error) {
	argv := []string{"curl", "--silent", "--show-error", "--globoff", "--fail", "--max-time", "5", url}
	if pod != "" {
		out, err := f.Command(f.t.Context(), "kubectl", append([]string{"exec", pod, "--"}, argv...)...)
		return strings.TrimSpace(out), err
	}
	out, err := exec.CommandContext(f.t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", url, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// reaches waits until a URL is answered with what fits.
func (f *fixture) reaches(pod, url, want string) {
	f.t.Helper()
	f.eventually("from "+pod+" to "+url, func() error {
		got, err := f.ask(pod, url)
		if err == nil && !regexp.MustCompile("^"+want+"$").MatchString(got) {
			err = fmt.Errorf("it answers %q, not %q", got, want)
		}
		return err
	})
}

// agentOf is the agent's pod of a node.
func (f *fixture) agentOf(n *cluster.Node) corev1.Pod {
	f.t.Helper()
	var pods corev1.PodList
	if err := f.Client.List(f.t.Context(), &pods, client.InNamespace("causeway-system"), client.MatchingLabels{"app.kubernetes.io/name": "causeway-agent"}); err != nil {
		f.t.Fatal(err)
	}
	for _, p := range pods.Items {
		if p.Spec.NodeName == n.Name && p.DeletionTimestamp == nil {
			return p
		}
	}
	return corev1.Pod{}
}
