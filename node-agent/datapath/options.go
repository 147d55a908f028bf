package datapath

import (
	"context"
	"net/netip"
	"time"

	"github.com/go-logr/logr"

	"github.com/causeway-net/causeway/internal/infrastructure"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// Options set a Loop.
type Options struct {
	// Node is the own Node's name.
	Node     string
	Kernel   Kernel
	View     View
	Book     Book
	BGP      BGP
	Pods     Pods
	Reporter Reporter
	VXLAN    plan.VXLAN
	// Infrastructure returns networks that the cluster stands on, besides those of nodes and of this node's links: the API
	// server's addresses, the Service ranges. It returns the same list until something changes. It may be nil.
	Infrastructure func() []infrastructure.Network
	// Resync is how often the whole kernel is compared with the plan without being asked.
	Resync time.Duration
	// Turned is told of each turn of the loop, whatever came of it. It may be nil.
	Turned func()
	Log    logr.Logger
}

// Kernel is a node's kernel. One goroutine calls Observe, Apply and ApplyChanges.
type Kernel interface {
	// Probe finds out what the kernel can do.
	Probe(ctx context.Context) plan.Capabilities
	// Watch starts to listen until the context ends. It is called once.
	Watch(ctx context.Context) kernel.Events
	// Observe looks at the kernel. It returns kernel.ErrBusy where that is worth another try at once.
	Observe(ctx context.Context, q kernel.Query) (kernel.Observed, error)
	// Apply makes the kernel look like the plan. The plan's pods must be younger than the last Observe: a route that was not
	// there at that time is not removed.
	Apply(ctx context.Context, p plan.Plan) kernel.Report
	// ApplyChanges brings what has changed of a plan to the kernel, and looks at nothing else. It reports false, and has done
	// nothing, where the kernel must be observed first.
	ApplyChanges(ctx context.Context, c plan.Changes) (kernel.Report, bool)
	// Close ends the use of the kernel. What was made stays.
	Close() error
}

// View is the cluster as values.
type View interface {
	Pools() []cluster.Pool
	BlocksSince(version uint64) cluster.BlockChanges
	NodeNetworks() *cluster.NodeNetworks
	Node() (cluster.Node, bool)
}

// Book knows the pods of this node.
type Book interface {
	Endpoints() []addressbook.Endpoint
	Get(hostInterface string) (addressbook.Endpoint, bool)
}

// BGP knows what was learned. bgp.Loop explains the methods.
type BGP interface {
	Active() bool
	Learned() []plan.LearnedRoute
	Changes() []plan.LearnedRoute
	PeerRoutes() []plan.PeerRoute
}

// Pods changes the links of running pods.
type Pods interface {
	// ShrinkMTU lowers the MTU of both ends of a pod's link.
	ShrinkMTU(hostInterface, containerInterface, networkNamespace string, mtu int) error
}

// Reporter takes what others should know. Its methods return at once.
type Reporter interface {
	// ReportDatapath takes the state after each pass that has changed something, or may have.
	ReportDatapath(s State)
	// Applied takes how long a change of the kernel took.
	Applied(took time.Duration, report kernel.Report)
	// SetPodMTUs takes what new pods get: by pool, and where nothing is known of the pool yet.
	SetPodMTUs(byPool map[string]int, otherwise int)
	// AddressChanged is told that the node has another address: connections from the old one are dead.
	AddressChanged(v4, v6 netip.Addr)
	// LinksChanged is told that somebody has changed links or routes, perhaps those of pods.
	LinksChanged()
}
