package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/linux"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/datapath/underlay"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
)

// Folders are where Causeway's files are, as this process sees them.
type Folders struct {
	Conf, Plugins, Run string
}

// AgentSocket is the agent's socket in the run folder.
const AgentSocket = "agent.sock"

// ErrAgentRuns says that the node's agent is still there: it would make again what is removed.
var ErrAgentRuns = errors.New("the agent of this node still answers; delete its DaemonSet first, or wait for its pod to end")

// Clean takes everything of ours away from the node. New pods are kept out first, by removing the configuration. Each step
// is tried whatever became of the others, and a second call finishes what a first has left.
func Clean(ctx context.Context, f Folders) error {
	if answers(filepath.Join(f.Run, AgentSocket)) {
		return ErrAgentRuns
	}
	return errors.Join(
		removeConflist(f.Conf),
		removeUnfinished(f.Conf),
		speaker.Stop(ctx, speaker.SocketBeside(filepath.Join(f.Run, AgentSocket))),
		removePodLinks(),
		showNothing(ctx),
		remove(filepath.Join(f.Plugins, PluginFile)),
		removeUnfinished(f.Plugins),
		removeRun(f.Run),
	)
}

func answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was said
	return true
}

// removePodLinks deletes the host ends of pods' links. Their routes and neighbours go with them.
func removePodLinks() error {
	w, err := veth.NewWirer()
	if err != nil {
		return err
	}
	defer w.Close()
	links, err := w.Links()
	if err != nil {
		return err
	}
	var all []string
	for _, l := range links {
		all = append(all, l.HostInterface)
	}
	gone, err := w.Reap(all)
	if err == nil && len(gone) < len(all) {
		err = fmt.Errorf("%d of %d links of pods could not be deleted", len(all)-len(gone), len(all))
	}
	return err
}

// showNothing brings the kernel to the empty plan: no tunnels, addresses, routes, neighbours or nftables table of ours.
func showNothing(ctx context.Context) error {
	a, err := linux.Open()
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // nothing to lose
	const tries = 5
	for try := 1; ; try++ {
		_, err := a.Observe(ctx, kernel.Query{Everything: true})
		if errors.Is(err, kernel.ErrBusy) && try < tries {
			continue
		}
		if err != nil && !errors.Is(err, underlay.ErrNoAddress) { // it need not have an address any more
			return err
		}
		var errs []error
		for _, failure := range a.Apply(ctx, plan.Plan{}).Failures {
			errs = append(errs, failure)
		}
		return errors.Join(errs...)
	}
}

// removeRun empties the run folder, and removes it where it is no mount.
func removeRun(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the run folder: %w", err)
	}
	for _, e := range entries {
		if removed := os.RemoveAll(filepath.Join(folder, e.Name())); removed != nil {
			err = errors.Join(err, fmt.Errorf("empty the run folder: %w", removed))
		}
	}
	if err == nil {
		_ = os.Remove(folder) // a mount point stays; it is empty
	}
	return err
}
