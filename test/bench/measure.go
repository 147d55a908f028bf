package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/retry"
)

const (
	warmPool  = "bench-warm" // has addresses ahead of need
	warmPool6 = "bench-warm6"
	coldPool  = "bench-cold" // has none until a pod asks
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

func (b *bench) makePools(ctx context.Context) error {
	for _, pool := range []struct {
		name, cidr string
		mode       v1alpha1.AssignmentMode
	}{
		{warmPool, "10.100.0.0/16", v1alpha1.AssignmentAutomatic}, {warmPool6, "fd00:100::/112", v1alpha1.AssignmentAutomatic},
		{coldPool, "10.101.0.0/16", v1alpha1.AssignmentManual}, {farPool, farCIDR, v1alpha1.AssignmentManual},
	} {
		if err := b.makePool(ctx, pool.name, pool.cidr, v1alpha1.EncapsulationVXLAN, pool.mode); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) makePool(ctx context.Context, name, cidr string, encapsulation v1alpha1.Encapsulation, mode v1alpha1.AssignmentMode) error {
	pool := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.IPPoolSpec{
		CIDR: cidr, Encapsulation: encapsulation, AssignmentMode: mode,
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

// ours is Causeway's plugin with addresses of these pools.
func (b *bench) ours(pools ...string) plugin {
	names, err := json.Marshal(pools)
	if err != nil {
		panic(err) // strings can always be marshalled
	}
	return plugin{Path: b.Bin("causeway"), Links: true, Config: `{"cniVersion":"1.1.0","name":"causeway","type":"causeway","ipPools":` + string(names) + `}`}
}

// The reference plugins that Causeway is compared with.
var (
	ptp     = reference("ptp", `"type":"ptp"`, "10.99.0.0/16")
	ptpDual = reference("ptpdual", `"type":"ptp"`, "10.98.0.0/16", "fd00:98::/64")
	bridge  = reference("bridge", `"type":"bridge","bridge":"cni0","isGateway":true`, "10.97.0.0/16")
)

func reference(name, kind string, subnets ...string) plugin {
	var ranges, routes string
	for i, subnet := range subnets {
		if i > 0 {
			ranges, routes = ranges+",", routes+","
		}
		ranges += `[{"subnet":"` + subnet + `"}]`
		routes += `{"dst":"` + []string{"0.0.0.0/0", "::/0"}[i] + `"}`
	}
	path := "/usr/lib/cni/ptp"
	if name == "bridge" {
		path = "/usr/lib/cni/bridge"
	}
	return plugin{Path: path, Config: `{"cniVersion":"1.0.0","name":"` + name + `",` + kind + `,"ipam":{"type":"host-local","ranges":[` + ranges +
		`],"dataDir":"/run/host-local","routes":[` + routes + `]}}`}
}

// run has a task done on the first node.
func (b *bench) run(ctx context.Context, t task) ([]times, error) { return b.runOn(ctx, b.node, t) }

func (b *bench) runOn(ctx context.Context, n *lab.Node, t task) ([]times, error) {
	t.Path = b.CNIPath()
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	c := n.Command(ctx, b.self, insideVerb)
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
