package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/addresses"
	"github.com/causeway-net/causeway/node-agent/bgp"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/records"
	"github.com/causeway-net/causeway/node-agent/report"
)

// reserve is what the agent keeps free by default.
const reserve = 16

// node is an agent of the real parts, connected as package agent connects them, but for the socket of the CNI plugin, the
// speaker, and the kernel.
type node struct {
	name   string
	index  int
	kernel *stillKernel
	*tally

	api        *cluster.Connection
	view       *cluster.View
	book       *addressbook.Book
	pools      *addresses.Pools
	ledger     *addresses.Ledger
	queue      *records.Queue
	records    *records.Keeper
	network    *report.Network
	claim      *report.Claim
	bgp        *report.BGPState
	events     *report.Events
	lease      *report.Lease
	loop       *datapath.Loop
	foundation *cluster.Foundation
	workers    sync.WaitGroup
}

// newNode prepares an agent. Nothing is asked of the API server yet.
func newNode(index int, config *rest.Config) (*node, error) {
	n := &node{name: nodeName(index), index: index, kernel: newStillKernel(nodeAddress(index)), tally: newTally()}
	config = rest.CopyConfig(config)
	config.Wrap(n.wrap)
	var err error
	if n.api, err = cluster.Connect(config, n.name); err != nil {
		return nil, err
	}
	log := logr.Discard()
	n.view = cluster.NewView(n.name, n.noteChange)
	n.pools = addresses.NewPools(n.view.Namespace)
	settings := report.Settings{Client: n.api.Client, Node: n.name, Log: log}
	n.network, n.bgp = report.NewNetwork(settings), report.NewBGPState(settings)
	n.claim = report.NewClaim(settings)
	n.events, n.lease = report.NewEvents(settings, n.network), report.NewLease(settings, func() error { return nil })
	n.book = addressbook.New(addressbook.Options{Now: time.Now, Reserve: reserve, Linger: time.Minute, DemandChanged: func() { n.ledger.Wake() }})
	n.ledger = addresses.NewLedger(addresses.Options{View: n.view, Book: n.book, Pools: n.pools, Save: func() error { return nil },
		Told: n.claim.SetShares, Log: log})
	api := records.NewAPI(n.api.Client, n.api.REST, n.name)
	n.queue = records.NewQueue(records.QueueOptions{API: api, Node: n.name, Log: log, Refused: func([]records.Refusal) {}, Pended: func(records.Pending) {},
		Gone: func(string) {}})
	n.records = records.NewKeeper(records.Options{
		Node: n.name, API: api, Stored: n.storedRecords, Past: n.past, PodGone: podStays, PoolsOf: n.pools.Of, Pending: n.queue.Pending,
		Book: n.book, Links: n.kernel, Pods: pods{n}, Every: time.Minute, Log: log, Report: func(*v1alpha1.WorkloadEndpoint, error) {},
	})
	n.foundation = cluster.NewFoundation(n.api, func() { n.loop.Wake() })
	n.loop = datapath.New(datapath.Options{
		Node: n.name, Kernel: n.kernel, View: n.view, Book: n.book, BGP: noBGP{}, Pods: n.kernel, Reporter: kernelReporter{n},
		VXLAN: plan.VXLAN{VNI: names.DefaultVXLANVNI, Port: names.DefaultVXLANPort}, Resync: time.Minute, Log: log,
		Infrastructure: n.foundation.Networks,
	})
	return n, nil
}

// run starts the agent and returns when it has read what there is. It works until the context ends.
func (n *node) run(ctx context.Context) error {
	work := func(f func(context.Context)) { n.workers.Go(func() { f(ctx) }) }
	own := cluster.Handler[*v1alpha1.NodeNetwork]{Set: n.network.Observe, Drop: n.network.Gone}
	if err := n.view.Follow(ctx, n.api, own); err != nil {
		return err
	}
	stored := cluster.Handler[*v1alpha1.WorkloadEndpoint]{Set: n.records.Seen, Drop: n.records.Lost}
	if _, err := cluster.Watch(ctx, n.api, &v1alpha1.WorkloadEndpoint{}, stored); err != nil {
		return err
	}
	reads := bgp.NewCachedObjects(n.name, n.api.Cache, bgp.NewPasswords(bgp.APISecrets{Client: n.api.Client}, logr.Discard()), nil)
	if err := reads.Watch(ctx, noBGP{}); err != nil {
		return err
	}
	work(func(ctx context.Context) { _ = n.api.Cache.Start(ctx) })
	work(n.lease.Run)
	work(n.queue.Run)
	work(n.foundation.Run)
	if !n.view.WaitLive(ctx) {
		return context.Cause(ctx)
	}
	n.ledger.SettlePools()
	if err := n.records.Recall(ctx); err != nil {
		return err
	}
	n.ledger.Settle()
	n.loop.FirstPass(ctx)
	for _, f := range []func(context.Context){n.ledger.Run, n.records.Run, n.network.Run, n.claim.Run, n.bgp.Run, n.events.Run} {
		work(f)
	}
	work(func(ctx context.Context) { _ = n.loop.Run(ctx) })
	n.ledger.Wake()
	return nil
}

// noteChange does what the agent does.
func (n *node) noteChange(c cluster.Change) {
	if c&(cluster.PoolUse|cluster.OwnBlocks|cluster.OwnNode) != 0 {
		n.ledger.Wake()
	} else if c&cluster.PoolCounters != 0 {
		n.ledger.SettlePools()
	}
	if c&(cluster.PoolRoutes|cluster.OwnBlocks|cluster.OtherBlocks|cluster.Addresses|cluster.OwnNode) != 0 {
		n.loop.Wake()
	}
}

func (n *node) storedRecords() ([]*v1alpha1.WorkloadEndpoint, error) {
	var list v1alpha1.WorkloadEndpointList
	if err := n.api.Cache.List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	out := make([]*v1alpha1.WorkloadEndpoint, 0, len(list.Items))
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out, nil
}

// past asks what the agent asks. These nodes are new, so there is nothing.
func (n *node) past(ctx context.Context) (records.Past, error) {
	var claim v1alpha1.BlockClaim
	err := n.api.Client.Get(ctx, client.ObjectKey{Name: n.name}, &claim)
	return records.Past{}, client.IgnoreNotFound(err)
}

// startPod gives a pod an address and has its record written, as an ADD does.
func (n *node) startPod(ctx context.Context, number int) error {
	e := podOf(n.index, number)
	candidates, err := n.pools.Candidates(podsSpace, nil)
	if err != nil {
		return fmt.Errorf("find the pools of pod %s: %w", e.Pod, err)
	}
	e, err = n.book.Reserve(ctx, addressbook.Request{Endpoint: e, Candidates: candidates})
	if err != nil {
		return fmt.Errorf("find an address for a pod of node %s: %w", n.name, err)
	}
	n.kernel.addPod(e.Interface)
	n.book.SetState(e.Interface, addressbook.Ready)
	n.queue.Write(e)
	return n.queue.Await(ctx, e.Interface)
}

// blocks is how many blocks the node has.
func (n *node) blocks() int { return len(n.view.OwnBlocks()) }

// pods is what the records' keeper asks of the server of CNI calls. No link goes here, so there is nothing to mend.
type pods struct{ *node }

// Mend implements records.Pods.
func (pods) Mend(context.Context, string) error { return nil }

// Rewrite implements records.Pods.
func (p pods) Rewrite(_ context.Context, hostInterface string) error {
	if e, known := p.book.Get(hostInterface); known {
		p.queue.Rewrite(e)
	}
	return nil
}

// Release implements records.Pods.
func (pods) Release(context.Context, addressbook.Endpoint) error {
	return errors.New("no pod of a simulated node goes")
}

// Reap implements records.Pods.
func (pods) Reap(addressbook.Endpoint, bool) {}

func podStays(context.Context, addressbook.Endpoint) (bool, error) { return false, nil }

// noBGP is a BGP loop of a cluster without BGP.
type noBGP struct{}

func (noBGP) Active() bool                 { return false }
func (noBGP) Learned() []plan.LearnedRoute { return nil }
func (noBGP) Changes() []plan.LearnedRoute { return nil }
func (noBGP) PeerRoutes() []plan.PeerRoute { return nil }
func (noBGP) Wake()                        {}
func (noBGP) PodsChanged()                 {}

// kernelReporter passes on what the datapath says.
type kernelReporter struct{ *node }

func (kernelReporter) Applied(time.Duration, kernel.Report)    {}
func (kernelReporter) AddressChanged(_, _ netip.Addr)          {}
func (kernelReporter) LinksChanged()                           {}
func (r kernelReporter) SetPodMTUs(by map[string]int, def int) { r.pools.SetMTU(by, def) }

// ReportDatapath implements datapath.Reporter.
func (r kernelReporter) ReportDatapath(s datapath.State) {
	if s.Failure != nil {
		return
	}
	r.claim.SetRendered(rendered(s.Pools))
	r.network.SetFacts(facts(r.index))
	r.network.SetCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, "PlanApplied", "The kernel shows the plan.")
	r.network.SetCondition(v1alpha1.ConditionKernelSupport, metav1.ConditionTrue, "AllSupported", "The kernel can do all that the pools need.")
}

func rendered(pools []cluster.Pool) map[string]report.Rendered {
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

// facts are what a node says of itself.
func facts(index int) report.Facts {
	return report.Facts{
		Addresses: []v1alpha1.NodeAddress{{Address: nodeAddress(index).String(), Subnet: nodeSubnet.String(), Interface: "eth0"}},
		MTU:       1500, VTEPMAC: names.VTEPMAC(nodeName(index)).String(),
		Encapsulations: []v1alpha1.Encapsulation{v1alpha1.EncapsulationNone, v1alpha1.EncapsulationIPIP, v1alpha1.EncapsulationIPIPCrossSubnet,
			v1alpha1.EncapsulationVXLAN, v1alpha1.EncapsulationVXLANCrossSubnet},
	}
}
