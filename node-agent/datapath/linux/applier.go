package linux

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/datapath/underlay"
)

// Applier changes the network namespace that it was opened in. It is a datapath.Kernel.
type Applier struct {
	nl    *netlink.Handle
	conn  *conn
	watch *watcher
	table table
	last  *actual
	nft   firewall
	// settings are the sysctls that were looked at since the last look at everything.
	settings map[string]string
	choice   underlay.Choice
	mtu      int
}

// Choose says which of the node's addresses to take, and what the network between nodes carries (0 for the interface's
// MTU). It is called before anything else, if at all.
func (a *Applier) Choose(choice underlay.Choice, mtu int) { a.choice, a.mtu = choice, mtu }

// Open connects to the kernel.
func Open() (*Applier, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	w, err := newWatcher(c)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		w.close()
		return nil, errors.Join(fmt.Errorf("open netlink: %w", err), c.Close())
	}
	return &Applier{nl: h, conn: c, watch: w, settings: map[string]string{}}, nil
}

// Close ends the use of the kernel. What was made stays.
func (a *Applier) Close() error {
	a.nl.Close()
	a.watch.close()
	return a.conn.Close()
}

// report is a kernel.Report that is being written.
type report struct{ kernel.Report }

func (r *report) fail(err error, format string, args ...any) {
	r.Failures = append(r.Failures, kernel.Failure{Object: fmt.Sprintf(format, args...), Err: err})
}

func (r *report) count(err error, format string, args ...any) {
	if err != nil {
		r.fail(err, format, args...)
		return
	}
	r.Changes++
}

// Probe implements datapath.Kernel.
func (a *Applier) Probe(ctx context.Context) plan.Capabilities { return underlay.Probe(ctx) }

// Apply implements datapath.Kernel. What needs something else is made after it, and removed before it.
func (a *Applier) Apply(ctx context.Context, target plan.Plan) kernel.Report {
	var r report
	actual := a.last
	a.makeLinks(actual, target, &r)
	a.makeAddresses(actual, target, &r)
	a.set(target, &r)
	stale := a.makeNeighbours(actual, target, &r)
	a.nft.apply(ctx, target.Firewall, &r)
	a.makeRoutes(actual, target, &r)
	a.removeNeighbours(stale, &r)
	a.removeAddresses(actual, target, &r)
	a.removeLinks(actual, target, &r)
	return r.Report
}
