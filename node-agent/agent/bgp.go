package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/routeplan"
)

const (
	bgpSettle = 20 * time.Millisecond
	// reportEvery is the least time between two looks at the sessions' state while routes come in.
	reportEvery = 50 * time.Millisecond
	// conditionBGPReady is the NodeNetwork's condition about its sessions.
	conditionBGPReady = "BGPReady"
)

// bgp plans the node's sessions and brings what they learn to the kernel's loop. The speaker's process starts with the
// first session, so that a cluster without BGP does not pay for it.
type bgp struct {
	agent   *Agent
	client  *speaker.Client
	socket  string
	wake    chan struct{}
	started bool
	watched map[string]bool
	states  map[string]string // session to its last state
	plan    bgpplan.Plan
	silent  atomic.Bool // nobody will learn anything
	failing string      // the planning error that was logged last
}

func newBGP(a *Agent, socket string) *bgp {
	return &bgp{
		agent: a, client: speaker.NewClient(socket), socket: socket, wake: make(chan struct{}, 1),
		watched: map[string]bool{}, states: map[string]string{},
	}
}

func (b *bgp) wakeUp() { wake(b.wake) }

// run works until the context ends. The speaker's process goes on then.
func (b *bgp) run(ctx context.Context) error {
	if _, err := os.Stat(b.socket); err == nil {
		b.start(ctx) // an earlier agent's speaker may run; its sessions must not end because nobody asks
	}
	var later <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
			if !sleep(ctx, bgpSettle) {
				return nil
			}
			drain(b.wake)
			if err := b.turn(ctx); err == nil {
				b.failing = ""
			} else if ctx.Err() == nil {
				b.fail(err)
				time.AfterFunc(failureRetry, b.wakeUp)
			}
		case <-b.client.Changed():
			b.agent.dataplane.wakeLearned()
			if later == nil {
				later = time.After(reportEvery)
			}
		case <-later:
			later = nil
			b.report()
		}
	}
}

// fail logs a planning error once.
func (b *bgp) fail(err error) {
	if text := err.Error(); text != b.failing {
		b.failing = text
		b.agent.log.Error(err, "Can't plan BGP; will try again")
	}
}

// adopt keeps what an earlier agent learned in the kernel until the speaker says more. Call it before the first turn of
// the kernel's loop.
func (b *bgp) adopt() { b.client.Adopt(learnedInKernel(b.agent.log)) }

// start brings up the connection to the speaker, and its process.
func (b *bgp) start(ctx context.Context) {
	if b.started {
		return
	}
	b.started = true
	supervisor := &speaker.Supervisor{Socket: b.socket, Log: slog.New(logr.ToSlogHandler(b.agent.log))}
	b.agent.workers.Go(func() { supervisor.Run(ctx) })
	b.agent.workers.Go(func() { b.client.Run(ctx) })
}

// turn plans from the caches and tells the speaker.
func (b *bgp) turn(ctx context.Context) error {
	in, err := b.gather(ctx)
	if err != nil {
		return err
	}
	plan := bgpplan.Make(in)
	b.agent.setPeerRoutes(plan.PeerRoutes)
	b.plan = plan
	if len(plan.Sessions) == 0 && !b.started {
		if !b.silent.Swap(true) {
			b.agent.dataplane.wakeUp() // what an earlier agent learned goes: nobody will learn it anew
		}
		b.report()
		return nil
	}
	b.silent.Store(false)
	b.start(ctx)
	within, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	if _, err := b.client.Apply(within, plan); err != nil && ctx.Err() == nil {
		b.agent.log.V(1).Info("The speaker has not taken the plan yet", "reason", err.Error())
	}
	b.report()
	return nil
}

func (b *bgp) gather(ctx context.Context) (bgpplan.Input, error) {
	in := bgpplan.Input{Node: b.agent.options.Node, Passwords: map[bgpplan.SecretKey]string{}}
	var configurations v1alpha1.BGPConfigurationList
	var peers v1alpha1.BGPPeerList
	var filters v1alpha1.BGPFilterList
	var nodes v1alpha1.NodeNetworkList
	var endpoints v1alpha1.WorkloadEndpointList
	for _, list := range []client.ObjectList{&configurations, &peers, &filters, &nodes, &endpoints} {
		if err := b.agent.api.cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return in, fmt.Errorf("list %T: %w", list, err)
		}
	}
	for i := range configurations.Items {
		if configurations.Items[i].Name == "default" {
			in.Configuration = &configurations.Items[i]
		}
	}
	in.Peers, in.Filters, in.NodeNetworks, in.Endpoints = peers.Items, filters.Items, nodes.Items, endpoints.Items
	var err error
	if in.Pools, err = b.agent.listPools(ctx); err != nil {
		return in, fmt.Errorf("list IPPools: %w", err)
	}
	blocks, err := b.agent.listBlocks(ctx)
	if err != nil {
		return in, fmt.Errorf("list IPBlocks: %w", err)
	}
	for _, block := range blocks {
		if block.Spec.Node == in.Node {
			in.Blocks = append(in.Blocks, block)
		}
	}
	if err := b.gatherServices(ctx, &in); err != nil {
		return in, err
	}
	if err := b.gatherPasswords(ctx, &in); err != nil {
		return in, err
	}
	if len(in.Filters) > 0 { // only their rules by interface need the links
		if in.Links, err = links(); err != nil {
			return in, err
		}
	}
	in.Draining = b.agent.isDrained(ctx)
	return in, nil
}

// gatherServices watches Services only where their addresses are announced.
func (b *bgp) gatherServices(ctx context.Context, in *bgpplan.Input) error {
	c := in.Configuration
	if c == nil || len(c.Spec.ServiceClusterIPs)+len(c.Spec.ServiceExternalIPs)+len(c.Spec.ServiceLoadBalancerIPs) == 0 {
		return nil
	}
	var services corev1.ServiceList
	var slices discoveryv1.EndpointSliceList
	if err := b.follow(ctx, &corev1.Service{}, &services); err != nil {
		return err
	}
	if err := b.follow(ctx, &discoveryv1.EndpointSlice{}, &slices); err != nil {
		return err
	}
	in.Services, in.EndpointSlices = services.Items, slices.Items
	return nil
}

// gatherPasswords watches the Secrets of causeway-system only where a session has a password.
func (b *bgp) gatherPasswords(ctx context.Context, in *bgpplan.Input) error {
	needed := in.Configuration != nil && in.Configuration.Spec.NodeToNodeMesh.Password != nil
	for _, p := range in.Peers {
		needed = needed || p.Spec.Password != nil
	}
	if !needed {
		return nil
	}
	var secrets corev1.SecretList
	if err := b.follow(ctx, &corev1.Secret{}, &secrets); err != nil {
		return err
	}
	for _, s := range secrets.Items {
		for key, value := range s.Data {
			in.Passwords[bgpplan.SecretKey{Name: s.Name, Key: key}] = string(value)
		}
	}
	return nil
}

// follow lists a kind from the cache, and watches it from its first use on.
func (b *bgp) follow(ctx context.Context, object client.Object, list client.ObjectList) error {
	kind := fmt.Sprintf("%T", object)
	if !b.watched[kind] {
		informer, err := b.agent.api.cache.GetInformer(ctx, object)
		if err != nil {
			return fmt.Errorf("watch %s: %w", kind, err)
		}
		if _, err := informer.AddEventHandler(onAny(func(any) { b.wakeUp() })); err != nil {
			return fmt.Errorf("watch %s: %w", kind, err)
		}
		b.watched[kind] = true
	}
	if err := b.agent.api.cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list %s: %w", kind, err)
	}
	return nil
}

// links returns the node's links with the networks they are on, for filters by interface.
func links() ([]bgpplan.Link, error) {
	all, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // pods' links come and go; the others are in the list
		return nil, fmt.Errorf("list links: %w", err)
	}
	var out []bgpplan.Link
	for _, l := range all {
		if l.Type() == "veth" && len(l.Attrs().Name) == len(names.HostInterfacePrefix)+11 && l.Attrs().Name[:len(names.HostInterfacePrefix)] == names.HostInterfacePrefix {
			continue // pods' links lead to no router
		}
		addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			continue // the link is gone
		}
		link := bgpplan.Link{Name: l.Attrs().Name}
		for _, a := range addresses {
			if address, ok := netip.AddrFromSlice(a.IP); ok {
				ones, _ := a.Mask.Size()
				link.Prefixes = append(link.Prefixes, netip.PrefixFrom(address.Unmap(), ones).Masked())
			}
		}
		out = append(out, link)
	}
	return out, nil
}

// learnedInKernel returns the routes that an earlier agent learned: they stay until the speaker knows better.
func learnedInKernel(log logr.Logger) []bgpplan.LearnedRoute {
	var out []bgpplan.LearnedRoute
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Protocol: names.BGPRouteProtocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			log.Error(err, "Can't list the routes that were learned by BGP")
			continue
		}
		for _, r := range routes {
			if r.Dst == nil {
				continue
			}
			base, _ := netip.AddrFromSlice(r.Dst.IP)
			ones, _ := r.Dst.Mask.Size()
			learned := bgpplan.LearnedRoute{Prefix: netip.PrefixFrom(base.Unmap(), ones)}
			if via, ok := netip.AddrFromSlice(r.Gw); ok {
				learned.NextHops = append(learned.NextHops, via.Unmap())
			}
			for _, hop := range r.MultiPath {
				if via, ok := netip.AddrFromSlice(hop.Gw); ok {
					learned.NextHops = append(learned.NextHops, via.Unmap())
				}
			}
			if len(learned.NextHops) > 0 {
				out = append(out, learned)
			}
		}
	}
	return out
}

// learned returns what goes into the route plan.
func (b *bgp) learned() []routeplan.LearnedRoute {
	if b.silent.Load() {
		return nil
	}
	snapshot := b.client.Routes()
	out := make([]routeplan.LearnedRoute, 0, len(snapshot.Routes))
	for _, r := range snapshot.Routes {
		out = append(out, routeplan.LearnedRoute{Prefix: r.Prefix, NextHops: r.NextHops})
	}
	return out
}

// report says in the NodeNetwork how the sessions are.
func (b *bgp) report() {
	status, failures := b.client.Status()
	out := &v1alpha1.BGPStatus{ASNumber: int64(b.plan.Global.AS)}
	if b.plan.Global.RouterID.IsValid() {
		out.RouterID = b.plan.Global.RouterID.String()
	}
	known := map[netip.Addr]speaker.SessionStatus{}
	for _, s := range status.Sessions {
		known[s.Peer] = s
	}
	up := 0
	lastError := ""
	for _, wanted := range b.plan.Sessions {
		line := v1alpha1.BGPSessionStatus{Peer: wanted.Peer.String(), ASNumber: int64(wanted.PeerAS), Source: wanted.Source, State: "Idle"}
		if s, ok := known[wanted.Peer]; ok {
			since := metav1.NewTime(s.Since.Truncate(time.Second))
			line.State, line.Since, line.LastError = s.State, &since, s.LastError
			line.PrefixesReceived, line.PrefixesAdvertised = int64(s.Received), int64(s.Advertised)
			if s.Established() {
				up++
			}
		}
		for _, f := range failures {
			if f.Peer == wanted.Peer {
				line.LastError = f.Message
			}
		}
		if line.State != "Established" && line.LastError != "" {
			lastError = line.LastError
		}
		out.Sessions = append(out.Sessions, line)
		b.note(line)
	}
	b.agent.metrics.sessions(out.Sessions)
	if len(b.plan.Sessions) == 0 && !b.started {
		b.agent.network.SetBGP(nil)
		b.agent.bgpState.Set(v1alpha1.BGPNodeStateStatus{SessionCounts: "0/0"})
		return
	}
	b.agent.network.SetBGP(out)
	ready := b.condition(up, len(out.Sessions), lastError, status.Faults)
	b.agent.network.SetCondition(conditionBGPReady, ready.Status, ready.Reason, ready.Message)
	b.agent.bgpState.Set(stateOf(out, up, ready))
}

// condition says in a sentence how the sessions are.
func (b *bgp) condition(up, all int, lastError string, faults []string) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "AllEstablished",
		Message: fmt.Sprintf("%d of %d BGP sessions are established.", up, all)}
	if up < all {
		c.Status, c.Reason = metav1.ConditionFalse, "SessionsDown"
		if lastError != "" {
			c.Message += " " + lastError
		}
	}
	if len(b.plan.Problems) > 0 {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, b.plan.Problems[0].Reason, b.plan.Problems[0].Message
	}
	if len(faults) > 0 {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, "SpeakerFault", faults[len(faults)-1]
	}
	return c
}

// stateOf puts the sessions into the shape of a BGPNodeState: those in trouble first.
func stateOf(bgp *v1alpha1.BGPStatus, up int, ready metav1.Condition) v1alpha1.BGPNodeStateStatus {
	out := v1alpha1.BGPNodeStateStatus{
		ASNumber: bgp.ASNumber, RouterID: bgp.RouterID, Expected: int32(len(bgp.Sessions)), Established: int32(up),
		SessionCounts: fmt.Sprintf("%d/%d", up, len(bgp.Sessions)), Conditions: []metav1.Condition{ready},
	}
	sources := map[string]*v1alpha1.BGPSourceStatus{}
	for _, s := range bgp.Sessions {
		if sources[s.Source] == nil {
			sources[s.Source] = &v1alpha1.BGPSourceStatus{Source: s.Source}
		}
		sources[s.Source].Expected++
		if s.State == "Established" {
			sources[s.Source].Established++
		}
		out.RoutesLearned += s.PrefixesReceived
	}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		out.Sources = append(out.Sources, *sources[name])
	}
	sorted := slices.Clone(bgp.Sessions)
	slices.SortStableFunc(sorted, func(a, b v1alpha1.BGPSessionStatus) int {
		return cmp.Compare(troubled(b), troubled(a))
	})
	out.Sessions = sorted[:min(len(sorted), v1alpha1.MaxSessionsInDetail)]
	return out
}

func troubled(s v1alpha1.BGPSessionStatus) int {
	if s.State == "Established" {
		return 0
	}
	return 1
}

// note makes an event of a session's change of state.
func (b *bgp) note(line v1alpha1.BGPSessionStatus) {
	before, known := b.states[line.Peer]
	b.states[line.Peer] = line.State
	up, was := line.State == "Established", before == "Established"
	if up == was || !known && !up {
		return
	}
	kind, reason, message := corev1.EventTypeNormal, "BGPSessionEstablished", fmt.Sprintf("The BGP session with %s (AS %d, %s) is established.", line.Peer, line.ASNumber, line.Source)
	if !up {
		kind, reason = corev1.EventTypeWarning, "BGPSessionDown"
		message = fmt.Sprintf("The BGP session with %s (AS %d, %s) is down. %s", line.Peer, line.ASNumber, line.Source, line.LastError)
	}
	b.agent.event(kind, reason, message)
}

// speakerSocket is beside the agent's own.
func speakerSocket(agentSocket string) string {
	return filepath.Join(filepath.Dir(agentSocket), "speaker.sock")
}
