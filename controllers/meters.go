package controllers

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// meters are the controller's own metrics.
type meters struct {
	addresses   *prometheus.GaugeVec
	blocks      *prometheus.GaugeVec
	allocations *prometheus.CounterVec
	failures    *prometheus.CounterVec
	releases    *prometheus.CounterVec
	silent      prometheus.Gauge
}

func newMeters(r prometheus.Registerer) (*meters, error) {
	m := &meters{
		addresses: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "causeway_ippool_addresses",
			Help: "Addresses of an IPPool: allocated, free, and its capacity."}, []string{"pool", "state"}),
		blocks: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "causeway_ippool_blocks",
			Help: "IPBlocks that nodes own of an IPPool."}, []string{"pool"}),
		allocations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "causeway_block_allocations_total",
			Help: "IPBlocks created."}, []string{"pool"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "causeway_block_allocation_failures_total",
			Help: "IPBlocks that could not be created, and rounds in which a pool had none left for waiting pods."}, []string{"pool"}),
		releases: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "causeway_block_releases_total",
			Help: "IPBlocks deleted because their node has given them up."}, []string{"pool"}),
		silent: prometheus.NewGauge(prometheus.GaugeOpts{Name: "causeway_agents_silent",
			Help: "Nodes whose agent has not renewed its Lease in time."}),
	}
	var err error
	m.addresses, err = register(r, m.addresses, err)
	m.blocks, err = register(r, m.blocks, err)
	m.allocations, err = register(r, m.allocations, err)
	m.failures, err = register(r, m.failures, err)
	m.releases, err = register(r, m.releases, err)
	m.silent, err = register(r, m.silent, err)
	return m, err
}

// register adds a collector, or returns the one of another manager in the same process.
func register[C prometheus.Collector](r prometheus.Registerer, c C, earlier error) (C, error) {
	if earlier != nil {
		return c, earlier
	}
	err := r.Register(c)
	var have prometheus.AlreadyRegisteredError
	if errors.As(err, &have) {
		if existing, ok := have.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("register metrics: %w", err)
	}
	return c, nil
}

func (m *meters) pool(name string, s *v1alpha1.IPPoolStatus) {
	m.addresses.WithLabelValues(name, "allocated").Set(float64(s.Allocated))
	m.addresses.WithLabelValues(name, "free").Set(float64(s.Free))
	m.addresses.WithLabelValues(name, "capacity").Set(float64(s.Capacity))
	m.blocks.WithLabelValues(name).Set(float64(s.Blocks))
}

func (m *meters) forget(pool string) {
	labels := prometheus.Labels{"pool": pool}
	m.addresses.DeletePartialMatch(labels)
	for _, v := range []*prometheus.CounterVec{m.allocations, m.failures, m.releases} {
		v.DeletePartialMatch(labels)
	}
	m.blocks.DeletePartialMatch(labels)
}
