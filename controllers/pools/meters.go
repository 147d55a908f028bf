package pools

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/internal/meters"
)

type meterSet struct{ addresses, blocks, limited, namespaces *prometheus.GaugeVec }

func newMeters(r prometheus.Registerer) (m meterSet, err error) {
	m.addresses, err = meters.Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "causeway_ippool_addresses",
		Help: "Addresses of an IPPool: allocated, free, and its capacity."}, []string{"pool", "state"}), nil)
	m.blocks, err = meters.Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "causeway_ippool_blocks",
		Help: "IPBlocks that nodes own of an IPPool."}, []string{"pool"}), err)
	m.limited, err = meters.Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "causeway_ippool_nodes_at_limit",
		Help: "Nodes with waiting pods that have as many blocks of an IPPool as maxBlocksPerNode lets one node have."}, []string{"pool"}), err)
	m.namespaces, err = meters.Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "causeway_ippool_namespaces_at_limit",
		Help: "Namespaces that have as many addresses of an IPPool as its namespaceLimits lets them have, or more."}, []string{"pool"}), err)
	return m, err
}

func (m meterSet) pool(name string, s *v1alpha1.IPPoolStatus, nodesAtLimit, namespacesAtLimit int) {
	m.addresses.WithLabelValues(name, "allocated").Set(float64(s.Allocated))
	m.addresses.WithLabelValues(name, "remembered").Set(float64(s.Remembered))
	m.addresses.WithLabelValues(name, "free").Set(float64(s.Free))
	m.addresses.WithLabelValues(name, "capacity").Set(float64(s.Capacity))
	m.blocks.WithLabelValues(name).Set(float64(s.Blocks))
	m.limited.WithLabelValues(name).Set(float64(nodesAtLimit))
	m.namespaces.WithLabelValues(name).Set(float64(namespacesAtLimit))
}

func (m meterSet) forget(pool string) {
	labels := prometheus.Labels{"pool": pool}
	m.addresses.DeletePartialMatch(labels)
	m.blocks.DeletePartialMatch(labels)
	m.limited.DeletePartialMatch(labels)
	m.namespaces.DeletePartialMatch(labels)
}
