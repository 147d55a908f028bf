package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/bgp"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
	"github.com/causeway-net/causeway/node-agent/cniserver"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
	"github.com/causeway-net/causeway/node-agent/report"
)

// Options set an agent.
type Options struct {
	// Node is the name of this agent's Node.
	Node string
	// Config leads to the API server.
	Config *rest.Config
	// Socket is the path of the CNI plugin's socket.
	Socket string
	// MetricsAddress is where metrics and health are served; "" for nowhere.
	MetricsAddress string
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
	options   Options
	log       logr.Logger
	api       *connection
	book      *addressbook.Book
	facts     *poolFacts
	wirer     *veth.Wirer
	server    *cniserver.Server
	network   *report.Network
	claim     *report.Claim
	bgpState  *report.BGPState
	metrics   *metrics
	dataplane *dataplane
	bgp       *bgp.Loop
	bgpReads  *bgp.CachedObjects
	workers   sync.WaitGroup
	events    chan *corev1.Event

	ledger     chan struct{} // wakes keepLedger
	rewrites   chan string   // interfaces whose record vanished
	strangers  sync.Map      // interface to a record that the book does not know
	unrecorded []string      // interfaces found at start without a record
	synced     atomic.Bool
	nodeGone   atomic.Bool
}

// New prepares an agent. Nothing runs yet.
func New(o Options) (*Agent, error) {
	api, err := connect(o.Config, o.Node)
	if err != nil {
		return nil, err
	}
	wirer, err := veth.NewWirer()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		options: o, log: o.Log, api: api, wirer: wirer, metrics: newMetrics(),
		ledger: make(chan struct{}, 1), rewrites: make(chan string, 1024), events: make(chan *corev1.Event, 64),
	}
	a.facts = &poolFacts{namespaces: a.namespaceFacts}
	settings := report.Settings{Client: api.client, Node: o.Node, Log: o.Log, Observed: a.metrics.reported}
	a.network, a.claim, a.bgpState = report.NewNetwork(settings), report.NewClaim(settings), report.NewBGPState(settings)
	a.book = addressbook.New(addressbook.Options{Now: time.Now, Reserve: o.Reserve, Linger: o.Linger, DemandChanged: a.wakeLedger})
	a.server = cniserver.New(cniserver.Options{
		Node: o.Node, Book: a.book, Records: records{client: api.client, rest: api.rest}, Wiring: wirer, Pools: a.facts, Health: a,
		Log: o.Log, Observe: a.metrics.observeCall,
	})
	if a.dataplane, err = newDataplane(a); err != nil {
		return nil, err
	}
	a.bgpReads = bgp.NewCachedObjects(o.Node, api.cache)
	a.bgp = a.newBGP(speaker.SocketBeside(o.Socket))
	return a, nil
}

// Unavailable implements cniserver.Health.
func (a *Agent) Unavailable() error {
	if !a.synced.Load() {
		return errors.New("the agent waits for the Kubernetes API server to read this node's records")
	}
	if a.nodeGone.Load() {
		return fmt.Errorf("the Node %s does not exist in Kubernetes", a.options.Node)
	}
	return nil
}

// Run works until the context ends. What the kernel shows then stays as it is.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer a.workers.Wait()
	defer a.wirer.Close()
	work := func(what string, f func(context.Context) error) {
		a.workers.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	listener, err := cniserver.Listen(a.options.Socket)
	if err != nil {
		return err
	}
	work("serve the CNI plugin", func(ctx context.Context) error { return a.server.Serve(ctx, listener) })
	if a.options.MetricsAddress != "" {
		work("serve metrics and health", a.serveMetrics)
	}
	if err := a.watch(ctx); err != nil {
		cancel(err)
		return err
	}
	work("watch the API", a.api.cache.Start)
	work("keep the lease", func(ctx context.Context) error {
		keepLease(ctx, a.api.client, a.options.Node, a.log)
		return nil
	})
	if !a.api.cache.WaitForCacheSync(ctx) {
		return context.Cause(ctx)
	}
	a.settlePools(ctx)
	if err := a.recall(ctx); err != nil {
		return err
	}
	a.settleLedger(ctx)
	learned, err := bgp.LearnedInKernel()
	if err != nil {
		return err
	}
	a.bgp.Adopt(learned)
	if err := a.dataplane.turn(ctx); err != nil { // before the first pod, so that its MTU is known
		a.dataplane.fail(err)
		a.dataplane.wakeUp()
	}
	a.noteNode(ctx)
	a.synced.Store(true)
	a.server.SetSynced()
	a.log.Info("Ready", "node", a.options.Node, "endpoints", len(a.book.Endpoints()))
	work("keep the ledger", func(ctx context.Context) error { a.keepLedger(ctx); return nil })
	work("keep the records", func(ctx context.Context) error { a.keepRecords(ctx); return nil })
	work("report", func(ctx context.Context) error {
		a.network.Run(ctx)
		return nil
	})
	work("claim blocks", func(ctx context.Context) error { a.claim.Run(ctx); return nil })
	work("report the BGP sessions", func(ctx context.Context) error { a.bgpState.Run(ctx); return nil })
	work("keep the kernel", a.dataplane.run)
	work("keep the BGP sessions", a.bgp.Run)
	work("send events", func(ctx context.Context) error { a.keepEvents(ctx); return nil })
	a.wakeLedger()
	for _, key := range a.unrecorded {
		a.rewrites <- key
	}
	<-ctx.Done()
	a.workers.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (a *Agent) wakeLedger() { wake(a.ledger) }

// settlePools tells the book and the facts about the pools before the records come in.
func (a *Agent) settlePools(ctx context.Context) {
	pools, err := a.listPools(ctx)
	if err == nil {
		a.facts.set(factsOf(pools, a.ownNode(ctx)))
	}
}

func (a *Agent) noteNode(ctx context.Context) {
	gone := a.ownNode(ctx) == nil
	if a.nodeGone.Swap(gone) != gone && gone {
		a.log.Info("This agent's Node does not exist in Kubernetes; pods get no address until it does", "node", a.options.Node)
	}
}

// watch names the kinds that the agent follows, and what each wakes.
func (a *Agent) watch(ctx context.Context) error {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	both := func(any) { a.wakeLedger(); a.dataplane.wakeUp() }
	kinds := []struct {
		object  client.Object
		handler toolscache.ResourceEventHandler
	}{
		{&v1alpha1.IPPool{}, onAny(both)},
		{&v1alpha1.IPBlock{}, onAny(both)},
		{&v1alpha1.NodeNetwork{}, onAny(func(any) { a.dataplane.wakeUp() })},
		{&v1alpha1.NodeNetwork{}, a.ownNetworkHandler()},
		{&corev1.Node{}, onAny(func(o any) { a.noteNode(ctx); both(o) })},
		{namespace, onAny(func(any) {})},
		{&v1alpha1.WorkloadEndpoint{}, toolscache.ResourceEventHandlerFuncs{
			AddFunc: func(o any) {
				if record, ok := o.(*v1alpha1.WorkloadEndpoint); ok {
					a.recordSeen(record)
				}
			},
			DeleteFunc: func(o any) {
				if tombstone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
					o = tombstone.Obj
				}
				if record, ok := o.(*v1alpha1.WorkloadEndpoint); ok {
					a.recordLost(record)
				}
			},
		}},
	}
	for _, k := range kinds {
		informer, err := a.api.cache.GetInformer(ctx, k.object)
		if err != nil {
			return fmt.Errorf("watch %T: %w", k.object, err)
		}
		if _, err := informer.AddEventHandler(k.handler); err != nil {
			return fmt.Errorf("watch %T: %w", k.object, err)
		}
	}
	return a.bgpReads.Watch(ctx, a.bgp)
}

// ownNetworkHandler tells the report what the API has of this node's NodeNetwork.
func (a *Agent) ownNetworkHandler() toolscache.ResourceEventHandler {
	own := func(o any) (*v1alpha1.NodeNetwork, bool) {
		if tombstone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = tombstone.Obj
		}
		n, ok := o.(*v1alpha1.NodeNetwork)
		return n, ok && n.Name == a.options.Node
	}
	seen := func(o any) {
		if n, ok := own(o); ok {
			a.network.Observe(n)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: seen, UpdateFunc: func(_, o any) { seen(o) },
		DeleteFunc: func(o any) {
			if n, ok := own(o); ok {
				a.network.Gone(n)
			}
		},
	}
}

func onAny(f func(any)) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    f,
		UpdateFunc: func(_, o any) { f(o) },
		DeleteFunc: func(o any) {
			if tombstone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = tombstone.Obj
			}
			f(o)
		},
	}
}

func (a *Agent) serveMetrics(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("/metrics", a.metrics.handler())
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := a.Unavailable(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.options.MetricsAddress)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", a.options.MetricsAddress, err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
