package datapath

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// learn brings changed learned routes to the kernel. It reports false where a whole pass is needed.
func (l *Loop) learn() bool {
	if l.single == nil || !l.o.BGP.Active() {
		return false
	}
	started := time.Now()
	changes := l.o.BGP.Changes()
	planned := make([]plan.RouteChange, 0, len(changes))
	for _, c := range changes {
		planned = append(planned, l.single.Plan(c))
	}
	report, ok := l.o.Kernel.ApplyRoutes(planned)
	if !ok || len(report.Failures) > 0 {
		return false
	}
	l.o.Reporter.Applied(time.Since(started), report)
	return true
}

// pass observes the kernel, then takes the book's snapshot, plans and applies.
func (l *Loop) pass(ctx context.Context, everything bool) error {
	started := time.Now()
	l.probe(ctx)
	own, _ := l.o.View.Node()
	observed, err := l.o.Kernel.Observe(ctx, kernel.Query{NodeAddresses: own.Addresses, Fabric: l.o.BGP.Active(), Everything: everything})
	if err != nil {
		return err
	}
	l.noteAddress(observed)
	pools, in := l.gather(observed)
	plan, single := plan.MakeIncremental(in)
	l.single = nil
	l.setMTUs(in, plan)
	report := l.o.Kernel.Apply(ctx, plan)
	l.show(plan, report)
	l.o.Reporter.Applied(time.Since(started), report)
	l.shrink(plan, in.Endpoints)
	if len(report.Failures) > 0 {
		errs := make([]error, 0, len(report.Failures))
		for _, f := range report.Failures {
			errs = append(errs, f)
		}
		return errors.Join(errs[:min(len(errs), 5)]...)
	}
	l.single = single
	l.o.Reporter.ReportDatapath(State{
		V4: in.V4, V6: in.V6, Capabilities: in.Capabilities, Pools: pools, Routes: report.Routes, Problems: plan.Problems,
	})
	return nil
}

// probe looks what the kernel can do: at start, and as long as something is missing, since a module may appear.
func (l *Loop) probe(ctx context.Context) {
	complete := plan.Capabilities{IPIP: true, VXLAN: true, NFTables: true}
	first := l.probed.IsZero()
	if l.capabilities == complete || !first && time.Since(l.probed) < l.o.Resync {
		return
	}
	before := l.capabilities
	l.capabilities, l.probed = l.o.Kernel.Probe(ctx), time.Now()
	if first || l.capabilities != before {
		l.o.Log.Info("Looked at what the kernel can do", "ipip", l.capabilities.IPIP, "vxlan", l.capabilities.VXLAN, "nftables", l.capabilities.NFTables)
	}
}

func (l *Loop) noteAddress(o kernel.Observed) {
	at := [2]netip.Addr{o.V4.Address, o.V6.Address}
	if at == l.at {
		return
	}
	if l.at != [2]netip.Addr{} {
		l.o.Log.Info("The node's address changed", "v4", at[0], "v6", at[1])
		l.o.Reporter.AddressChanged(at[0], at[1])
	}
	l.at = at
}

// gather returns the pools, and what a plan is made from.
func (l *Loop) gather(o kernel.Observed) ([]cluster.Pool, plan.Input) {
	pools := l.o.View.Pools()
	in := plan.Input{
		Node: l.o.Node, V4: o.V4, V6: o.V6, Fabric: o.Fabric, NoWayToGateway: o.NoWayToGateway, RPFilterAll: o.RPFilterAll,
		Capabilities: l.capabilities, VXLAN: l.o.VXLAN, Blocks: l.o.View.Blocks(), NodeAddresses: l.o.View.NodeAddresses(),
		Tunnels: o.Tunnels, Endpoints: endpointsForPlan(l.o.Book.Endpoints(), o.Links),
		Learned: l.o.BGP.Learned(), PeerRoutes: l.o.BGP.PeerRoutes(),
	}
	for _, p := range pools {
		in.Pools = append(in.Pools, p.Route)
	}
	return pools, in
}

// endpointsForPlan returns the pods' interfaces. Those that are being made or taken away are left as they are found, and so
// are those that the kernel did not show: their pod is gone, or the link is about to be mended.
func endpointsForPlan(endpoints []addressbook.Endpoint, links map[string]bool) []plan.Endpoint {
	out := make([]plan.Endpoint, 0, len(endpoints))
	for _, e := range endpoints {
		ready := e.State == addressbook.Ready && links[e.Interface]
		out = append(out, plan.Endpoint{Interface: e.Interface, Addresses: e.Addresses, Pools: e.Pools, Ready: ready})
	}
	return out
}
