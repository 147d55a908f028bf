package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-net/causeway/internal/giveback"
	"github.com/causeway-net/causeway/node-agent/bgp"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/cniserver"
	"github.com/causeway-net/causeway/node-agent/debug"
	"github.com/causeway-net/causeway/node-agent/records"
)

// patience is how long an agent that starts waits for the API server before it goes on with its checkpoint. The plugin
// waits longer.
const patience = 3 * time.Second

// Run works until the context ends. What the kernel shows then stays as it is.
func (a *Agent) Run(ctx context.Context) error {
	lock, err := lockNode(a.options.Socket)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // the lock ends with the process at the latest
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
	if err := a.serve(ctx, work); err != nil {
		cancel(err)
		return err
	}
	work("read this node's records", a.learn)
	a.remember(ctx)
	if ctx.Err() == nil {
		if err := a.keep(ctx, work); err != nil {
			cancel(err)
			return err
		}
	}
	<-ctx.Done()
	a.workers.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// starter starts a part. The agent ends when a part fails.
type starter func(what string, f func(context.Context) error)

func endless(f func(context.Context)) func(context.Context) error {
	return func(ctx context.Context) error {
		f(ctx)
		return nil
	}
}

// serve starts what needs no knowledge: the sockets, the watches, the lease, and the queue of records.
func (a *Agent) serve(ctx context.Context, work starter) error {
	listener, err := cniserver.Listen(a.options.Socket)
	if err != nil {
		return err
	}
	work("serve the CNI plugin", func(ctx context.Context) error { return a.server.Serve(ctx, listener) })
	work("delete the links of pods that are gone", endless(a.server.Run))
	windows, err := cniserver.Listen(debug.SocketBeside(a.options.Socket))
	if err != nil {
		return err
	}
	work("serve the debug socket", func(ctx context.Context) error { return debug.Serve(ctx, windows, a.windows()) })
	if err := a.serveOutside(work); err != nil {
		return err
	}
	if err := a.watch(ctx); err != nil {
		return err
	}
	work("watch the API", a.api.Cache.Start)
	work("follow the API server's addresses and the Service ranges", endless(a.foundation.Run))
	work("keep the lease", endless(a.lease.Run))
	work("write the records", endless(a.queue.Run))
	work("look for the packets of path traces", endless(a.tracer.Run))
	return nil
}

// learn waits for the API server, and takes over what it knows of this node.
func (a *Agent) learn(ctx context.Context) error {
	if !a.view.WaitLive(ctx) {
		return nil
	}
	a.api.Started()
	a.ledger.SettlePools()
	if err := a.records.Recall(ctx); err != nil {
		return err
	}
	a.noteNode()
	close(a.live)
	return nil
}

// awaitLive reports false where the context ends before the API server has told all there is.
func (a *Agent) awaitLive(ctx context.Context) bool {
	select {
	case <-a.live:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *Agent) isLive() bool {
	select {
	case <-a.live:
		return true
	default:
		return false
	}
}

// remember fills the address book: by learn, or where the API server is away, from the checkpoint and the node's links.
// Without a checkpoint the agent lets pods go, but leaves everything else as it is until it has learned what that is.
func (a *Agent) remember(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, patience)
	known := a.awaitLive(within)
	cancel()
	if known || ctx.Err() != nil {
		return
	}
	var err error
	if a.saved != nil {
		a.log.Info("The API server does not answer; starts with the checkpoint")
		a.view.Restore(a.saved.View)
		a.ledger.SettlePools()
		err = a.records.Remember(a.saved.Endpoints, a.saved.past())
	} else {
		a.log.Info("The API server does not answer, and there is no checkpoint; pods can end, and those that start have to wait")
		a.blind.Store(true)
		err = a.records.Remember(nil, records.Past{})
	}
	if err != nil {
		a.log.Error(err, "Can't read what the node has; waits for the API server")
		a.awaitLive(ctx)
		return
	}
	if a.view.Origin() == cluster.Nowhere {
		a.serveCalls()
		a.awaitLive(ctx)
	}
}

// serveCalls lets the calls of the CNI plugin in.
func (a *Agent) serveCalls() {
	if !a.synced.Swap(true) {
		a.server.SetSynced()
	}
}

// keep starts the loops, each with the view that there is. Nothing is reported before the API server has told all there is.
func (a *Agent) keep(ctx context.Context, work starter) error {
	a.ledger.Settle()
	learned, err := bgp.LearnedInKernel()
	if err != nil {
		return err
	}
	a.bgp.Adopt(learned)
	a.datapath.FirstPass(ctx) // before the first pod, so that its MTU is known
	a.noteNode()
	a.blind.Store(false)
	a.serveCalls()
	a.log.Info("Ready", "node", a.options.Node, "endpoints", len(a.book.Endpoints()))
	work("keep the ledger", endless(a.ledger.Run))
	work("keep the records", endless(a.records.Run))
	work("keep the kernel", a.datapath.Run)
	work("keep the BGP sessions", a.bgp.Run)
	work("keep the checkpoint", endless(a.saver.Run))
	for what, report := range map[string]func(context.Context){
		"report": a.network.Run, "claim blocks": a.claim.Run, "report the BGP sessions": a.bgpState.Run, "send events": a.events.Run,
	} {
		work(what, endless(func(ctx context.Context) {
			if a.awaitLive(ctx) {
				report(ctx)
			}
		}))
	}
	work("give memory back", giveback.New(a.isLive).Start)
	a.ledger.Wake()
	return nil
}
