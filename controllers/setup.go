// Package controllers composes the cluster's controller: it connects the rooms beside it (blocks, nodes, pools, bgp, traces) with a cache
// that holds no more than they use. All of their state is in the API: two leaders at once, or one that dies half way, do no harm.
package controllers

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/bgp"
	"github.com/causeway-net/causeway/controllers/blocks"
	"github.com/causeway-net/causeway/controllers/nodes"
	"github.com/causeway-net/causeway/controllers/pools"
	"github.com/causeway-net/causeway/controllers/reservations"
	"github.com/causeway-net/causeway/controllers/sticky"
	"github.com/causeway-net/causeway/controllers/traces"
	"github.com/causeway-net/causeway/internal/giveback"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
	"github.com/causeway-net/causeway/internal/scrape"
)

// LeaderLease is the name of the Lease that controllers elect their leader by.
const LeaderLease = v1alpha1.ControllerLease

// Options are the controller's settings.
type Options struct {
	// AgentLeaseDuration is how long a missing agent or Node is waited for where no Lease says it.
	AgentLeaseDuration time.Duration
	// StatusInterval is the least time between two statuses of one pool while only its numbers of addresses change.
	StatusInterval time.Duration

	// MetricsBindAddress is where metrics are served; "0" for nowhere. MetricsSecure asks for TLS and a token that may read
	// them; MetricsCertFolder may hold the certificate.
	MetricsBindAddress string
	MetricsSecure      bool
	MetricsCertFolder  string
	// HealthSocket is the unix socket for probes; "" for none.
	HealthSocket string

	LeaderElect             bool
	LeaderElectionNamespace string
	LeaseDuration           time.Duration
	RenewDeadline           time.Duration
	RetryPeriod             time.Duration

	Logger logr.Logger
}

// DefaultOptions are what the flags default to.
func DefaultOptions() Options {
	return Options{
		AgentLeaseDuration:      40 * time.Second,
		StatusInterval:          10 * time.Second,
		MetricsBindAddress:      "0",
		LeaderElect:             true,
		LeaderElectionNamespace: v1alpha1.SystemNamespace,
		// A pod's ADD waits for 25 s, longer than a new leader takes; and a slow API server must not end the leader.
		LeaseDuration: 10 * time.Second,
		RenewDeadline: 7 * time.Second,
		RetryPeriod:   time.Second,
		Logger:        logr.Discard(),
	}
}

// Scheme returns a scheme with all kinds that Causeway uses.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(s); err != nil {
		return nil, fmt.Errorf("add the Kubernetes API to the scheme: %w", err)
	}
	if err := v1alpha1.AddToScheme(s); err != nil {
		return nil, fmt.Errorf("add the Causeway API to the scheme: %w", err)
	}
	return s, nil
}

// New returns a manager with all controllers in it, ready to start.
func New(cfg *rest.Config, o Options) (manager.Manager, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	cfg = rest.CopyConfig(cfg)
	// The API server's own priority and fairness is the limit; a storm of pods must not wait for ours.
	cfg.QPS = -1
	anyName := true
	mgr, err := manager.New(cfg, manager.Options{
		Scheme:                        scheme,
		Logger:                        o.Logger,
		Cache:                         cacheOptions(),
		Client:                        client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.ConfigMap{}}}},
		Controller:                    config.Controller{SkipNameValidation: &anyName},
		Metrics:                       metricsserver.Options{BindAddress: "0"}, // package scrape serves them
		LeaderElection:                o.LeaderElect,
		LeaderElectionID:              LeaderLease,
		LeaderElectionNamespace:       o.LeaderElectionNamespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &o.LeaseDuration,
		RenewDeadline:                 &o.RenewDeadline,
		RetryPeriod:                   &o.RetryPeriod,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the controller's connection to the API server: %w", err)
	}
	if err := addServers(mgr, cfg, o); err != nil {
		return nil, err
	}
	endpoints, err := newEndpointSource(mgr)
	if err != nil {
		return nil, fmt.Errorf("set up the watch of WorkloadEndpoints: %w", err)
	}
	if err := AddReconcilers(mgr, endpoints, o); err != nil {
		return nil, err
	}
	return mgr, nil
}

// addServers adds what people, Prometheus and the kubelet ask.
func addServers(mgr manager.Manager, cfg *rest.Config, o Options) error {
	served, err := scrape.New(scrape.Options{Address: o.MetricsBindAddress, Secure: o.MetricsSecure, CertFolder: o.MetricsCertFolder,
		Config: cfg, Handler: promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{}), Log: o.Logger})
	if err != nil {
		return err
	}
	if err := mgr.Add(served); err != nil {
		return fmt.Errorf("set up metrics: %w", err)
	}
	if o.HealthSocket == "" {
		return nil
	}
	if err := mgr.Add(&healthServer{socket: o.HealthSocket, cache: mgr.GetCache(), meters: metrics.Registry}); err != nil {
		return fmt.Errorf("set up the health socket: %w", err)
	}
	return nil
}

// AddReconcilers makes the parts and connects them. endpoints reads WorkloadEndpoints past the manager's cache.
func AddReconcilers(mgr manager.Manager, endpoints blocks.EndpointSource, o Options) error {
	events := mgr.GetEventRecorder("causeway-controller")
	var poolsRoom *pools.Reconciler
	var nodesRoom *nodes.Reconciler
	var stickyRoom *sticky.Reconciler
	blocksRoom, err := blocks.New(blocks.Options{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Endpoints: endpoints, Metrics: metrics.Registry, Now: time.Now,
		PoolChanged: func(pool string) { poolsRoom.Changed(pool) }, Stuck: func(all []blockplan.Stuck) { stickyRoom.Stuck(all) },
		Recorded: func(record types.NamespacedName, pod string, e blockplan.Endpoint, there bool) {
			stickyRoom.Recorded(record, pod, e, there)
		},
		Stray: func(node string) { nodesRoom.Stray(node) }})
	if err != nil {
		return err
	}
	nodesRoom, err = nodes.New(nodes.Options{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: events, Metrics: metrics.Registry, Now: time.Now,
		Blocks: blocksRoom, LeaseDuration: o.AgentLeaseDuration, LivenessChanged: func() { poolsRoom.AllChanged() }})
	if err != nil {
		return err
	}
	poolsRoom, err = pools.New(pools.Options{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: events, Metrics: metrics.Registry, Now: time.Now,
		Blocks: blocksRoom, Agents: nodesRoom.Pulse(), Interval: o.StatusInterval})
	if err != nil {
		return err
	}
	stickyRoom = sticky.New(sticky.Options{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: events, Blocks: blocksRoom})
	for _, r := range []interface {
		SetupWithManager(context.Context, manager.Manager) error
	}{blocksRoom, poolsRoom, nodesRoom, stickyRoom, &bgp.Reconciler{Client: mgr.GetClient(), Now: time.Now},
		&reservations.Reconciler{Client: mgr.GetClient(), Addresses: blocksRoom, Now: time.Now},
		&traces.Reconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Addresses: blocksRoom, Now: time.Now}} {
		if err := r.SetupWithManager(context.Background(), mgr); err != nil {
			return fmt.Errorf("set up %T: %w", r, err)
		}
	}
	if err := mgr.Add(giveback.New(blocksRoom.Synced)); err != nil {
		return fmt.Errorf("give memory back after the start: %w", err)
	}
	return nil
}

// cacheOptions keeps out of memory what no controller reads.
func cacheOptions() cache.Options {
	own := map[string]cache.Config{v1alpha1.SystemNamespace: {}}
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Node{}:          {Transform: slimNode},
			&appsv1.StatefulSet{}:   {Transform: slimSet},
			&corev1.Secret{}:        {Namespaces: map[string]cache.Config{v1alpha1.BGPNamespace: {}}, Transform: blankSecret},
			&coordinationv1.Lease{}: {Namespaces: own, Transform: slimLease},
			// The API server publishes its own addresses in the EndpointSlices of the Service kubernetes.
			&discoveryv1.EndpointSlice{}: {Namespaces: map[string]cache.Config{corev1.NamespaceDefault: {}},
				Label: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: "kubernetes"})},
			&v1alpha1.BGPNodeState{}: {Transform: slimState},
		},
	}
}

func slimNode(o any) (any, error) {
	if n, ok := o.(*corev1.Node); ok {
		n.ManagedFields, n.Annotations = nil, nil
		n.Status = corev1.NodeStatus{Addresses: n.Status.Addresses}
	}
	return o, nil
}

// slimSet keeps which pods a StatefulSet is to have.
func slimSet(o any) (any, error) {
	if s, ok := o.(*appsv1.StatefulSet); ok {
		s.ManagedFields, s.Labels, s.Annotations, s.OwnerReferences, s.Status = nil, nil, nil, nil, appsv1.StatefulSetStatus{}
		s.Spec = appsv1.StatefulSetSpec{Replicas: s.Spec.Replicas, Ordinals: s.Spec.Ordinals, PersistentVolumeClaimRetentionPolicy: s.Spec.PersistentVolumeClaimRetentionPolicy}
	}
	return o, nil
}

func slimLease(o any) (any, error) {
	if l, ok := o.(*coordinationv1.Lease); ok {
		l.ManagedFields, l.Labels, l.Annotations, l.OwnerReferences = nil, nil, nil, nil
	}
	return o, nil
}

// slimState keeps some of the sessions that are down: a BGPPeer's status names no more.
func slimState(o any) (any, error) {
	const most = 16
	if b, ok := o.(*v1alpha1.BGPNodeState); ok {
		b.ManagedFields = nil
		var down []v1alpha1.BGPSessionStatus
		for _, s := range b.Status.Sessions {
			if s.State != "Established" && s.LastError != "" && len(down) < most {
				down = append(down, s)
			}
		}
		b.Status.Sessions = down
	}
	return o, nil
}

// blankSecret keeps the lengths of a Secret's values only: the agents use them, the controller just says if they can.
func blankSecret(o any) (any, error) {
	if s, ok := o.(*corev1.Secret); ok {
		s.ManagedFields, s.Annotations = nil, nil
		for k, v := range s.Data {
			s.Data[k] = make([]byte, len(v))
		}
	}
	return o, nil
}
