// Package cniserver answers the CNI plugin on a unix socket. It turns a CNI verb into a reservation in the address book and
// a link in the kernel, undoes both when one fails, and has the record written or removed without waiting for it. Which
// pools may serve a pod, how a link is made and how a record is written are told to it by the interfaces below.
package cniserver

import (
	"context"
	"errors"
	"net/netip"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/wish"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
)

// Records keeps the WorkloadEndpoints. Nothing but Await waits for the API server.
type Records interface {
	// Write has the record of a new endpoint written.
	Write(e addressbook.Endpoint)
	// Rewrite has the record of an endpoint written that the API may have had before.
	Rewrite(e addressbook.Endpoint)
	// Remove has the record of an endpoint removed. Server.RecordGone is called when there is none, perhaps at once.
	Remove(e addressbook.Endpoint)
	// Pending reports whether an endpoint's record is still to be written or removed.
	Pending(hostInterface string) bool
	// Await waits until nothing is pending for an endpoint, or returns why the API server refuses it.
	Await(ctx context.Context, hostInterface string) error
}

// Wiring changes the kernel.
type Wiring interface {
	Wire(s veth.Spec) error
	Check(s veth.Spec) error
	// MarkDeleted notes on a link that its DEL has been answered. It reports whether the link is there.
	MarkDeleted(hostInterface string) (bool, error)
	// Reap deletes links and returns those that are not there any more.
	Reap(hostInterfaces []string) (gone []string, err error)
}

// Pools says which pools may serve a pod.
type Pools interface {
	// Candidates returns one list of pool names for each address family, best first. wishes are what the pod and the network
	// configuration ask for. Errors are addressbook.ErrUnknownNamespace, and those of wish.Choose.
	Candidates(namespace string, wishes []wish.Wish) ([][]string, error)
	// Fixed returns the pools of the addresses that a pod asks for, as a wish. The error is a *wish.Error.
	Fixed(addresses []netip.Addr) (wish.Wish, error)
	// Remembered returns the addresses that a pod had and gets again, those of the candidates.
	Remembered(namespace, pod string, candidates [][]string) []netip.Addr
	// MTU returns the MTU of a pod with addresses of these pools, in bytes.
	MTU(pools []string) int
	// Fullness says in words how full a pool is.
	Fullness(pool string) string
}

// ErrStarting is in Health's error while the agent may be able to serve pods soon, so that an ADD waits for it.
var ErrStarting = errors.New("the agent has just started")

// Health says why the agent can't serve pods now, or nil.
type Health interface {
	Unavailable() error
}
