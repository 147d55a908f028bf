// Package cniserver answers the CNI plugin on a unix socket. It turns a CNI verb into a reservation in the address book,
// a link in the kernel and a record in the API, and undoes all of it when one fails. Which pools may serve a pod, how a
// link is made and how a record is written are told to it by the interfaces below.
package cniserver

import (
	"context"
	"errors"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
)

// Records keeps the WorkloadEndpoints. Each call is one write to the API.
type Records interface {
	// Create writes a record; where one of that name exists with another content it is replaced.
	Create(ctx context.Context, record *v1alpha1.WorkloadEndpoint) error
	// Delete removes a record; one that does not exist is no error.
	Delete(ctx context.Context, namespace, name string) error
}

// ErrAPIUnavailable is wrapped by errors of Records after which it is not known whether the write took place.
var ErrAPIUnavailable = errors.New("the Kubernetes API server can't be reached")

// Wiring changes the kernel.
type Wiring interface {
	Wire(s veth.Spec) error
	Check(s veth.Spec) error
	MarkForReaping(hostInterface string) (bool, error)
	Exists(hostInterface string) (bool, error)
	Reap() error
}

// Pools says which pools may serve a pod.
type Pools interface {
	// Candidates returns one list of pool names for each address family, best first. asked are the pools that the pod
	// or the network configuration names.
	Candidates(namespace string, asked []string) ([][]string, error)
	// MTU returns the MTU of a pod with addresses of these pools, in bytes.
	MTU(pools []string) int
	// Fullness says in words how full a pool is.
	Fullness(pool string) string
}

// Health says why the agent can't serve pods now, or nil.
type Health interface {
	Unavailable() error
}
