package addresses_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/addresses"
)

// TestShowAggregates: the prefixes of each rack, and a prefix that two racks have blocks in because a node's label changed.
func TestShowAggregates(t *testing.T) {
	c := consistent()
	c.Pools.Items[0].Spec.Aggregation = &v1alpha1.Aggregation{TopologyKey: "rack", PrefixLength: 24}
	c.Blocks.Items = append(c.Blocks.Items, block("10.0.9.0/26", "four", "node2"), block("10.0.9.64/26", "four", "node2"))
	for node, rack := range map[string]string{"node1": "a", "node2": "b"} {
		n := v1alpha1.NodeNetwork{ObjectMeta: named(node)}
		n.Labels = map[string]string{"rack": rack}
		c.Networks.Items = append(c.Networks.Items, n)
	}
	var got []string
	pools := addresses.Show(c)
	for _, a := range pools[0].Aggregates {
		got = append(got, fmt.Sprintf("%s %s %d", a.Prefix, a.Group, a.Blocks))
	}
	if want := []string{"10.0.0.0/24 a 1", "10.0.0.0/24 b 1", "10.0.9.0/24 b 2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if pools[1].Aggregates != nil {
		t.Errorf("a pool without aggregation has %v", pools[1].Aggregates)
	}
}
