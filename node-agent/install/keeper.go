package install

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
)

const (
	// readyPoll is how often the agent is asked whether it can serve, before the configuration is there.
	readyPoll = 200 * time.Millisecond
	// lookAgain is how often the configuration is compared with what it should be: somebody may remove it, or install portmap.
	lookAgain = 30 * time.Second
)

// Keeper keeps the CNI configuration of a node. A runtime says that its node is ready as soon as the file is there, so
// it appears when the agent can serve pods for the first time. It stays while the agent restarts: the plugin waits for
// the agent, and STATUS says when it is away.
type Keeper struct {
	// ConfFolder and PluginFolder are the runtime's folders, as this process sees them.
	ConfFolder, PluginFolder string
	// Unavailable says why the agent can't serve, or nil.
	Unavailable func() error
	// RemovedForGood says, when the agent is told to end, that no other will come.
	RemovedForGood func(context.Context) bool
	Log            logr.Logger
}

// Run keeps the configuration until the context ends.
func (k *Keeper) Run(ctx context.Context) {
	for k.Unavailable() != nil {
		if !wait(ctx, readyPoll) {
			k.end()
			return
		}
	}
	failing := ""
	for {
		if err := k.keep(ctx); err != nil && err.Error() != failing {
			failing = err.Error()
			k.Log.Error(err, "Can't write the CNI configuration; pods can't start on this node until it is there. Will try again")
		} else if err == nil {
			failing = ""
		}
		if !wait(ctx, lookAgain) {
			k.end()
			return
		}
	}
}

func (k *Keeper) keep(ctx context.Context) error {
	portmap := lookForPortmap(ctx, k.PluginFolder)
	if ctx.Err() != nil {
		return nil
	}
	changed, err := writeConflist(k.ConfFolder, render(portmap))
	if changed && err == nil {
		k.Log.Info("Wrote the CNI configuration", "file", ConflistFile, "hostPorts", portmap != portmapAbsent, "statusAndGC", portmap != portmapOld)
	}
	return err
}

// end removes the configuration if Causeway leaves this node for good, so that the node does not say Ready without a network.
func (k *Keeper) end() {
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if !k.RemovedForGood(ctx) {
		return
	}
	if err := removeConflist(k.ConfFolder); err != nil {
		k.Log.Error(fmt.Errorf("remove the CNI configuration: %w", err), "The node may say Ready, but pods can't start")
		return
	}
	k.Log.Info("Causeway leaves this node; its CNI configuration is removed")
}

func wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
