package agent

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/linux"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/routeplan"
	"github.com/causeway-net/causeway/node-agent/datapath/underlay"
	"github.com/causeway-net/causeway/node-agent/report"
)

const (
	// apiSettle and kernelSettle let changes gather before a turn of the loop.
	apiSettle    = 5 * time.Millisecond
	kernelSettle = 100 * time.Millisecond
	failureRetry = time.Second
	// A whole turn, with its counts and refusals, follows new pods and changed learned routes after a quiet moment, but in
	// time: what they need is in the kernel already.
	wholeQuiet  = time.Second
	wholeWithin = 10 * time.Second
)

// dataplane is the loop from plan to kernel.
type dataplane struct {
	agent   *Agent
	applier *linux.Applier
	wake    chan struct{}
	learned chan struct{}          // learned routes have changed, and nothing else
	single  *routeplan.Incremental // of the last whole plan that the kernel showed
	mtus    map[string]int         // the most that each running pod's interface was told to have
	failing string

	at           [2]netip.Addr // the node's addresses at the last turn
	capabilities routeplan.Capabilities
	probed       time.Time
}

func newDataplane(a *Agent) (*dataplane, error) {
	applier, err := linux.Open()
	if err != nil {
		return nil, err
	}
	return &dataplane{agent: a, applier: applier, wake: make(chan struct{}, 1), learned: make(chan struct{}, 1), mtus: map[string]int{}}, nil
}

func (d *dataplane) wakeUp() { wake(d.wake) }

// wakeLearned wakes the loop for changed learned routes.
func (d *dataplane) wakeLearned() { wake(d.learned) }

// run turns until the context ends: at API events, at kernel events that somebody else caused, and slowly by itself.
func (d *dataplane) run(ctx context.Context) error {
	defer d.applier.Close() //nolint:errcheck // nothing to lose
	events, pods := d.applier.Watch(ctx)
	resync := time.NewTicker(d.agent.options.Resync)
	defer resync.Stop()
	var retry, whole <-chan time.Time
	var owed time.Time // since when a whole turn is owed
	owe := func() {
		if owed.IsZero() {
			owed = time.Now()
		}
		whole = time.After(min(wholeQuiet, wholeWithin-time.Since(owed)))
	}
	for {
		settle := apiSettle
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		case <-retry:
		case <-whole:
		case <-d.learned:
			if d.learn() {
				owe()
				continue
			}
		case <-pods:
			owe()
			continue
		case _, open := <-events:
			if !open {
				return nil
			}
			settle = kernelSettle
			d.agent.records.LinksChanged()
		case <-resync.C:
		}
		if !sleep(ctx, settle) {
			return nil
		}
		drain(d.wake)
		retry, whole, owed = nil, nil, time.Time{}
		if err := d.turn(ctx); errors.Is(err, netlink.ErrDumpInterrupted) {
			retry = time.After(kernelSettle) // a storm of pods; nothing is wrong
		} else if err != nil && ctx.Err() == nil {
			d.fail(err)
			retry = time.After(failureRetry)
		} else {
			d.failing = ""
		}
	}
}

// wake leaves a value in a channel of one, for whoever waits there; several may become one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// fail says a failure once, in the log and in the NodeNetwork.
func (d *dataplane) fail(err error) {
	if text := err.Error(); text != d.failing {
		d.failing = text
		d.agent.log.Error(err, "The kernel does not show the plan; will try again")
	}
	d.agent.network.SetCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, "ApplyFailed", "The kernel does not show the plan: "+err.Error())
}

// learn brings changed learned routes to the kernel. It reports false where a whole turn is needed.
func (d *dataplane) learn() bool {
	if d.single == nil || !d.agent.bgp.Active() {
		return false
	}
	started := time.Now()
	changes := d.agent.bgp.Changes()
	planned := make([]routeplan.RouteChange, 0, len(changes))
	for _, c := range changes {
		planned = append(planned, d.single.Plan(c))
	}
	report, ok := d.applier.ApplyRoutes(planned)
	if !ok || len(report.Failures) > 0 {
		return false
	}
	d.agent.metrics.applied(started, report)
	return true
}

// turn reads the kernel, then takes the book's snapshot, plans and applies.
func (d *dataplane) turn(ctx context.Context) error {
	started := time.Now()
	d.probe(ctx)
	actual, err := d.applier.Read(ctx)
	if err != nil {
		return err
	}
	pools, in, err := d.gather(actual)
	if err != nil {
		return err
	}
	plan, single := routeplan.MakeIncremental(in)
	d.single = nil
	d.setMTUs(in, plan)
	report := d.applier.Apply(ctx, actual, plan)
	d.observe(started, report)
	d.shrink(plan, in.Endpoints)
	if len(report.Failures) > 0 {
		errs := make([]error, 0, len(report.Failures))
		for _, f := range report.Failures {
			errs = append(errs, f)
		}
		return errors.Join(errs[:min(len(errs), 5)]...)
	}
	d.single = single
	d.report(in, plan, report, pools)
	return nil
}

// probe looks what the kernel can do: at start, and as long as something is missing, since a module may appear.
func (d *dataplane) probe(ctx context.Context) {
	complete := routeplan.Capabilities{IPIP: true, VXLAN: true, NFTables: true}
	if d.capabilities == complete || time.Since(d.probed) < d.agent.options.Resync {
		return
	}
	before, first := d.capabilities, d.probed.IsZero()
	d.capabilities, d.probed = underlay.Probe(ctx), time.Now()
	if first || d.capabilities != before {
		d.agent.log.Info("Looked at what the kernel can do", "ipip", d.capabilities.IPIP, "vxlan", d.capabilities.VXLAN, "nftables", d.capabilities.NFTables)
	}
}

func (d *dataplane) gather(actual *linux.Actual) ([]cluster.Pool, routeplan.Input, error) {
	pools := d.agent.view.Pools()
	own, _ := d.agent.view.Node()
	links := actual.Links()
	place, err := underlay.Find(links, own.Addresses)
	if err != nil {
		return nil, routeplan.Input{}, err
	}
	in := routeplan.Input{
		Node: d.agent.options.Node, Capabilities: d.capabilities,
		VXLAN: routeplan.VXLAN{VNI: uint32(d.agent.options.VXLANVNI), Port: uint16(d.agent.options.VXLANPort)},
		Pools: poolsForPlan(pools), Blocks: d.agent.view.Blocks(), NodeAddresses: d.agent.view.NodeAddresses(), Tunnels: actual.Tunnels(),
		Endpoints: endpointsForPlan(d.agent.book.Endpoints(), links),
	}
	place.Fill(&in)
	if at := [2]netip.Addr{place.V4.Address, place.V6.Address}; at != d.at {
		if d.at != [2]netip.Addr{} {
			d.agent.log.Info("The node's address changed", "v4", at[0], "v6", at[1])
			d.agent.api.Dialer.CloseAll()
		}
		d.at = at
	}
	in.Learned, in.PeerRoutes = d.agent.bgp.Learned(), d.agent.bgp.PeerRoutes()
	if d.agent.bgp.Active() {
		if in.Fabric, err = underlay.Fabric(links); err != nil {
			return nil, routeplan.Input{}, err
		}
	}
	return pools, in, nil
}

func (d *dataplane) setMTUs(in routeplan.Input, plan routeplan.Plan) {
	byPool := make(map[string]int, len(plan.PodMTU))
	for _, m := range plan.PodMTU {
		byPool[m.Pool] = m.MTU
	}
	otherwise := in.V4.MTU
	if otherwise == 0 {
		otherwise = in.V6.MTU
	}
	d.agent.facts.setMTU(byPool, otherwise)
}

// shrink lowers running pods' MTU where the plan asks for less than they were told before.
func (d *dataplane) shrink(plan routeplan.Plan, endpoints []routeplan.Endpoint) {
	ready := make(map[string]bool, len(endpoints))
	for _, e := range endpoints {
		ready[e.Interface] = e.Ready
	}
	for name := range d.mtus {
		if !ready[name] {
			delete(d.mtus, name)
		}
	}
	for _, m := range plan.EndpointMTU {
		if known, ok := d.mtus[m.Interface]; !ready[m.Interface] || ok && known <= m.MTU {
			continue
		}
		e, known := d.agent.book.Get(m.Interface)
		if !known || e.State != addressbook.Ready || e.NetworkNamespace == "" {
			continue
		}
		if err := d.agent.wirer.ShrinkMTU(e.Interface, e.ContainerInterface, e.NetworkNamespace, m.MTU); err != nil {
			d.agent.log.V(1).Info("Can't set a pod's MTU", "pod", e.Namespace+"/"+e.Pod, "reason", err.Error())
			continue
		}
		d.mtus[m.Interface] = m.MTU
	}
}

func (d *dataplane) observe(started time.Time, report linux.Report) {
	d.agent.metrics.applied(started, report)
	d.agent.metrics.failures.Set(float64(len(report.Failures)))
	d.agent.metrics.routes.Reset()
	for _, c := range report.Routes {
		d.agent.metrics.routes.WithLabelValues(string(c.Source)).Set(float64(c.Count))
	}
}

// report says in the NodeNetwork and the BlockClaim what was found and done.
func (d *dataplane) report(in routeplan.Input, plan routeplan.Plan, done linux.Report, pools []cluster.Pool) {
	facts := report.Facts{VTEPMAC: names.VTEPMAC(in.Node).String(), Encapsulations: encapsulations(in.Capabilities)}
	for _, u := range []routeplan.Underlay{in.V4, in.V6} {
		if !u.Address.IsValid() {
			continue
		}
		facts.Addresses = append(facts.Addresses, v1alpha1.NodeAddress{Address: u.Address.String(), Subnet: u.Subnet.String(), Interface: u.Interface})
		if facts.MTU == 0 || int32(u.MTU) < facts.MTU {
			facts.MTU = int32(u.MTU)
		}
	}
	support, reason, message := metav1.ConditionTrue, "AllSupported", "The kernel can do all that the pools need."
	for _, p := range plan.Problems {
		support, reason, message = metav1.ConditionFalse, "Missing", p.Message
		break
	}
	d.agent.claim.SetRendered(renderedOf(pools))
	d.agent.network.SetFacts(facts)
	d.agent.network.SetCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, "PlanApplied", "The kernel shows the plan.")
	d.agent.network.SetCondition(v1alpha1.ConditionKernelSupport, support, reason, message)
}

func encapsulations(c routeplan.Capabilities) []v1alpha1.Encapsulation {
	out := []v1alpha1.Encapsulation{v1alpha1.EncapsulationNone}
	if c.IPIP {
		out = append(out, v1alpha1.EncapsulationIPIP, v1alpha1.EncapsulationIPIPCrossSubnet)
	}
	if c.VXLAN {
		out = append(out, v1alpha1.EncapsulationVXLAN, v1alpha1.EncapsulationVXLANCrossSubnet)
	}
	return out
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
