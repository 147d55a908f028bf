package records

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
)

// Recall fills the address book from what earlier runs left: records in the API, links on the node, and blocks. It asks
// the API server itself, not a cache, which may lag. It tries until it succeeds or the context ends.
func (k *Keeper) Recall(ctx context.Context) error {
	failed := false
	for {
		err := k.tryRecall(ctx)
		if err == nil {
			return nil
		}
		if !failed {
			k.o.Log.Error(err, "Can't read this node's records yet; will try again")
			failed = true
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(recallPause):
		}
	}
}

func (k *Keeper) tryRecall(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recallWithin)
	defer cancel()
	past, err := k.o.Past(ctx)
	if err != nil {
		return err
	}
	if past.Records, err = k.o.API.List(ctx); err != nil {
		return err
	}
	return k.TakeOver(past)
}

// TakeOver fills the address book from what an earlier run left in the API and on the node. What the book has already stays.
func (k *Keeper) TakeOver(past Past) error {
	links, err := k.o.Links.List()
	if err != nil {
		return err
	}
	k.o.Book.SetReleased(past.Released)
	k.o.Book.SetHeld(past.Held)
	k.adopt(past.Records, links)
	k.o.Log.Info("Took over what an earlier run left", "records", len(past.Records), "links", len(links))
	return nil
}

// adopt enters pods into the book. What link and record say together decides:
//   - a link whose DEL was answered, or that is half-made and has no record: the pod goes;
//   - a link without a record: the record is written again from the link;
//   - a record without a link, whose network namespace is gone: the pod went after its DEL, or with the node's last run;
//   - a record without a link, whose namespace is there: the addresses stay taken, but no link is made on its word alone.
func (k *Keeper) adopt(known []v1alpha1.WorkloadEndpoint, links []veth.Found) {
	linked := make(map[string]*veth.Found, len(links))
	for i := range links {
		linked[links[i].HostInterface] = &links[i]
	}
	for i := range known {
		record := &known[i]
		link := linked[record.Spec.Interface]
		e, err := k.believe(record, link)
		if err != nil {
			k.o.Report(record, err)
			continue
		}
		if link != nil && link.Complete && !confirms(link, &e) {
			continue // the link tells what is true, and the record is written again from it
		}
		k.adoptRecord(e, link)
	}
	for _, l := range links {
		if _, recorded := k.o.Book.Get(l.HostInterface); !recorded {
			k.adoptLink(l)
		}
	}
}

// confirms reports whether a link says the same of its pod as a record. The pod's network namespace is believed to the link.
func confirms(link *veth.Found, e *addressbook.Endpoint) bool {
	a := link.Alias
	if a.NetworkNamespace != "" && a.Fits() {
		e.NetworkNamespace = a.NetworkNamespace
	}
	samePod := a.Namespace == e.Namespace && a.Pod == e.Pod && a.ContainerID == e.ContainerID && a.ContainerInterface == e.ContainerInterface
	return samePod && len(link.Addresses) == len(e.Addresses) &&
		!slices.ContainsFunc(e.Addresses, func(want netip.Addr) bool { return !slices.Contains(link.Addresses, want) })
}

func (k *Keeper) adoptRecord(e addressbook.Endpoint, link *veth.Found) {
	gone := link == nil && e.NetworkNamespace != "" && veth.NamespaceGone(e.NetworkNamespace)
	if gone || link != nil && link.Deleted {
		e.State = addressbook.Releasing
		k.o.Book.Adopt(e)
		k.o.Pods.Reap(e, true)
		return
	}
	k.o.Book.Adopt(e)
	if link == nil {
		k.mu.Lock()
		k.unconfirmed[e.Interface] = true
		k.mu.Unlock()
	}
}

func (k *Keeper) adoptLink(l veth.Found) {
	e := addressbook.Endpoint{
		Interface: l.HostInterface, Namespace: l.Alias.Namespace, Pod: l.Alias.Pod, PodUID: l.Alias.PodUID, ContainerID: l.Alias.ContainerID,
		ContainerInterface: l.Alias.ContainerInterface, Network: l.Alias.Network, NetworkNamespace: l.Alias.NetworkNamespace,
		MAC: names.PodMAC(l.Alias.ContainerID, l.Alias.ContainerInterface).String(), Addresses: l.Addresses, State: addressbook.Ready,
	}
	e.Pools = k.o.PoolsOf(e)
	if l.Deleted || !l.Complete {
		e.State = addressbook.Releasing
		k.o.Book.Adopt(e)
		k.o.Pods.Reap(e, false)
		return
	}
	k.o.Book.Adopt(e)
	_ = k.o.Pods.Rewrite(context.Background(), e.Interface) // nobody else holds the endpoint yet
}
