package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

// keepLedger brings pools and blocks from the API into the book, and the book's demand into the claim. It is apart from
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
		if again := a.settleLedger(); again > 0 {
			later = time.After(again)
		} else {
			later = nil
		}
	}
}

// settleLedger is one turn of keepLedger. It returns how long until a block may become surplus, 0 for never.
func (a *Agent) settleLedger() time.Duration {
	facts := a.settlePools()
	known := make([]addressbook.Pool, 0, len(facts))
	for _, f := range facts {
		known = append(known, f.pool)
	}
	a.book.SetPools(known)
	var own []addressbook.Block
	for _, b := range a.view.OwnBlocks() {
		own = append(own, addressbook.Block{CIDR: b.CIDR, Pool: b.Pool, Terminating: b.Terminating})
	}
	a.book.SetBlocks(own)
	a.bgp.PodsChanged()
	shares, again := a.book.Shares()
	a.metrics.shares(shares)
	a.claim.SetShares(shares)
	return again
}

// settlePools brings the pools from the view into the facts.
func (a *Agent) settlePools() []poolFact {
	var pools []v1alpha1.IPPool
	for _, p := range a.view.Pools() {
		pools = append(pools, *p.Object)
	}
	var own *corev1.Node
	if node, ok := a.view.Node(); ok {
		own = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name, Labels: node.Labels}}
	}
	facts := factsOf(pools, own)
	a.facts.set(facts)
	return facts
}

// namespaceFacts returns the labels and the pool annotation of a namespace.
func (a *Agent) namespaceFacts(name string) (map[string]string, string, bool) {
	n, known := a.view.Namespace(name)
	return n.Labels, n.Pools, known
}

// wake leaves a value in a channel of one, for whoever waits there; several may become one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
