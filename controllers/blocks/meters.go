package blocks

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-net/causeway/controllers/internal/meters"
)

type meterSet struct{ allocations, failures, releases *prometheus.CounterVec }

func newMeters(r prometheus.Registerer) (m meterSet, err error) {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"pool"})
	}
	m.allocations, err = meters.Register(r, counter("causeway_block_allocations_total", "IPBlocks created."), nil)
	m.failures, err = meters.Register(r, counter("causeway_block_allocation_failures_total",
		"IPBlocks that could not be created, and rounds in which a pool had none left for waiting pods."), err)
	m.releases, err = meters.Register(r, counter("causeway_block_releases_total", "IPBlocks deleted because their node has given them up."), err)
	return m, err
}

func (m meterSet) forget(pool string) {
	for _, v := range []*prometheus.CounterVec{m.allocations, m.failures, m.releases} {
		v.DeletePartialMatch(prometheus.Labels{"pool": pool})
	}
}
