package bgp

import (
	"context"

	"github.com/go-logr/logr"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// Options set a Loop.
type Options struct {
	// Node is the own Node's name.
	Node    string
	Objects Objects
	Book    Book
	Pods    Pods
	Speaker Speaker
	// KeepProcess keeps the speaker's process running until the context ends.
	KeepProcess func(ctx context.Context)
	// AwaitObjects waits until Objects are known. It reports false where the context ends first. Until then the sessions
	// that an earlier agent left go on, and what they learn and withdraw reaches the datapath.
	AwaitObjects func(ctx context.Context) bool
	// PeerRoutes are those of an earlier agent's last plan. They stay until the first plan.
	PeerRoutes []plan.PeerRoute
	// SpeakerRan says whether an earlier agent may have left a speaker running: its sessions must go on.
	SpeakerRan bool
	Reporter   Reporter
	// LearnedChanged and PlanChanged wake the datapath: the first for Changes, the second where Learned or PeerRoutes
	// mean something else as a whole.
	LearnedChanged, PlanChanged func()
	// Links returns the node's links, for filters by interface.
	Links func() ([]bgpplan.Link, error)
	Log   logr.Logger
}

// Objects are the API objects of which a plan is made, read from caches.
type Objects interface {
	// Read returns them. PodAddresses, Links and Draining of the input are left out.
	Read(ctx context.Context) (bgpplan.Input, error)
	// Wait waits until what Read has started has ended, after Read's context has.
	Wait()
	// Cordoned says whether the own Node takes no new pods.
	Cordoned(ctx context.Context) bool
}

// Book knows the pods of this node.
type Book interface {
	Endpoints() []addressbook.Endpoint
}

// Pods answers questions about pods that the caches can't.
type Pods interface {
	// StaysInDrain says whether a pod stays on a node that is drained. A pod that does not exist any more does.
	StaysInDrain(ctx context.Context, namespace, name string) (bool, error)
}

// Speaker is the connection to the speaker's process. speaker.Client explains the methods.
type Speaker interface {
	Run(ctx context.Context)
	Adopt(routes []plan.LearnedRoute)
	Apply(ctx context.Context, plan bgpplan.Plan) ([]speaker.Failure, error)
	Changed() <-chan struct{}
	Routes() speaker.Snapshot
	Changes() []plan.LearnedRoute
	Status() (speaker.Status, []speaker.Failure)
}

// Reporter takes what people should know. Its methods return at once.
type Reporter interface {
	// ReportBGP takes the state of the sessions whenever it may have changed, up to ten times a second.
	ReportBGP(s State)
	// Event takes something that happened: a type, a reason and a sentence, as in Kubernetes' events.
	Event(kind, reason, message string)
}
