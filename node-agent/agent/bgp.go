package agent

import (
	"context"
	"log/slog"
	"os"

	"github.com/go-logr/logr"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/bgp"
	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// newBGP connects the BGP loop with the parts that it needs.
func (a *Agent) newBGP(socket string) *bgp.Loop {
	supervisor := &speaker.Supervisor{Socket: socket, Log: slog.New(logr.ToSlogHandler(a.log))}
	_, err := os.Stat(socket)
	var peerRoutes []plan.PeerRoute
	if a.saved != nil {
		peerRoutes = a.saved.PeerRoutes
	}
	return bgp.New(bgp.Options{
		Node: a.options.Node, Objects: a.bgpReads, Book: a.book, Pods: bgp.APIPods{Client: a.api.Client},
		Speaker: speaker.NewClient(socket), KeepProcess: keepSpeaker(a.options.SpeakerInContainer, supervisor.Run), SpeakerRan: err == nil,
		AwaitObjects: a.awaitLive, PeerRoutes: peerRoutes,
		Reporter: bgpReporter{a}, LearnedChanged: func() { a.datapath.WakeLearned() }, PlanChanged: func() { a.datapath.Wake() },
		Links: bgp.Links, Log: a.log,
	})
}

// blocksForBGP is what BGP needs of this node's blocks.
func blocksForBGP(blocks []cluster.Block) []bgpplan.Block {
	out := make([]bgpplan.Block, 0, len(blocks))
	for _, b := range blocks {
		out = append(out, bgpplan.Block{CIDR: b.CIDR.Masked(), Pool: b.Pool, Lent: b.Lender != ""})
	}
	return out
}

// keepSpeaker returns what keeps the speaker's process: one owner, since two would start it against each other. Where the
// speaker has a container, the kubelet starts it again, and the agent only talks to it.
func keepSpeaker(inContainer bool, supervise func(context.Context)) func(context.Context) {
	if !inContainer {
		return supervise
	}
	return func(ctx context.Context) { <-ctx.Done() }
}

// bgpReporter puts the state of the sessions into metrics and reports.
type bgpReporter struct{ *Agent }

// Event implements bgp.Reporter.
func (r bgpReporter) Event(kind, reason, message string) { r.events.Event(kind, reason, message) }

// ReportBGP implements bgp.Reporter.
func (r bgpReporter) ReportBGP(state bgp.State) {
	r.metrics.sessions(state.Sessions)
	if state.Active {
		r.bgpState.Set(state.Status())
	} else {
		r.bgpState.Set(v1alpha1.BGPNodeStateStatus{SessionCounts: "0/0"})
	}
}
