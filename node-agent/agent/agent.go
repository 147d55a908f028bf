package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/addresses"
	"github.com/causeway-net/causeway/node-agent/bgp"
	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/cniserver"
	"github.com/causeway-net/causeway/node-agent/datapath"
	"github.com/causeway-net/causeway/node-agent/datapath/underlay"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
	"github.com/causeway-net/causeway/node-agent/health"
	"github.com/causeway-net/causeway/node-agent/records"
	"github.com/causeway-net/causeway/node-agent/report"
	"github.com/causeway-net/causeway/node-agent/trace"
)

// Options set an agent.
type Options struct {
	// Node is the name of this agent's Node.
	Node string
	// Config leads to the API server.
	Config *rest.Config
	// Socket is the path of the CNI plugin's socket.
	Socket string
	// MetricsAddress is where metrics are served; "" for nowhere. MetricsSecure asks for TLS and a token that may read them;
	// MetricsCertFolder may hold the certificate.
	MetricsAddress    string
	MetricsSecure     bool
	MetricsCertFolder string
	// HealthAddress is where the kubelet's probes are answered; "" for nowhere.
	HealthAddress string
	// CNIConfFolder and CNIPluginFolder are the container runtime's. Without them, somebody else installs the CNI configuration.
	CNIConfFolder, CNIPluginFolder string
	// SpeakerInContainer says that the BGP speaker has a container of its own, so that the agent must not start it.
	SpeakerInContainer bool
	// Choice says which of the node's addresses to take.
	Choice underlay.Choice
	// MTU is what the network between nodes carries; 0 for the MTU of the node's interface.
	MTU int
	// VXLANVNI and VXLANPort are the same on all nodes.
	VXLANVNI, VXLANPort int
	// Reserve is the number of addresses kept free ahead of need in each pool.
	Reserve int
	// Linger is how long a surplus block stays empty before it is given back.
	Linger time.Duration
	// Resync is how often the kernel is compared with the plan without being asked.
	Resync time.Duration
	Log    logr.Logger
}

// Agent is one node's daemon.
type Agent struct {
	options    Options
	log        logr.Logger
	api        *cluster.Connection
	view       *cluster.View
	book       *addressbook.Book
	pools      *addresses.Pools
	ledger     *addresses.Ledger
	wirer      *veth.Wirer
	server     *cniserver.Server
	queue      *records.Queue
	records    *records.Keeper
	network    *report.Network
	claim      *report.Claim
	bgpState   *report.BGPState
	events     *report.Events
	lease      *report.Lease
	metrics    *metrics
	health     *health.Checks
	datapath   *datapath.Loop
	foundation *cluster.Foundation
	bgp        *bgp.Loop
	bgpReads   *bgp.CachedObjects
	tracer     *trace.Tracer
	saver      *cluster.Keeper
	saved      *checkpoint // of an earlier run; nil where there is none
	workers    sync.WaitGroup

	live     chan struct{} // closed when the API server has told all there is, and the book knows it
	synced   atomic.Bool   // the book holds what the node's links tell, at least
	blind    atomic.Bool   // nothing is known of the cluster
	nodeGone atomic.Bool
}

// New prepares an agent. Nothing runs yet.
func New(o Options) (*Agent, error) {
	api, err := cluster.Connect(o.Config, o.Node)
	if err != nil {
		return nil, err
	}
	wirer, err := veth.NewWirer()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		options: o, log: o.Log, api: api, wirer: wirer, metrics: newMetrics(), health: health.New(time.Now),
		live: make(chan struct{}),
	}
	a.view = cluster.NewView(o.Node, a.noteChange)
	a.pools = addresses.NewPools(a.view.Namespace)
	settings := report.Settings{Client: api.Client, Node: o.Node, Log: o.Log, Observed: a.metrics.reported}
	a.network, a.bgpState = report.NewNetwork(settings), report.NewBGPState(settings)
	a.claim = report.NewClaim(settings)
	a.events, a.lease = report.NewEvents(settings, a.network), report.NewLease(settings, func() error { return a.health.Hanging(context.Background()) })
	a.book = addressbook.New(addressbook.Options{Now: time.Now, Reserve: o.Reserve, Linger: o.Linger, DemandChanged: func() { a.ledger.Wake() }})
	identity, err := cluster.IdentityOf(o.Node, o.Config)
	if err != nil {
		return nil, err
	}
	file := cluster.File{Path: checkpointPath(o.Socket), Of: identity}
	a.saver, a.saved = cluster.NewKeeper(file, a.snapshot, o.Log), a.restore(file)
	a.ledger = addresses.NewLedger(addresses.Options{View: a.view, Book: a.book, Pools: a.pools, Save: a.saver.Save, Told: a.noteShares, Log: o.Log})
	a.tracer = trace.New(trace.Options{Node: o.Node, Client: api.Client, Pods: wirer, VXLANPort: uint16(o.VXLANPort), Now: time.Now, Log: o.Log})
	a.newEndpoints()
	a.bgpReads = bgp.NewCachedObjects(o.Node, api.Cache, bgp.NewPasswords(bgp.APISecrets{Client: api.Client}, o.Log), func() []bgpplan.Block { return blocksForBGP(a.view.OwnBlocks()) })
	a.bgp = a.newBGP(speaker.SocketBeside(o.Socket))
	if a.datapath, err = a.newDatapath(); err != nil {
		return nil, err
	}
	return a, nil
}

// Unavailable implements cniserver.Health.
func (a *Agent) Unavailable() error {
	if !a.synced.Load() {
		return errors.New("the agent waits for the Kubernetes API server to read this node's records")
	}
	if a.blind.Load() {
		return fmt.Errorf("%w without the Kubernetes API server and without a checkpoint, so it knows no IPPool", cniserver.ErrStarting)
	}
	if a.nodeGone.Load() {
		return fmt.Errorf("the Node %s does not exist in Kubernetes", a.options.Node)
	}
	return nil
}

// noteShares tells everybody who uses them what the node has and wants of each pool.
func (a *Agent) noteShares(shares []addressbook.Share) {
	a.bgp.PodsChanged()
	a.metrics.shares(shares)
	a.claim.SetShares(shares)
}

// noteChange wakes whoever uses what has changed in the cluster.
func (a *Agent) noteChange(c cluster.Change) {
	a.saver.Wake(saveWithin(c))
	if c&cluster.OwnNode != 0 {
		a.noteNode()
	}
	if c&(cluster.PoolUse|cluster.OwnBlocks|cluster.OwnNode|cluster.Remembered) != 0 {
		a.ledger.Wake()
	} else if c&cluster.PoolCounters != 0 {
		a.ledger.SettlePools()
	}
	if c&cluster.OwnBlocks != 0 {
		a.bgpReads.BlocksChanged()
	}
	if c&(cluster.PoolRoutes|cluster.OwnBlocks|cluster.OtherBlocks|cluster.Addresses|cluster.OwnNode) != 0 {
		a.datapath.Wake()
	}
}

func (a *Agent) noteNode() {
	_, known := a.view.Node()
	if a.nodeGone.Swap(!known) == known && !known {
		a.log.Info("This agent's Node does not exist in Kubernetes; pods get no address until it does", "node", a.options.Node)
	}
}

// watch names the kinds that the agent follows.
func (a *Agent) watch(ctx context.Context) error {
	own := cluster.Handler[*v1alpha1.NodeNetwork]{Set: a.network.Observe, Drop: func(o *v1alpha1.NodeNetwork) {
		a.network.Gone(o)
		a.claim.Recheck() // the controller deletes both for a Node that is gone, the claim first
	}}
	if err := a.view.Follow(ctx, a.api, own); err != nil {
		return err
	}
	stored := cluster.Handler[*v1alpha1.WorkloadEndpoint]{Set: a.records.Seen, Drop: a.records.Lost}
	if _, err := cluster.Watch(ctx, a.api, &v1alpha1.WorkloadEndpoint{}, stored); err != nil {
		return err
	}
	if _, err := cluster.Watch(ctx, a.api, &v1alpha1.PathObservation{}, cluster.Handler[*v1alpha1.PathObservation]{Set: a.tracer.Set, Drop: a.tracer.Drop}); err != nil {
		return err
	}
	return a.bgpReads.Watch(ctx, a.bgp)
}
