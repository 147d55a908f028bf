package datapath

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// learn brings changed learned routes to the kernel. It reports false where a whole pass is needed.
func (l *Loop) learn(ctx context.Context) bool {
	if l.planner == nil || !l.active || !l.o.BGP.Active() {
		return false
	}
	started := time.Now()
	l.mu.Lock()
	l.planner.SetLearned(l.o.BGP.Changes())
	changes := l.planner.Flush()
	l.mu.Unlock()
	report, ok := l.o.Kernel.ApplyChanges(ctx, changes)
	if !ok {
		return false
	}
	l.note(report, changes, false)
	l.o.Reporter.Applied(time.Since(started), report)
	return true
}

// pass plans what has changed, and applies that or, where it must, the whole plan.
func (l *Loop) pass(ctx context.Context, d demand) error {
	started := time.Now()
	if d.observe || l.observed == nil {
		disturbed, err := l.observe(ctx, d.everything)
		if err != nil {
			return err
		}
		d.observe, d.whole = true, d.whole || disturbed
	}
	pools, in := l.frame()
	l.stale = l.stale || l.planner == nil || l.active != l.o.BGP.Active() || !l.planner.Fits(in) || !l.advance()
	if l.stale {
		if !d.observe { // what is applied as a whole must be seen before the pods are
			return l.pass(ctx, demand{observe: true, whole: true})
		}
		d.whole = true
		l.replan(in)
	}
	l.mu.Lock()
	changes := l.planner.Flush()
	l.mu.Unlock()
	if !d.whole && changes.Empty() {
		return l.finish(pools, d.observe)
	}
	report, ok := kernel.Report{}, false
	if !d.whole {
		report, ok = l.o.Kernel.ApplyChanges(ctx, changes)
	}
	if !ok && !d.whole {
		return l.pass(ctx, demand{observe: true, whole: true})
	}
	if d.whole {
		report = l.o.Kernel.Apply(ctx, l.plan())
	}
	l.note(report, changes, d.whole)
	l.o.Reporter.Applied(time.Since(started), report)
	return l.finish(pools, true)
}

// observe looks at the kernel. It reports whether somebody else may have changed what is ours.
func (l *Loop) observe(ctx context.Context, everything bool) (bool, error) {
	l.probe(ctx)
	own, _ := l.o.View.Node()
	o, err := l.o.Kernel.Observe(ctx, kernel.Query{NodeAddresses: own.Addresses, Fabric: l.o.BGP.Active(), Everything: everything})
	if err != nil {
		return false, err //nolint:wrapcheck // it says what could not be read
	}
	l.observed = &o
	l.noteAddress(o)
	return o.Disturbed, nil
}

// probe looks what the kernel can do: at start, and as long as something is missing, since a module may appear.
func (l *Loop) probe(ctx context.Context) {
	first := l.probed.IsZero()
	if l.capabilities.Equal(plan.Everything()) || !first && time.Since(l.probed) < l.o.Resync {
		return
	}
	before := l.capabilities
	l.capabilities, l.probed = l.o.Kernel.Probe(ctx), time.Now()
	if first || !l.capabilities.Equal(before) {
		l.o.Log.Info("Looked at what the kernel can do", "links", l.capabilities.Links, "nftables", l.capabilities.NFTables)
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

// frame returns the pools, and what a plan is made from besides blocks, pods and learned routes.
func (l *Loop) frame() ([]cluster.Pool, plan.Input) {
	pools, o := l.o.View.Pools(), l.observed
	in := plan.Input{
		Node: l.o.Node, V4: o.V4, V6: o.V6, Fabric: o.Fabric, NoWayToGateway: o.NoWayToGateway, RPFilterAll: o.RPFilterAll, RPFilter: o.RPFilter,
		LikePods: o.LikePods, Tunnels: o.Tunnels, Capabilities: l.capabilities, VXLAN: l.o.VXLAN, PeerRoutes: l.o.BGP.PeerRoutes(),
		Pools: make([]plan.Pool, 0, len(pools)),
	}
	for _, p := range pools {
		in.Pools = append(in.Pools, p.Route)
	}
	return pools, in
}

// advance tells the planner what has changed of blocks, nodes, pods and learned routes. It reports false where all has to be
// planned anew.
func (l *Loop) advance() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	blocks := l.o.View.BlocksSince(l.blocks)
	if blocks.Whole {
		return false
	}
	for _, cidr := range blocks.Gone {
		if !l.planner.DropBlock(cidr) {
			return false
		}
	}
	for _, b := range blocks.Set {
		if !l.planner.SetBlock(b) {
			return false
		}
	}
	l.blocks = blocks.Version
	nodes := l.networks.nodes
	if l.networks.update(l) {
		if l.networks.nodes != nodes {
			l.planner.SetNodeAddresses(l.networks.nodes.Addresses)
		}
		if !l.planner.SetInfrastructure(l.networks.all) {
			return false
		}
	}
	l.planner.SetEndpoints(endpointsForPlan(l.o.Book.Endpoints(), l.observed.Links))
	if l.active {
		l.planner.SetLearned(l.o.BGP.Changes())
	}
	return true
}

// replan plans everything anew.
func (l *Loop) replan(in plan.Input) {
	blocks := l.o.View.BlocksSince(0)
	l.networks.update(l)
	l.active = l.o.BGP.Active()
	in.Blocks, in.Endpoints, in.Learned = blocks.Set, endpointsForPlan(l.o.Book.Endpoints(), l.observed.Links), l.o.BGP.Learned()
	in.NodeAddresses, in.Infrastructure = l.networks.nodes.Addresses, l.networks.all
	planner := plan.New(in)
	l.mu.Lock()
	l.planner, l.blocks, l.stale = planner, blocks.Version, false
	l.mu.Unlock()
	l.setMTUs(in)
}

func (l *Loop) plan() plan.Plan {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.planner.Plan()
}

// note keeps which objects the kernel refuses, and logs each once: somebody has to do something about it.
func (l *Loop) note(report kernel.Report, changes plan.Changes, whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.planned, l.unreported = time.Now(), true
	if whole {
		l.refused = nil
		for text := range l.logged {
			again := func(f kernel.Failure) bool { return f.Error() == text }
			if !slices.ContainsFunc(report.Failures, again) {
				delete(l.logged, text)
			}
		}
	}
	l.refused = slices.DeleteFunc(l.refused, func(f kernel.Failure) bool {
		return f.Dst.IsValid() && slices.ContainsFunc(changes.Routes, func(c plan.RouteChange) bool { return c.Dst == f.Dst })
	})
	l.refused = append(l.refused, report.Failures...)
	for _, f := range report.Failures {
		if text := f.Error(); !l.logged[text] && len(l.logged) < mostLogged {
			l.logged[text] = true
			l.o.Log.Error(f.Err, "The kernel refuses a part of the plan; will try again", "object", f.Object)
		}
	}
}

// mostLogged is how many refused objects are logged one by one. All of them are in the window and counted in the metric.
const mostLogged = 50

// finish sees to pods' MTUs, and reports. Where nothing was looked at and nothing has changed, there is nothing to say.
func (l *Loop) finish(pools []cluster.Pool, looked bool) error {
	if looked {
		l.shrink()
	}
	same := slices.EqualFunc(pools, l.pools, func(a, b cluster.Pool) bool { return a.Object == b.Object })
	if l.unreported || !same || looked {
		l.pools, l.unreported = pools, false
		l.o.Reporter.ReportDatapath(l.state(pools))
	}
	return nil
}

// endpointsForPlan returns the pods' interfaces. Those that are being made or taken away are left as they are found, and so
// are those that the kernel did not show: their pod is gone, or the link is about to be mended. Nothing is left of one that is being
// taken away and has no link.
func endpointsForPlan(endpoints []addressbook.Endpoint, links map[string]bool) []plan.Endpoint {
	out := make([]plan.Endpoint, 0, len(endpoints))
	for _, e := range endpoints {
		if e.State == addressbook.Releasing && !links[e.Interface] {
			continue
		}
		ready := e.State == addressbook.Ready && links[e.Interface]
		out = append(out, plan.Endpoint{Interface: e.Interface, Addresses: e.Addresses, Pools: e.Pools, Ready: ready})
	}
	return out
}
