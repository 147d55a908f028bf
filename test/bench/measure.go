package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/retry"
)

const (
	warmPool = "bench-warm" // has addresses ahead of need
	coldPool = "bench-cold" // has none until a pod asks

	// turn is how many calls one plugin makes, one after the other, before it is the other's turn.
	turn = 10
)

// bench is one run.
type bench struct {
	options
	*lab.Lab
	node  *lab.Node
	self  string
	table table
	notes []string // printed below the table
}

// measure runs everything on one lab and prints the table.
func measure(ctx context.Context, o options) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	var log io.Writer = io.Discard
	if o.verbose {
		log = os.Stderr
	}
	l, err := lab.New(ctx, lab.Options{Nodes: 1, Kernel: lab.KernelHost, Log: log})
	if err != nil {
		return err
	}
	defer l.Stop()
	b := &bench{options: o, Lab: l, node: l.Nodes[0], self: self}
	for _, pool := range []struct {
		name, cidr string
		mode       v1alpha1.AssignmentMode
	}{
		{warmPool, "10.100.0.0/16", v1alpha1.AssignmentAutomatic}, {coldPool, "10.101.0.0/16", v1alpha1.AssignmentManual},
		{farPool, farCIDR, v1alpha1.AssignmentManual},
	} {
		if err := b.makePool(ctx, pool.name, pool.cidr, pool.mode); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{b.oneByOne, b.atOnce, b.cold, b.far} {
		if err := step(ctx); err != nil {
			if log, readErr := os.ReadFile(b.node.AgentLog()); readErr == nil {
				_, _ = os.Stderr.Write(log) // To explain the error that follows.
			}
			return errors.Join(err, b.table.print(os.Stdout))
		}
		if err := b.table.print(log); err != nil {
			return err
		}
	}
	if err := b.table.print(os.Stdout); err != nil {
		return err
	}
	for _, note := range b.notes {
		fmt.Println(note)
	}
	return nil
}

func (b *bench) makePool(ctx context.Context, name, cidr string, mode v1alpha1.AssignmentMode) error {
	pool := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.IPPoolSpec{
		CIDR: cidr, Encapsulation: v1alpha1.EncapsulationVXLAN, AssignmentMode: mode,
	}}
	if err := b.Client.Create(ctx, pool); err != nil {
		return fmt.Errorf("create IPPool %s: %w", name, err)
	}
	return retry.Until(ctx, 30*time.Second, func() error {
		if err := b.Object(ctx, name, pool); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(pool.Status.Conditions, v1alpha1.ConditionReady) || mode == v1alpha1.AssignmentAutomatic && pool.Status.Free < 16 {
			return fmt.Errorf("IPPool %s is not ready: %+v", name, pool.Status)
		}
		return nil
	})
}

func (b *bench) ours(pool string) plugin {
	return plugin{Path: b.Bin("causeway"), Links: true, Config: `{"cniVersion":"1.1.0","name":"causeway","type":"causeway","ipPools":["` + pool + `"]}`}
}

var reference = plugin{Path: "/usr/lib/cni/ptp", Config: `{"cniVersion":"1.0.0","name":"reference","type":"ptp","ipam":{"type":"host-local",
"ranges":[[{"subnet":"10.99.0.0/16"}]],"dataDir":"/run/host-local","routes":[{"dst":"0.0.0.0/0"}]}}`}

// run has a task done on the node.
func (b *bench) run(ctx context.Context, t task) ([]times, error) {
	t.Path = b.CNIPath()
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	c := b.node.Command(ctx, b.self, insideVerb)
	c.Stdin = bytes.NewReader(raw)
	out, err := c.Output()
	if err != nil {
		return nil, err
	}
	var result []times
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		return nil, fmt.Errorf("read the times: %w: %s", err, out)
	}
	return result, nil
}

// oneByOne compares calls one after the other; then it counts the API requests of the same calls without the reference.
func (b *bench) oneByOne(ctx context.Context) error {
	both, err := b.run(ctx, task{
		Name: "one", Count: b.pairs, Batch: turn, Verbs: []string{"ADD", "DEL"}, Plugins: []plugin{b.ours(warmPool), reference},
	})
	if err != nil {
		return err
	}
	b.table = append(b.table, compare("ADD, one by one", both[0].Calls["ADD"], both[1].Calls["ADD"], "p50 <= 0.8 x")...)
	b.table = append(b.table, compare("DEL, one by one", both[0].Calls["DEL"], both[1].Calls["DEL"], "p50 <= 0.2 x")...)
	return b.countRequests(ctx)
}

// countRequests makes the same calls once more without the reference.
func (b *bench) countRequests(ctx context.Context) error {
	t := task{Name: "count", Count: b.pairs, Batch: turn, Plugins: []plugin{b.ours(warmPool)}}
	for _, verb := range []string{"ADD", "DEL"} {
		before, err := requests(ctx, b.Config)
		if err != nil {
			return err
		}
		t.Verbs, t.Reuse, t.KeepNetns = []string{verb}, verb == "DEL", verb == "ADD"
		if _, err := b.run(ctx, t); err != nil {
			return err
		}
		after, err := requests(ctx, b.Config)
		if err != nil {
			return err
		}
		diff := after.since(before)
		written := map[string]string{"ADD": "POST workloadendpoints", "DEL": "DELETE workloadendpoints"}[verb]
		b.table = append(b.table, row{
			what: "API writes of records, for each " + verb, target: "1, no read",
			ours: fmt.Sprintf("%.3g", diff[written]/float64(b.pairs)),
		})
		b.notes = append(b.notes, fmt.Sprintf("All requests to our API group, for each %s: %s.", verb, diff.perCall(b.pairs)))
	}
	return nil
}

func (b *bench) atOnce(ctx context.Context) error {
	both, err := b.run(ctx, task{
		Name: "many", Count: b.rounds * b.parallel, Batch: b.parallel, AtOnce: true, Verbs: []string{"ADD", "DEL"},
		Plugins: []plugin{b.ours(warmPool), reference},
	})
	if err != nil {
		return err
	}
	for _, verb := range []string{"ADD", "DEL"} {
		what := fmt.Sprintf("%s, %d at once", verb, b.parallel)
		b.table = append(b.table, compare(what, both[0].Calls[verb], both[1].Calls[verb], "")...)
		b.table = append(b.table, compare(what+", all of them", both[0].Batches[verb], both[1].Batches[verb], "")[:1]...)
	}
	return nil
}

// cold starts pods at once on a node that has no block of their pool. They stay.
func (b *bench) cold(ctx context.Context) error {
	one, err := b.run(ctx, task{
		Name: "cold", Count: b.pods, Batch: b.pods, AtOnce: true, Verbs: []string{"ADD"}, Plugins: []plugin{b.ours(coldPool)}, KeepNetns: true,
	})
	if err != nil {
		return err
	}
	b.table = append(b.table, row{what: fmt.Sprintf("%d pods at once, no block yet", b.pods), ours: milliseconds(one[0].Batches["ADD"][0]), target: "< 3 s"})
	return nil
}
