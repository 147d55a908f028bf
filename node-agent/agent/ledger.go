package agent

import (
	"context"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

// keepLedger brings pools and blocks from the API into the book, and the book's demand into the status. It is apart from
// the kernel's loop, so that a pod that waits for a block does not wait for routes.
func (a *Agent) keepLedger(ctx context.Context) {
	var later <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.ledger:
		case <-later:
		}
		if again := a.settleLedger(ctx); again > 0 {
			later = time.After(again)
		} else {
			later = nil
		}
	}
}

// settleLedger is one turn of keepLedger. It returns how long until a block may become surplus, 0 for never.
func (a *Agent) settleLedger(ctx context.Context) time.Duration {
	pools, err := a.listPools(ctx)
	if err != nil {
		a.log.Error(err, "Can't list IPPools in the cache")
		return startRetry
	}
	blocks, err := a.listBlocks(ctx)
	if err != nil {
		a.log.Error(err, "Can't list IPBlocks in the cache")
		return startRetry
	}
	facts := factsOf(pools, a.ownNode(ctx))
	a.facts.set(facts)
	known := make([]addressbook.Pool, 0, len(facts))
	for _, f := range facts {
		known = append(known, f.pool)
	}
	a.book.SetPools(known)
	var own []addressbook.Block
	for _, b := range blocks {
		if b.Spec.Node != a.options.Node {
			continue
		}
		if cidr, err := netip.ParsePrefix(b.Spec.CIDR); err == nil {
			own = append(own, addressbook.Block{CIDR: cidr, Pool: b.Spec.Pool, Terminating: b.DeletionTimestamp != nil})
		}
	}
	a.book.SetBlocks(own)
	a.bgp.PodsChanged()
	shares, again := a.book.Shares()
	a.metrics.shares(shares)
	a.claim.SetShares(shares)
	a.network.SetPools(poolStatuses(shares))
	return again
}

// poolStatuses puts the node's shares into the shape of the status.
func poolStatuses(shares []addressbook.Share) []v1alpha1.NodePoolStatus {
	out := make([]v1alpha1.NodePoolStatus, 0, len(shares))
	for _, share := range shares {
		p := v1alpha1.NodePoolStatus{Pool: share.Pool, Free: int32(share.Free), Wanted: int32(share.Wanted), Waiting: int32(share.Waiting)}
		for _, cidr := range share.Released {
			p.Released = append(p.Released, cidr.String())
		}
		out = append(out, p)
	}
	return out
}

func (a *Agent) listPools(ctx context.Context) ([]v1alpha1.IPPool, error) {
	var list v1alpha1.IPPoolList
	err := a.api.cache.List(ctx, &list, client.UnsafeDisableDeepCopy)
	return list.Items, err
}

func (a *Agent) listBlocks(ctx context.Context) ([]v1alpha1.IPBlock, error) {
	var list v1alpha1.IPBlockList
	err := a.api.cache.List(ctx, &list, client.UnsafeDisableDeepCopy)
	return list.Items, err
}

// ownNode returns the Node of the cache, or nil where there is none.
func (a *Agent) ownNode(ctx context.Context) *corev1.Node {
	var node corev1.Node
	if err := a.api.cache.Get(ctx, client.ObjectKey{Name: a.options.Node}, &node); err != nil {
		return nil
	}
	return &node
}

func (a *Agent) ownNetwork(ctx context.Context) (*v1alpha1.NodeNetwork, bool) {
	var own v1alpha1.NodeNetwork
	if err := a.api.cache.Get(ctx, client.ObjectKey{Name: a.options.Node}, &own); err != nil {
		return nil, false
	}
	return &own, true
}

// namespaceFacts returns the labels and the pool annotation of a namespace.
func (a *Agent) namespaceFacts(name string) (map[string]string, string, bool) {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := a.api.cache.Get(context.Background(), client.ObjectKey{Name: name}, namespace); err != nil {
		return nil, "", false
	}
	return namespace.Labels, namespace.Annotations[v1alpha1.AnnotationPools], true
}
