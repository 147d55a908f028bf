package agent

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/records"
)

// How soon a change is in the checkpoint. After a restart the links tell what it lacks of pods, so it may be a little old.
const (
	saveOwn      = time.Second
	saveOthers   = 10 * time.Second
	saveCounters = time.Minute
)

// checkpoint is what the agent knows and can't read from the node itself. It holds no password: BGP sessions live in the
// speaker's process, which a restart of the agent does not end.
type checkpoint struct {
	View       *cluster.SavedView     `json:"view"`
	Endpoints  []addressbook.Endpoint `json:"endpoints"`
	Held       []addressbook.Block    `json:"held"`
	Released   []addressbook.Released `json:"released"`
	Given      []addressbook.Given    `json:"given,omitempty"`
	PeerRoutes []plan.PeerRoute       `json:"peerRoutes"`
}

func checkpointPath(socket string) string { return filepath.Join(filepath.Dir(socket), "checkpoint") }

// restore reads the checkpoint of an earlier run. One that can't be used is ignored.
func (a *Agent) restore(file cluster.File) *checkpoint {
	var c checkpoint
	saved, err := file.Load(&c)
	switch {
	case errors.Is(err, cluster.ErrNoCheckpoint):
		return nil
	case err != nil:
		a.log.Info("Ignores the checkpoint: the agent needs the API server to start", "reason", err.Error())
		return nil
	case c.View == nil:
		a.log.Info("Ignores the checkpoint: it has no view of the cluster", "file", file.Path)
		return nil
	}
	a.log.Info("Found a checkpoint", "saved", saved, "endpoints", len(c.Endpoints))
	return &c
}

// snapshot is what the keeper of the checkpoint saves; nil as long as nothing is known.
func (a *Agent) snapshot() any {
	view := a.view.Snapshot()
	if view == nil {
		return nil
	}
	c := checkpoint{View: view, Endpoints: a.book.Endpoints(), Given: a.book.Given(), PeerRoutes: a.bgp.PeerRoutes()}
	for _, b := range a.book.Blocks() {
		if b.Released {
			c.Released = append(c.Released, addressbook.Released{CIDR: b.CIDR, UID: b.UID})
		}
		c.Held = append(c.Held, addressbook.Block{CIDR: b.CIDR, Pool: b.Pool, UID: b.UID, Loan: b.Loan, Fixed: b.Fixed})
	}
	return c
}

// past returns what the address book takes over from a checkpoint.
func (c *checkpoint) past() records.Past {
	return records.Past{Held: c.Held, Released: c.Released, Given: c.Given}
}

// saveWithin says how soon a change of the view has to be in the checkpoint.
func saveWithin(c cluster.Change) time.Duration {
	switch {
	case c&^cluster.PoolCounters == 0:
		return saveCounters
	case c&^(cluster.OtherBlocks|cluster.Addresses|cluster.Remembered|cluster.PoolCounters) == 0:
		return saveOthers
	}
	return saveOwn
}
