package agent

import (
	"net/netip"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/linux"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/report"
)

// newDatapath connects the datapath's loop with the parts that it needs.
func (a *Agent) newDatapath() (*datapath.Loop, error) {
	linuxKernel, err := linux.Open()
	if err != nil {
		return nil, err
	}
	linuxKernel.Choose(a.options.Choice, a.options.MTU)
	a.foundation = cluster.NewFoundation(a.api, func() { a.datapath.Wake() })
	turns := a.health.Loop("keep the kernel", 3*a.options.Resync+time.Minute)
	return datapath.New(datapath.Options{
		Node: a.options.Node, Kernel: linuxKernel, View: a.view, Book: a.book, BGP: a.bgp, Pods: a.wirer, Reporter: datapathReporter{a},
		Infrastructure: a.foundation.Networks,
		VXLAN:          plan.VXLAN{VNI: uint32(a.options.VXLANVNI), Port: uint16(a.options.VXLANPort)},
		Resync:         a.options.Resync, Turned: turns.Turned, Log: a.log,
	}), nil
}

// datapathReporter puts the state of the kernel into metrics and reports.
type datapathReporter struct{ *Agent }

// Applied implements datapath.Reporter.
func (r datapathReporter) Applied(took time.Duration, done kernel.Report) {
	r.metrics.applied(took, done)
}

// SetPodMTUs implements datapath.Reporter.
func (r datapathReporter) SetPodMTUs(byPool map[string]int, otherwise int) {
	r.pools.SetMTU(byPool, otherwise)
}

// AddressChanged implements datapath.Reporter.
func (r datapathReporter) AddressChanged(_, _ netip.Addr) { r.api.Dialer.CloseAll() }

// LinksChanged implements datapath.Reporter.
func (r datapathReporter) LinksChanged() { r.records.LinksChanged() }

// ReportDatapath implements datapath.Reporter.
func (r datapathReporter) ReportDatapath(s datapath.State) {
	for _, c := range s.Conditions() {
		r.network.SetCondition(c.Type, c.Status, c.Reason, c.Message)
	}
	if s.Failure != nil {
		return
	}
	facts := report.Facts{VTEPMAC: names.VTEPMAC(r.options.Node).String(), Encapsulations: s.Capabilities.Encapsulations()}
	for _, u := range []plan.Underlay{s.V4, s.V6} {
		if !u.Address.IsValid() {
			continue
		}
		facts.Addresses = append(facts.Addresses, v1alpha1.NodeAddress{Address: u.Address.String(), Subnet: u.Subnet.String(), Interface: u.Interface})
		if facts.MTU == 0 || int32(u.MTU) < facts.MTU {
			facts.MTU = int32(u.MTU)
		}
	}
	r.claim.SetRendered(renderedOf(s.Pools))
	r.network.SetFacts(facts)
	r.metrics.countRoutes(s.Routes, len(s.Refused))
}

// renderedOf notes which generation of each pool the kernel shows, and what it sends with.
func renderedOf(pools []cluster.Pool) map[string]report.Rendered {
	out := make(map[string]report.Rendered, len(pools))
	for _, p := range pools {
		sending := p.Route.Sending
		if sending == "" {
			sending = p.Route.Encapsulation
		}
		out[p.Route.Name] = report.Rendered{UID: string(p.Object.UID), Generation: p.Object.Generation, Sending: sending}
	}
	return out
}
