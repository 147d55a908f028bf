// Package kernel is the language between the datapath's loop and a node's kernel: what is observed, what was done, and
// what was refused. Package linux speaks it for the real kernel. It holds values only, and does no I/O.
package kernel

import (
	"errors"
	"net/netip"

	"github.com/causeway-net/causeway/internal/infrastructure"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// ErrBusy says that the kernel changed so fast that it could not be read. Nothing is wrong; try again soon.
var ErrBusy = errors.New("the kernel's links and routes change faster than they can be read")

// Query says what Observe shall look at.
type Query struct {
	// NodeAddresses are the Node's InternalIPs: the interface that has one of them is the underlay.
	NodeAddresses []netip.Addr
	// Fabric asks for the routes of others, by which next hops of learned routes are resolved.
	Fabric bool
	// Everything asks for a look at all that else is known from events: routes, settings, the nftables table.
	Everything bool
}

// Observed is what a plan needs to know of a kernel.
type Observed struct {
	// V4 and V6 are the zero value where the node has no address of that family.
	V4, V6 plan.Underlay
	// RPFilterAll is net.ipv4.conf.all.rp_filter.
	RPFilterAll int
	// NoWayToGateway says that no route of somebody else leads to the pods' IPv4 gateway.
	NoWayToGateway bool
	// Fabric is empty unless it was asked for.
	Fabric []plan.FabricRoute
	// RPFilter is net.ipv4.conf.*.rp_filter of others' links and of new ones, where RPFilterAll is 2.
	RPFilter map[string]int
	// Tunnels are the names of the tunnel links of ours that exist.
	Tunnels []string
	// Links are the names of all links.
	Links map[string]bool
	// LikePods are the names of others' links that begin like those of pods' links, sorted.
	LikePods []string
	// Foreign are the networks of links that are not ours.
	Foreign []infrastructure.Network
	// Disturbed says that somebody else may have changed what is ours, so that all has to be compared with the plan.
	Disturbed bool
}

// Failure is one object that could not be made as planned.
type Failure struct {
	// Object says what was attempted, for example "add route 10.0.1.0/26 via 192.168.0.2".
	Object string
	// Dst is the destination of a route, and Device the link of anything else that belongs to one.
	Dst    netip.Prefix
	Device string
	Err    error
}

// Error joins both.
func (f Failure) Error() string { return f.Object + ": " + f.Err.Error() }

// Unwrap returns the cause.
func (f Failure) Unwrap() error { return f.Err }

// Report is what a change of the kernel did.
type Report struct {
	// Changes counts the objects that were added, changed or removed.
	Changes  int
	Failures []Failure
}

// Events tell what somebody else has done. Several may become one value. All are closed when the watch ends.
type Events struct {
	// Changed: something of ours, or of the underlay, was changed.
	Changed <-chan struct{}
	// Pods: a pod's link came, with its address and routes. Whoever wires pods knows of it.
	Pods <-chan struct{}
}
