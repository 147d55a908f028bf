package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

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
	// lost are removed routes of pods, down are links that went down, since the look before.
	lost []event
	down []int32
	nft  firewall
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
	return &Applier{nl: h, conn: c, watch: w, settings: map[string]string{}, nft: firewall{within: nftWithin}}, nil
}

// Close ends the use of the kernel. What was made stays.
func (a *Applier) Close() error {
	a.nl.Close()
	a.watch.close()
	return a.conn.Close()
}

// report is a kernel.Report that is being written.
type report struct{ kernel.Report }

// part writes about one object's link, or about none.
type part struct {
	*report
	device string
	dst    netip.Prefix
}

func (r *report) link(device string) part                    { return part{report: r, device: device} }
func (r *report) route(dst netip.Prefix, device string) part { return part{r, device, dst} }

func (p part) fail(err error, format string, args ...any) {
	p.Failures = append(p.Failures, kernel.Failure{Object: fmt.Sprintf(format, args...), Dst: p.dst, Device: p.device, Err: err})
}

func (p part) count(err error, format string, args ...any) {
	if err != nil {
		p.fail(err, format, args...)
		return
	}
	p.Changes++
}

func (r *report) fail(err error, format string, args ...any) { r.link("").fail(err, format, args...) }

// Apply implements datapath.Kernel. What needs something else is made after it, and removed before it.
func (a *Applier) Apply(ctx context.Context, target plan.Plan) kernel.Report {
	var r report
	a.makeLinks(target, &r)
	a.makeAddresses(target, &r)
	a.set(target.Sysctls, &r)
	stale := a.makeNeighbours(target, &r)
	a.nft.apply(ctx, target.Firewall, &r)
	a.makeRoutes(target, &r)
	stale.remove(a, &r)
	a.removeAddresses(target, &r)
	a.removeLinks(target, &r)
	a.watch.expect(r.Failures)
	return r.Report
}

// ApplyChanges implements datapath.Kernel.
func (a *Applier) ApplyChanges(ctx context.Context, c plan.Changes) (kernel.Report, bool) {
	var r report
	if !a.table.valid || a.last == nil {
		return r.Report, false
	}
	a.set(c.Sysctls, &r)
	var fresh, stale entries
	for _, n := range c.Neighbours {
		fresh.neighbour(a, unix.RTM_NEWNEIGH, n)
	}
	for _, f := range c.FDB {
		fresh.fdb(a, unix.RTM_NEWNEIGH, f)
	}
	fresh.add(a, &r)
	if c.Firewall != nil {
		a.nft.apply(ctx, *c.Firewall, &r)
	}
	a.changeRoutes(c.Routes, &r)
	for _, n := range c.NeighboursGone {
		stale.neighbour(a, unix.RTM_DELNEIGH, n)
	}
	for _, f := range c.FDBGone {
		stale.fdb(a, unix.RTM_DELNEIGH, f)
	}
	stale.remove(a, &r)
	return r.Report, true
}
