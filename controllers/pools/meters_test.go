package pools

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func TestMetersOfAPoolComeAndGo(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := newMeters(registry)
	if err != nil {
		t.Fatal(err)
	}
	m.pool("p", &v1alpha1.IPPoolStatus{Allocated: 3, Free: 5, Capacity: 8, Blocks: 2}, 4, 6)
	want := map[string]float64{"causeway_ippool_addresses": 3 + 5 + 8, "causeway_ippool_blocks": 2, "causeway_ippool_nodes_at_limit": 4, "causeway_ippool_namespaces_at_limit": 6}
	families, err := registry.Gather()
	if err != nil || len(families) != len(want) {
		t.Fatalf("%d kinds of metrics, %v", len(families), err)
	}
	for _, f := range families {
		sum := 0.0
		for _, s := range f.Metric {
			sum += s.Gauge.GetValue()
		}
		if sum != want[f.GetName()] {
			t.Errorf("%s sums up to %v, not %v", f.GetName(), sum, want[f.GetName()])
		}
	}
	m.forget("p")
	if left, err := registry.Gather(); err != nil || len(left) > 0 {
		t.Errorf("of a pool that is gone there are left %v, %v", left, err)
	}
}
