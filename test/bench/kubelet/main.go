// Kubelet measures how fast pods start as a real kubelet and containerd see it: many at once on one node, by turns with Causeway
// and with the reference plugins ptp and host-local on the same node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/causeway-net/causeway/test/cluster"
	"github.com/causeway-net/causeway/test/namespaces"
	"github.com/causeway-net/causeway/test/retry"
)

const (
	// ptpFile comes before Causeway's own configuration, and runtimes take the first.
	ptpFile = "/etc/cni/net.d/00-ptp.conflist"
	ptp     = `{"cniVersion": "1.0.0", "name": "ptp", "plugins": [{"type": "ptp", "ipMasq": false,
  "ipam": {"type": "host-local", "dataDir": "/run/ptp", "ranges": [[{"subnet": "10.99.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`
	// limit is for what hangs.
	limit = 5 * time.Minute
)

func main() {
	if cluster.IsJanitor() {
		os.Exit(cluster.Enter(nil))
	}
	pods := flag.Int("pods", 30, "pods that start at once")
	rounds := flag.Int("rounds", 3, "turns of each plugin")
	flag.Parse()
	log.SetLogger(logr.Discard()) // else the API client prints a stack trace about it
	if !namespaces.Inside() {
		os.Exit(cluster.Enter(os.Args[1:]))
	}
	if err := run(context.Background(), *pods, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "measure pods' starts:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, pods, rounds int) error {
	if err := cluster.Prepare(); err != nil {
		return err
	}
	c, err := cluster.New(ctx, cluster.Options{Nodes: 1, Log: os.Stderr})
	if err != nil {
		return err
	}
	defer c.Stop()
	// One family, as ptp has here: it waits a second for an IPv6 address.
	if err := c.Install(ctx, "--set=firstPools.ipv6=", "--set=controller.replicas=1"); err != nil {
		return err
	}
	b := &bench{c: c, node: c.Nodes[0], pods: pods}
	ours, theirs := &result{}, &result{}
	for round := range rounds + 1 {
		for _, turn := range []struct {
			result *result
			file   string
		}{{ours, ""}, {theirs, ptp}} {
			starts, err := b.burst(ctx, turn.file)
			if err != nil {
				return err
			}
			if round > 0 { // The first round warms everything up.
				turn.result.starts = append(turn.result.starts, starts...)
				turn.result.all = append(turn.result.all, slices.Max(starts))
			}
		}
	}
	fmt.Printf("%d pods at once on one node, %d rounds, as kubelet and containerd see it:\n\n", pods, rounds)
	fmt.Println("| from the pod's creation to Ready | Causeway | ptp + host-local | ratio |")
	fmt.Println("| --- | --- | --- | --- |")
	line := func(what string, a, b time.Duration) {
		fmt.Printf("| %s | %.2f s | %.2f s | %.2f |\n", what, a.Seconds(), b.Seconds(), a.Seconds()/b.Seconds())
	}
	line("p50", percentile(ours.starts, 50), percentile(theirs.starts, 50))
	line("p99", percentile(ours.starts, 99), percentile(theirs.starts, 99))
	line("the last of a burst, p50", percentile(ours.all, 50), percentile(theirs.all, 50))
	return nil
}

// result has how long single pods took, and how long the last of each burst.
type result struct{ starts, all []time.Duration }

type bench struct {
	c    *cluster.Cluster
	node *cluster.Node
	pods int
}

// burst starts pods with a plugin, waits until all are ready, deletes them, and returns how long each took. Without a configuration the
// plugin is Causeway.
func (b *bench) burst(ctx context.Context, configuration string) ([]time.Duration, error) {
	command := []string{"rm", "-f", ptpFile}
	if configuration != "" {
		command = []string{"true"}
		if err := b.node.WriteFile(ctx, ptpFile, configuration); err != nil {
			return nil, err
		}
	}
	if _, err := b.node.Run(ctx, command...); err != nil {
		return nil, err
	}
	const settle = 2 * time.Second // containerd watches the folder.
	time.Sleep(settle)
	watch, err := b.c.Client.Watch(ctx, &corev1.PodList{}, client.InNamespace("default"))
	if err != nil {
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	defer watch.Stop()
	created := map[string]time.Time{}
	for i := range b.pods {
		p := b.pod(i)
		created[p.Name] = time.Now()
		if err := b.c.Client.Create(ctx, p); err != nil {
			return nil, fmt.Errorf("create a pod: %w", err)
		}
	}
	var took []time.Duration
	late := time.After(limit)
	for len(created) > 0 {
		select {
		case <-late:
			return nil, fmt.Errorf("%d pods have not started within %s", len(created), limit)
		case event, open := <-watch.ResultChan():
			if !open {
				return nil, errors.New("the watch of pods has ended")
			}
			p, isPod := event.Object.(*corev1.Pod)
			if !isPod {
				continue
			}
			begin, waiting := created[p.Name]
			if !waiting || !ready(p) {
				continue
			}
			took = append(took, time.Since(begin))
			delete(created, p.Name)
			if err := b.check(p, configuration != ""); err != nil {
				return nil, err
			}
		}
	}
	return took, b.clear(ctx)
}

// check makes sure that the pod's address is of the plugin whose turn it is.
func (b *bench) check(p *corev1.Pod, isPTP bool) error {
	if got := p.Status.PodIP[:min(len(p.Status.PodIP), len("10.99."))]; (got == "10.99.") != isPTP {
		return fmt.Errorf("the address %s is not of the plugin that is measured", p.Status.PodIP)
	}
	return nil
}

// clear deletes the pods, before another plugin's turn.
func (b *bench) clear(ctx context.Context) error {
	if err := b.c.Client.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace("default"), client.GracePeriodSeconds(1)); err != nil {
		return fmt.Errorf("delete pods: %w", err)
	}
	return retry.Until(ctx, limit, func() error {
		var list corev1.PodList
		err := b.c.Client.List(ctx, &list, client.InNamespace("default"))
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%d pods are left", len(list.Items))
		}
		return err
	})
}

func (b *bench) pod(i int) *corev1.Pod {
	no, soon := false, int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("p-%d", i)},
		Spec: corev1.PodSpec{
			NodeName: b.node.Name, AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &soon,
			Containers: []corev1.Container{{Name: "a", Image: cluster.AgnhostImage, Args: []string{"pause"}}},
		},
	}
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func percentile(of []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[(len(sorted)-1)*percent/100]
}
