package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/addresses"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/cniserver"
	noderecords "github.com/causeway-net/causeway/node-agent/records"
	"github.com/causeway-net/causeway/node-agent/report"
)

// agent is one run of a node's agent: the real parts, composed as node-agent/agent does. The loops of kernel and BGP are left
// out: this one says of each pool at once that the kernel shows it.
type agent struct {
	*process
	w       *World
	conn    *conn
	view    *cluster.View
	book    *addressbook.Book
	pools   *addresses.Pools
	ledger  *addresses.Ledger
	server  *cniserver.Server
	queue   *noderecords.Queue
	keeper  *noderecords.Keeper
	claim   *report.Claim
	network *report.Network
	lease   *report.Lease
	saver   *cluster.Keeper
	saved   *checkpoint

	own *feeds

	counted     map[string]bool            // endpoints that the invariants have looked at
	terminating map[netip.Prefix]types.UID // blocks that the watch has shown as being deleted, up to the change number read
	read        int
	saving      atomic.Bool // it writes the checkpoint; what the watch shows meanwhile has to wait
	remembered  bool        // it has started with a checkpoint and without the API server

	live     chan struct{}
	synced   atomic.Bool // the book holds what the node's links tell
	blind    atomic.Bool
	nodeGone atomic.Bool
}

// checkpoint is what node-agent/agent saves, but for BGP.
type checkpoint struct {
	View      *cluster.SavedView     `json:"view"`
	Endpoints []addressbook.Endpoint `json:"endpoints"`
	Held      []addressbook.Block    `json:"held"`
	Released  []addressbook.Released `json:"released"`
	Given     []addressbook.Given    `json:"given,omitempty"`
}

func (m *machine) checkpointPath() string { return filepath.Join(m.dir, "checkpoint") }

// startAgent starts the agent's program.
func (m *machine) startAgent() {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{name: m.name, on: m, ctx: ctx, cancel: cancel}
	a := &agent{process: p, w: m.w, live: make(chan struct{})}
	own := newFeeds(m.w, p, func(o client.Object) bool {
		switch o := o.(type) {
		case *v1alpha1.WorkloadEndpoint:
			return o.Spec.Node == m.name
		case *corev1.Node:
			return o.Name == m.name
		}
		return true
	})
	m.w.feeds = append(m.w.feeds, own)
	a.conn, a.own, a.terminating = &conn{w: m.w, p: p}, own, map[netip.Prefix]types.UID{}
	random := rand.New(rand.NewPCG(m.w.seed, uint64(m.boots))).Float64
	log := m.w.log.WithName(m.name)
	settings := report.Settings{Client: a.conn, Node: m.name, Log: log, Random: random}
	a.view = cluster.NewView(m.name, a.noteChange)
	a.pools = addresses.NewPools(a.view.Namespace)
	a.claim, a.network = report.NewClaim(settings), report.NewNetwork(settings)
	a.lease = report.NewLease(settings, func() error { return nil })
	a.book = addressbook.New(addressbook.Options{Now: time.Now, Reserve: 2, Linger: 5 * time.Second, DemandChanged: func() { a.ledger.Wake() }})
	file := cluster.File{Path: m.checkpointPath(), Of: cluster.Identity{Node: m.name, Boot: fmt.Sprint(m.boots), Cluster: "simulation"}}
	a.saver = cluster.NewKeeper(file, a.snapshot, log)
	var saved checkpoint
	if _, err := file.Load(&saved); err == nil && saved.View != nil {
		a.saved = &saved
	}
	a.ledger = addresses.NewLedger(addresses.Options{View: a.view, Book: a.book, Pools: a.pools, Save: a.save, Told: a.claim.SetShares, Log: log})
	a.makeEndpoints(own, log, random)
	m.agent = a
	go a.run(own)
}

func (a *agent) makeEndpoints(own *feeds, log logr.Logger, random func() float64) {
	api := records{a.conn}
	source := noderecords.Source{Node: a.on.name, Server: a.conn, Cache: own, OwnBlocks: a.view.OwnBlocks}
	a.queue = noderecords.NewQueue(noderecords.QueueOptions{
		API: api, Node: a.on.name, Log: log, Refused: func([]noderecords.Refusal) {}, Random: random,
		Pended: a.savePods,
		Gone:   func(hostInterface string) { a.server.RecordGone(hostInterface) },
	})
	kernel := wiring{m: a.on, p: a.process}
	a.server = cniserver.New(cniserver.Options{
		Node: a.on.name, Book: a.book, Records: a.queue, Wiring: kernel, Pools: a.pools, Health: a, Log: log,
		Observe: func(string, uint, time.Duration) {},
	})
	a.keeper = noderecords.NewKeeper(noderecords.Options{
		Node: a.on.name, API: api, Stored: source.Stored, Past: source.Past, PodGone: source.PodGone, PoolsOf: a.pools.Of, Pending: a.queue.Pending,
		Book: a.book, Links: kernel, Pods: a.server, Every: 30 * time.Second, Log: log, Random: random,
		Report: func(record *v1alpha1.WorkloadEndpoint, reason error) {},
	})
}

// Unavailable implements cniserver.Health.
func (a *agent) Unavailable() error {
	switch {
	case !a.synced.Load():
		return fmt.Errorf("the agent waits for the API server")
	case a.blind.Load():
		return fmt.Errorf("the agent knows no pool")
	case a.nodeGone.Load():
		return fmt.Errorf("the Node does not exist")
	}
	return nil
}

// save writes the checkpoint; the agent may crash before or after it.
func (a *agent) save() error {
	a.saving.Store(true)
	defer a.saving.Store(false)
	err := a.w.gate.pass(a.ctx, &call{of: a.process, key: a.name + " saves", effect: func() error { return nil }})
	if err != nil {
		return err
	}
	return a.saver.Save()
}

func (a *agent) savePods(p noderecords.Pending) {
	switch {
	case p.Away && p.Removal:
		_ = a.saver.Save()
	case p.Away:
		a.saver.Wake(100 * time.Millisecond)
	default:
		a.saver.Wake(10 * time.Second)
	}
}

func (a *agent) snapshot() any {
	view := a.view.Snapshot()
	if view == nil {
		return nil
	}
	c := checkpoint{View: view, Endpoints: a.book.Endpoints(), Given: a.book.Given()}
	for _, b := range a.book.Blocks() {
		if b.Released {
			c.Released = append(c.Released, addressbook.Released{CIDR: b.CIDR, UID: b.UID})
		}
		c.Held = append(c.Held, addressbook.Block{CIDR: b.CIDR, Pool: b.Pool, Loan: b.Loan, Fixed: b.Fixed})
	}
	return c
}

func (a *agent) noteChange(c cluster.Change) {
	a.saver.Wake(time.Second)
	if c&cluster.OwnNode != 0 {
		a.noteNode()
	}
	if c&(cluster.PoolUse|cluster.OwnBlocks|cluster.OwnNode|cluster.Remembered) != 0 {
		a.ledger.Wake()
	} else if c&cluster.PoolCounters != 0 {
		a.ledger.SettlePools()
	}
	if c&cluster.PoolRoutes != 0 {
		a.render()
	}
}

// render stands for a pass over the kernel.
func (a *agent) render() {
	shown := map[string]report.Rendered{}
	for _, p := range a.view.Pools() {
		shown[p.Route.Name] = report.Rendered{UID: string(p.Object.UID), Generation: p.Object.Generation, Sending: p.Route.Encapsulation}
	}
	a.claim.SetRendered(shown)
}

func (a *agent) noteNode() {
	_, known := a.view.Node()
	a.nodeGone.Store(!known)
}

// run is what Agent.Run of node-agent/agent does.
func (a *agent) run(own *feeds) {
	handler := cluster.Handler[*v1alpha1.NodeNetwork]{Set: a.network.Observe, Drop: func(o *v1alpha1.NodeNetwork) {
		a.network.Gone(o)
		a.claim.Recheck()
	}}
	connection := &cluster.Connection{Client: a.conn, Cache: own}
	if err := a.view.Follow(a.ctx, connection, handler); err != nil {
		panic(err)
	}
	stored := cluster.Handler[*v1alpha1.WorkloadEndpoint]{Set: a.keeper.Seen, Drop: a.keeper.Lost}
	if _, err := cluster.Watch(a.ctx, connection, &v1alpha1.WorkloadEndpoint{}, stored); err != nil {
		panic(err)
	}
	go a.server.Run(a.ctx)
	go a.lease.Run(a.ctx)
	go a.queue.Run(a.ctx)
	go a.learn()
	if !a.remember() {
		return
	}
	a.ledger.Settle()
	a.render()
	a.network.SetFacts(report.Facts{Addresses: []v1alpha1.NodeAddress{{Address: a.on.address(), Subnet: "192.168.0.0/24", Interface: "eth0"}}, MTU: 1500})
	a.network.SetCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, "PlanApplied", "The kernel shows the plan.")
	a.noteNode()
	a.serveCalls()
	for _, part := range []func(context.Context){a.ledger.Run, a.keeper.Run, a.saver.Run} {
		go part(a.ctx)
	}
	for _, part := range []func(context.Context){a.network.Run, a.claim.Run} {
		go func() {
			if a.awaitLive(a.ctx) {
				part(a.ctx)
			}
		}()
	}
	a.ledger.Wake()
}

func (a *agent) learn() {
	if !a.view.WaitLive(a.ctx) {
		return
	}
	a.ledger.SettlePools()
	if err := a.keeper.Recall(a.ctx); err != nil {
		return
	}
	a.blind.Store(false)
	a.noteNode()
	close(a.live)
}

func (a *agent) awaitLive(ctx context.Context) bool {
	select {
	case <-a.live:
		return true
	case <-ctx.Done():
		return false
	}
}

// remember reports false where the agent ends first.
func (a *agent) remember() bool {
	within, cancel := context.WithTimeout(a.ctx, 3*time.Second)
	known := a.awaitLive(within)
	cancel()
	if known || a.ctx.Err() != nil {
		return known
	}
	var err error
	if a.saved != nil {
		a.remembered = true
		a.view.Restore(a.saved.View)
		a.ledger.SettlePools()
		err = a.keeper.Remember(a.saved.Endpoints, noderecords.Past{Held: a.saved.Held, Released: a.saved.Released, Given: a.saved.Given})
	} else {
		a.blind.Store(true)
		err = a.keeper.Remember(nil, noderecords.Past{})
	}
	if err != nil {
		return a.awaitLive(a.ctx)
	}
	if a.view.Origin() == cluster.Nowhere {
		a.serveCalls()
		return a.awaitLive(a.ctx)
	}
	return true
}

func (a *agent) serveCalls() {
	if !a.synced.Swap(true) {
		a.server.SetSynced()
	}
}

// crashAgent kills the agent's program. What it had not finished stays unfinished.
func (m *machine) crashAgent() {
	if m.agent == nil {
		return
	}
	file, err := os.ReadFile(m.checkpointPath())
	m.w.gate.kill(m.agent.process)
	m.agent = nil
	m.w.settle()
	if err == nil { // a program that ends in order saves once more; one that is killed does not
		err = os.WriteFile(m.checkpointPath(), file, 0o600)
	} else {
		err = os.Remove(m.checkpointPath())
	}
	if err != nil && !os.IsNotExist(err) {
		panic(err)
	}
	for _, p := range m.podsIn(starting) {
		p.state = ending
	}
	for _, p := range m.podsIn(deleting) {
		p.state = ending
	}
}
