package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cniserver"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
	"github.com/causeway-net/causeway/node-agent/report"
)

const startRetry = 500 * time.Millisecond

// recall fills the address book from what earlier runs left: records in the API, links on the host, and blocks given
// back. It asks the API server itself, not a cache, which may lag. It tries until it succeeds or the context ends.
func (a *Agent) recall(ctx context.Context) error {
	failed := false
	for {
		err := a.tryRecall(ctx)
		if err == nil {
			return nil
		}
		if !failed {
			a.log.Error(err, "Can't read this node's records yet; will try again")
			failed = true
		}
		if !sleep(ctx, startRetry) {
			return errors.Join(err, ctx.Err())
		}
	}
}

func (a *Agent) tryRecall(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var known v1alpha1.WorkloadEndpointList
	if err := a.api.Client.List(ctx, &known, client.MatchingFields{"spec.node": a.options.Node}); err != nil {
		return fmt.Errorf("list this node's WorkloadEndpoints: %w", err)
	}
	var claim v1alpha1.BlockClaim
	if err := a.api.Client.Get(ctx, client.ObjectKey{Name: a.options.Node}, &claim); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get BlockClaim %s: %w", a.options.Node, err)
	}
	links, err := a.wirer.List()
	if err != nil {
		return err
	}
	a.book.SetReleased(report.Released(&claim))
	for i := range known.Items {
		a.book.Adopt(cniserver.Endpoint(&known.Items[i]))
	}
	a.adoptLinks(links)
	a.log.Info("Took over what an earlier run left", "records", len(known.Items), "links", len(links))
	return nil
}

// adoptLinks enters pods whose record is missing, and clears away what interrupted calls left.
func (a *Agent) adoptLinks(links []veth.Found) {
	for _, l := range links {
		e, recorded := a.book.Get(l.HostInterface)
		switch {
		case recorded:
			// Marked or not: with a record the pod's DEL is not over, and the runtime repeats it.
		case l.Marked || !l.Complete:
			e = found(l)
			e.State = addressbook.Releasing
			a.book.Adopt(e)
			a.server.Reap(e, false)
		default:
			e = found(l)
			for i, address := range e.Addresses {
				e.Pools[i] = a.facts.poolOf(address)
			}
			a.book.Adopt(e)
			a.unrecorded = append(a.unrecorded, l.HostInterface)
		}
	}
}

func found(l veth.Found) addressbook.Endpoint {
	return addressbook.Endpoint{
		Interface: l.HostInterface, Namespace: l.Alias.Namespace, Pod: l.Alias.Pod, ContainerID: l.Alias.ContainerID,
		ContainerInterface: l.Alias.ContainerInterface, Network: l.Alias.Network, Addresses: l.Addresses,
		Pools: make([]string, len(l.Addresses)), State: addressbook.Ready,
	}
}
