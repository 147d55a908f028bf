package linux

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/routeplan"
)

// ResyncEvery is how long what we know of the kernel is believed without a look. The first Read after that looks at all.
const ResyncEvery = 60 * time.Second

// Applier changes the network namespace that it was opened in. Read and Apply are called in turn, by one goroutine;
// ApplyRoutes may be called between an Apply and the next Read.
type Applier struct {
	nl    *netlink.Handle
	conn  *conn
	watch *watcher
	table table
	last  *Actual
	nft   firewall
	// settings are the sysctls that were looked at since the last resync.
	settings map[string]string
	now      func() time.Time
	resync   time.Time
}

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
	return &Applier{nl: h, conn: c, watch: w, settings: map[string]string{}, now: time.Now}, nil
}

// Close ends the use of the kernel. What was made stays.
func (a *Applier) Close() error {
	a.nl.Close()
	a.watch.close()
	return a.conn.Close()
}

// Failure is one object that could not be made as planned.
type Failure struct {
	// Object says what was attempted, for example "add route 10.0.1.0/26 via 192.168.0.2".
	Object string
	Err    error
}

// Error joins both.
func (f Failure) Error() string { return f.Object + ": " + f.Err.Error() }

// Unwrap returns the cause.
func (f Failure) Unwrap() error { return f.Err }

// Report is what Apply did.
type Report struct {
	// Changes counts the objects that were added, changed or removed.
	Changes  int
	Failures []Failure
	// Routes are those that the kernel shows as planned, by source.
	Routes []routeplan.RouteCount
}

func (r *Report) fail(err error, format string, args ...any) {
	r.Failures = append(r.Failures, Failure{fmt.Sprintf(format, args...), err})
}

// Apply makes the kernel look like the plan. The plan's snapshot of pods must be younger than actual: a route that was
// not there when actual was read is not removed. What needs something else is made after it, and removed before it.
func (a *Applier) Apply(ctx context.Context, actual *Actual, plan routeplan.Plan) Report {
	var r Report
	a.makeLinks(actual, plan, &r)
	a.makeAddresses(actual, plan, &r)
	a.set(plan, &r)
	stale := a.makeNeighbours(actual, plan, &r)
	a.nft.apply(ctx, plan.Firewall, &r)
	a.makeRoutes(actual, plan, &r)
	a.removeNeighbours(stale, &r)
	a.removeAddresses(actual, plan, &r)
	a.removeLinks(actual, plan, &r)
	return r
}
