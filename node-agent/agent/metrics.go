package agent

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/report"
)

// metrics are what an operator would page on.
type metrics struct {
	registry  *prometheus.Registry
	calls     *prometheus.HistogramVec
	addresses *prometheus.GaugeVec
	blocks    *prometheus.GaugeVec
	applies   *prometheus.HistogramVec
	failures  prometheus.Gauge
	routes    *prometheus.GaugeVec
	bgpUp     *prometheus.GaugeVec
	bgpCounts *prometheus.GaugeVec
	writes    *prometheus.CounterVec
	// unrecorded counts pods without a WorkloadEndpoint because the API server refuses it.
	unrecorded prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "causeway_cni_call_duration_seconds", Help: "Time from a CNI call to its answer, by verb and CNI error code (0 for success).",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
		}, []string{"verb", "code"}),
		addresses: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "causeway_node_addresses", Help: "Addresses of this node by pool: free, wanted free, and pods that wait for one.",
		}, []string{"pool", "state"}),
		blocks: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "causeway_node_blocks", Help: "Blocks of this node by pool: held, and the most that it may have (maxBlocksPerNode).",
		}, []string{"pool", "state"}),
		applies: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "causeway_dataplane_apply_duration_seconds", Help: "Time to bring the kernel to the plan, by outcome.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5},
		}, []string{"outcome"}),
		failures: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "causeway_dataplane_failed_objects", Help: "Objects of the plan that the kernel refused at the last try.",
		}),
		routes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "causeway_routes", Help: "Kernel routes of Causeway by source.",
		}, []string{"source"}),
		bgpUp: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "causeway_bgp_session_up", Help: "1 for an established BGP session, 0 for one that should be.",
		}, []string{"peer", "source"}),
		bgpCounts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "causeway_bgp_session_prefixes", Help: "Prefixes of a BGP session, received and advertised.",
		}, []string{"peer", "direction"}),
	}
	m.writes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "causeway_report_writes_total", Help: "Writes of this node's NodeNetwork, BlockClaim and BGPNodeState, by outcome: written, conflict, refused, unreachable.",
	}, []string{"kind", "outcome"})
	m.unrecorded = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "causeway_endpoints_unrecorded", Help: "Pods of this node whose WorkloadEndpoint the API server refuses to take. They run, but their addresses are not in the API.",
	})
	m.registry.MustRegister(m.writes, m.unrecorded, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.calls, m.addresses, m.blocks, m.applies, m.failures, m.routes, m.bgpUp, m.bgpCounts)
	return m
}

func (m *metrics) observeCall(verb string, code uint, took time.Duration) {
	switch verb {
	case "ADD", "DEL", "CHECK", "GC", "STATUS":
	default:
		verb = "other" // a label must not come from outside
	}
	m.calls.WithLabelValues(verb, strconv.FormatUint(uint64(code), 10)).Observe(took.Seconds())
}

// applied notes a pass over the kernel.
func (m *metrics) applied(took time.Duration, report kernel.Report) {
	outcome := "unchanged"
	switch {
	case len(report.Failures) > 0:
		outcome = "failed"
	case report.Changes > 0:
		outcome = "changed"
	}
	m.applies.WithLabelValues(outcome).Observe(took.Seconds())
}

func (m *metrics) countRoutes(counts []plan.RouteCount, refused int) {
	m.failures.Set(float64(refused))
	m.routes.Reset()
	for _, c := range counts {
		m.routes.WithLabelValues(string(c.Source)).Set(float64(c.Count))
	}
}

func (m *metrics) shares(shares []addressbook.Share) {
	m.addresses.Reset()
	m.blocks.Reset()
	for _, s := range shares {
		m.addresses.WithLabelValues(s.Pool, "free").Set(float64(s.Free))
		m.addresses.WithLabelValues(s.Pool, "wanted").Set(float64(s.Wanted))
		m.addresses.WithLabelValues(s.Pool, "waiting").Set(float64(s.Waiting))
		m.blocks.WithLabelValues(s.Pool, "held").Set(float64(len(s.Held)))
		m.blocks.WithLabelValues(s.Pool, "most").Set(float64(s.MaxBlocks))
	}
}

func (m *metrics) sessions(sessions []v1alpha1.BGPSessionStatus) {
	m.bgpUp.Reset()
	m.bgpCounts.Reset()
	for _, s := range sessions {
		up := 0.0
		if s.State == "Established" {
			up = 1
		}
		m.bgpUp.WithLabelValues(s.Peer, s.Source).Set(up)
		m.bgpCounts.WithLabelValues(s.Peer, "received").Set(float64(s.PrefixesReceived))
		m.bgpCounts.WithLabelValues(s.Peer, "advertised").Set(float64(s.PrefixesAdvertised))
	}
}

// reported notes how a write of a report ended.
func (m *metrics) reported(kind string, outcome report.Outcome) {
	m.writes.WithLabelValues(kind, string(outcome)).Inc()
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
