package records

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
	"github.com/causeway-net/causeway/node-agent/loops"
)

// Recall fills the address book from what earlier runs left: records in the API, links on the node, and blocks. It asks
// the API server itself, not a cache, which may lag. It tries until it succeeds or the context ends. After Remember it
// adds what only the API knows.
func (k *Keeper) Recall(ctx context.Context) error {
	failed := false
	for {
		err := k.tryRecall(ctx)
		if err == nil {
			return nil
		}
		if !failed && ctx.Err() == nil {
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
	k.filling.Lock()
	defer k.filling.Unlock()
	if k.begun {
		k.supplement(past)
	} else if err := k.takeOver(past); err != nil {
		return err
	}
	k.mu.Lock()
	k.recalled = true
	k.mu.Unlock()
	loops.Ring(k.links)
	return nil
}

// takeOver fills an empty address book from what an earlier run left in the API and on the node.
func (k *Keeper) takeOver(past Past) error {
	links, err := k.o.Links.List()
	if err != nil {
		return err
	}
	k.begin(past)
	linked := byInterface(links)
	for i := range past.Records {
		record := &past.Records[i]
		link := linked[record.Spec.Interface]
		e, err := k.believe(record, link)
		if err != nil {
			k.o.Report(record, err)
			continue
		}
		k.adopt(e, link)
	}
	for _, l := range links {
		if _, recorded := k.o.Book.Get(l.HostInterface); !recorded {
			k.adoptLink(l, false)
		}
	}
	k.o.Log.Info("Took over what an earlier run left", "records", len(past.Records), "links", len(links))
	return nil
}

// Remember fills an empty address book while the API server is away: from the endpoints of a checkpoint, which may be
// older than the links, and from the links. Recall adds later what only the API knows.
func (k *Keeper) Remember(endpoints []addressbook.Endpoint, past Past) error {
	k.filling.Lock()
	defer k.filling.Unlock()
	if k.begun {
		return nil // Recall was faster
	}
	links, err := k.o.Links.List()
	if err != nil {
		return err
	}
	k.begin(past)
	linked := byInterface(links)
	for _, e := range endpoints {
		link := linked[e.Interface]
		switch {
		case e.State == addressbook.Reserved && link == nil:
			// its ADD had not come far
		case e.State == addressbook.Releasing && (link == nil || !link.Complete):
			k.depart(e)
		default:
			e.State = addressbook.Ready // a link that is whole is not marked, so its ADD has come again
			k.adopt(e, link)
		}
	}
	for _, l := range links {
		if _, known := k.o.Book.Get(l.HostInterface); !known {
			k.adoptLink(l, true)
		}
	}
	k.o.Log.Info("Took over what an earlier run left, without the API server", "endpoints", len(endpoints), "links", len(links))
	return nil
}

func (k *Keeper) begin(past Past) {
	k.begun = true
	k.o.Book.SetReleased(past.Released)
	k.o.Book.SetGiven(past.Given)
	k.o.Book.SetHeld(past.Held)
}

// supplement adds to a book that is in use what only the API knows: records whose links are gone, and what a link alone
// does not say of a pod.
func (k *Keeper) supplement(past Past) {
	k.begin(past)
	added := 0
	for i := range past.Records {
		record := &past.Records[i]
		e, err := k.believe(record, nil)
		known, has := k.o.Book.Get(record.Spec.Interface)
		switch {
		case has && err == nil && known.Namespace == e.Namespace && known.Pod == e.Pod:
			k.o.Book.Adopt(e) // gives what was missing
		case has:
			// the book and the link tell what is true
		case err != nil:
			k.o.Report(record, err)
		default:
			k.adopt(e, nil)
			added++
		}
	}
	for _, e := range k.o.Book.Endpoints() {
		if len(e.Pools) != len(e.Addresses) || slices.Contains(e.Pools, "") {
			e.Pools = k.o.PoolsOf(e)
			k.o.Book.Adopt(e)
		}
	}
	k.o.Log.Info("The API server is back: took over what only it knows", "records", len(past.Records), "added", added)
}

func byInterface(links []veth.Found) map[string]*veth.Found {
	linked := make(map[string]*veth.Found, len(links))
	for i := range links {
		linked[links[i].HostInterface] = &links[i]
	}
	return linked
}

// adopt enters an endpoint that a record or a checkpoint tells of. What it and the link say together decides:
//   - a link whose DEL was answered: the pod goes;
//   - a link that says something else: the link is right, and the record is written again from it;
//   - no link, and the network namespace is gone: the pod went after its DEL, or with the node's last run;
//   - no link, and the namespace is there: the addresses stay taken, but no link is made on a record's word alone.
func (k *Keeper) adopt(e addressbook.Endpoint, link *veth.Found) {
	switch {
	case link != nil && link.Complete && !confirms(link, &e):
		return
	case link != nil && link.Deleted, link == nil && e.NetworkNamespace != "" && veth.NamespaceGone(e.NetworkNamespace):
		k.depart(e)
		return
	case link == nil:
		k.mu.Lock()
		k.unconfirmed[e.Interface] = true
		k.mu.Unlock()
	}
	k.o.Book.Adopt(e)
}

// depart enters an endpoint whose pod is gone, so that its addresses are held until record and link are gone too.
func (k *Keeper) depart(e addressbook.Endpoint) {
	e.State = addressbook.Releasing
	k.o.Book.Adopt(e)
	if now, known := k.o.Book.Get(e.Interface); known && now.State == addressbook.Releasing {
		k.o.Pods.Reap(e, true)
	}
}

// confirms reports whether a link says the same of its pod as a record. The pod's network namespace is believed to the link.
func confirms(link *veth.Found, e *addressbook.Endpoint) bool {
	a := link.Alias
	if a.NetworkNamespace != "" && a.Fits() {
		e.NetworkNamespace = a.NetworkNamespace
	}
	samePod := a.Namespace == e.Namespace && a.Pod == e.Pod && a.ContainerID == e.ContainerID && a.ContainerInterface == e.ContainerInterface
	sameMAC := e.MAC == "" || e.MAC == macOf(a)
	return samePod && sameMAC && len(link.Addresses) == len(e.Addresses) &&
		!slices.ContainsFunc(e.Addresses, func(want netip.Addr) bool { return !slices.Contains(link.Addresses, want) })
}

// macOf returns the hardware address of the pod's interface that a link tells of.
func macOf(a veth.Alias) string {
	return cmp.Or(a.MAC, names.PodMAC(a.ContainerID, a.ContainerInterface).String())
}

// adoptLink enters a pod that only its link tells of. maybeRecorded says that the API may have a record all the same. Half
// a link is of an ADD that was never answered, and a marked one of a DEL that was: such pods go.
func (k *Keeper) adoptLink(l veth.Found, maybeRecorded bool) {
	e := addressbook.Endpoint{
		Interface: l.HostInterface, Namespace: l.Alias.Namespace, Pod: l.Alias.Pod, PodUID: l.Alias.PodUID, ContainerID: l.Alias.ContainerID,
		ContainerInterface: l.Alias.ContainerInterface, Network: l.Alias.Network, NetworkNamespace: l.Alias.NetworkNamespace,
		MAC: macOf(l.Alias), Addresses: l.Addresses, State: addressbook.Ready,
	}
	e.Pools = k.o.PoolsOf(e)
	if l.Deleted || !l.Complete {
		e.State = addressbook.Releasing
		k.o.Book.Adopt(e)
		k.o.Pods.Reap(e, maybeRecorded)
		return
	}
	k.o.Book.Adopt(e)
	if !slices.Contains(e.Pools, "") { // else the record waits until the pools are known
		_ = k.o.Pods.Rewrite(context.Background(), e.Interface) // nobody else holds the endpoint yet
	}
}
