package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

const (
	// countersEvery is how often counters that nobody waits for are written.
	countersEvery = 5 * time.Second
	statusRetry   = time.Second
	conflictRetry = 20 * time.Millisecond
)

// reporter keeps the NodeNetwork's status. Parts come from several goroutines; one writes.
type reporter struct {
	client client.Client
	node   string
	log    logr.Logger
	wake   chan struct{}

	mu       sync.Mutex
	want     v1alpha1.NodeNetworkStatus
	rendered map[string]rendered // by pool
}

// rendered is what the kernel shows of a pool.
type rendered struct {
	generation int64
	sending    v1alpha1.Encapsulation
}

func (r *reporter) setRendered(pools map[string]rendered) {
	r.mu.Lock()
	r.rendered = pools
	r.mu.Unlock()
	r.poke()
}

func newReporter(c client.Client, node string, log logr.Logger) *reporter {
	return &reporter{client: c, node: node, log: log, wake: make(chan struct{}, 1)}
}

// update changes the wanted status. Conditions are set with setCondition.
func (r *reporter) update(change func(*v1alpha1.NodeNetworkStatus)) {
	r.mu.Lock()
	change(&r.want)
	r.mu.Unlock()
	r.poke()
}

func (r *reporter) poke() { wake(r.wake) }

func setCondition(s *v1alpha1.NodeNetworkStatus, kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message})
}

// run writes the status when it differs from what the API has, until the context ends. get returns the NodeNetwork of the cache.
func (r *reporter) run(ctx context.Context, get func() (*v1alpha1.NodeNetwork, bool)) {
	var lastCounters time.Time
	var later <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-later:
		}
		later = nil
		known, ok := get()
		if !ok {
			continue // the controller will make it, and the cache will say so
		}
		next := r.next(known)
		if equalStatus(known.Status, next) {
			continue
		}
		if urgent := !equalStatus(withoutCounters(known.Status), withoutCounters(next)); !urgent {
			if wait := countersEvery - time.Since(lastCounters); wait > 0 {
				later = time.After(wait)
				continue
			}
		}
		lastCounters = time.Now()
		if err := r.write(ctx, known, next); err != nil && ctx.Err() == nil {
			r.log.V(1).Info("Can't write the NodeNetwork's status; will try again", "reason", err.Error())
			later = time.After(statusRetry)
			if apierrors.IsConflict(err) {
				later = time.After(conflictRetry) // the cache lags behind our own last write
			}
		}
	}
}

// equalStatus takes empty and missing lists for the same, as JSON does.
func equalStatus(a, b v1alpha1.NodeNetworkStatus) bool { return equality.Semantic.DeepEqual(a, b) }

func (r *reporter) next(known *v1alpha1.NodeNetwork) v1alpha1.NodeNetworkStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := *r.want.DeepCopy()
	next.ObservedGeneration = known.Generation
	for i := range next.Pools {
		shown := r.rendered[next.Pools[i].Pool]
		next.Pools[i].ObservedGeneration, next.Pools[i].Encapsulation = shown.generation, shown.sending
	}
	conditions := slices.Clone(known.Status.Conditions)
	for _, c := range next.Conditions {
		c.ObservedGeneration = known.Generation
		c.LastTransitionTime = metav1.Time{}
		meta.SetStatusCondition(&conditions, c)
	}
	next.Conditions = conditions
	return next
}

func withoutCounters(s v1alpha1.NodeNetworkStatus) v1alpha1.NodeNetworkStatus {
	s = *s.DeepCopy()
	s.Routes = nil
	for i := range s.Pools {
		s.Pools[i].Free = 0
	}
	if s.BGP != nil {
		for i := range s.BGP.Sessions {
			s.BGP.Sessions[i].PrefixesReceived, s.BGP.Sessions[i].PrefixesAdvertised = 0, 0
		}
	}
	return s
}

func (r *reporter) write(ctx context.Context, known *v1alpha1.NodeNetwork, next v1alpha1.NodeNetworkStatus) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	changed := known.DeepCopy()
	changed.Status = next
	// The conditions are replaced as a list: a patch on an old one must not drop what the controller wrote.
	patch := client.MergeFromWithOptions(known, client.MergeFromWithOptimisticLock{})
	if err := r.client.Status().Patch(ctx, changed, patch); err != nil {
		return fmt.Errorf("patch the status of NodeNetwork %s: %w", r.node, err)
	}
	return nil
}
