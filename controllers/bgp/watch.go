package bgp

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

const (
	// soon lets changes of objects gather, countsSoon those of sessions: while 5,000 nodes boot, a BGPPeer of all of them
	// costs one look and one write a second.
	soon       = 200 * time.Millisecond
	countsSoon = time.Second
	// The pauses between failed attempts.
	firstPause, longestPause = 10 * time.Millisecond, 3 * time.Second
)

type queue = workqueue.TypedRateLimitingInterface[object]

// SetupWithManager says what wakes the reconciler, and which objects each change concerns.
func (r *Reconciler) SetupWithManager(_ context.Context, mgr manager.Manager) error {
	spec := func(before, after client.Object) bool { return before.GetGeneration() != after.GetGeneration() }
	always := func(_, _ client.Object) bool { return true }
	return builder.TypedControllerManagedBy[object](mgr).Named("bgp").
		WithOptions(controller.TypedOptions[object]{
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[object](firstPause, longestPause),
		}).
		Watches(&v1alpha1.BGPPeer{}, r.on(spec, r.peersBeside)).
		Watches(&v1alpha1.BGPConfiguration{}, r.on(spec, itself(kindConfiguration))).
		Watches(&v1alpha1.BGPFilter{}, r.on(spec, r.filterAndItsPeers)).
		Watches(&corev1.Secret{}, r.on(always, r.usersOfSecret)).
		Watches(&v1alpha1.NodeNetwork{}, r.on(func(before, after client.Object) bool { return !maps.Equal(before.GetLabels(), after.GetLabels()) }, r.allPeers)).
		Watches(&v1alpha1.BGPNodeState{}, onReports()).
		Complete(r)
}

// on queues what a change concerns.
func (r *Reconciler) on(matters func(before, after client.Object) bool, concerned func(context.Context, client.Object) []object) handler.TypedEventHandler[client.Object, object] {
	add := func(ctx context.Context, o client.Object, q queue) {
		for _, one := range concerned(ctx, o) {
			q.AddAfter(one, soon)
		}
	}
	return handler.TypedFuncs[client.Object, object]{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { add(ctx, e.Object, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { add(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if matters(e.ObjectOld, e.ObjectNew) {
				add(ctx, e.ObjectNew, q)
			}
		},
	}
}

func itself(k kind) func(context.Context, client.Object) []object {
	return func(_ context.Context, o client.Object) []object { return []object{{k, o.GetName()}} }
}

// peers returns the BGPPeers that concern somebody. Where the list fails the cache is being stopped.
func (r *Reconciler) peers(ctx context.Context, concerned func(*v1alpha1.BGPPeer) bool) (out []object) {
	var list v1alpha1.BGPPeerList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	for i := range list.Items {
		if concerned(&list.Items[i]) {
			out = append(out, object{kindPeer, list.Items[i].Name})
		}
	}
	return out
}

func (r *Reconciler) allPeers(ctx context.Context, _ client.Object) []object {
	return r.peers(ctx, func(*v1alpha1.BGPPeer) bool { return true })
}

// peersBeside are a BGPPeer and those that may have the same session.
func (r *Reconciler) peersBeside(ctx context.Context, o client.Object) []object {
	return append(r.allPeers(ctx, o), object{kindPeer, o.GetName()})
}

func (r *Reconciler) filterAndItsPeers(ctx context.Context, o client.Object) []object {
	users := r.peers(ctx, func(p *v1alpha1.BGPPeer) bool { return slices.Contains(p.Spec.Filters, o.GetName()) })
	return append(users, object{kindFilter, o.GetName()})
}

func (r *Reconciler) usersOfSecret(ctx context.Context, o client.Object) []object {
	uses := func(p *v1alpha1.BGPPassword) bool { return p != nil && p.SecretKeyRef.Name == o.GetName() }
	out := r.peers(ctx, func(p *v1alpha1.BGPPeer) bool { return uses(p.Spec.Password) })
	var configurations v1alpha1.BGPConfigurationList
	if err := r.Client.List(ctx, &configurations, client.UnsafeDisableDeepCopy); err != nil {
		return out
	}
	for i := range configurations.Items {
		if uses(configurations.Items[i].Spec.NodeToNodeMesh.Password) {
			out = append(out, object{kindConfiguration, configurations.Items[i].Name})
		}
	}
	return out
}

// onReports queues the BGPPeers whose sessions have changed on a node.
func onReports() handler.TypedEventHandler[client.Object, object] {
	add := func(q queue, before, after client.Object) {
		for _, peer := range changedPeers(before, after) {
			q.AddAfter(object{kindPeer, peer}, countsSoon)
		}
	}
	return handler.TypedFuncs[client.Object, object]{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(q, nil, e.Object) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(q, e.Object, nil) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { add(q, e.ObjectOld, e.ObjectNew) },
	}
}

// words are what a BGPPeer's status takes from one node: its counts, and the first errors.
type words struct {
	expected, established int32
	errors                string
}

// changedPeers returns the names of the BGPPeers of which two reports of a node say something else.
func changedPeers(before, after client.Object) (names []string) {
	old, next := wordsOf(before), wordsOf(after)
	for source := range next {
		if _, known := old[source]; !known {
			old[source] = words{}
		}
	}
	for source, was := range old {
		if name, ok := strings.CutPrefix(source, "BGPPeer/"); ok && was != next[source] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func wordsOf(o client.Object) map[string]words {
	out := map[string]words{}
	report, ok := o.(*v1alpha1.BGPNodeState)
	if !ok {
		return out
	}
	for _, s := range report.Status.Sources {
		out[s.Source] = words{expected: s.Expected, established: s.Established}
	}
	for _, s := range report.Status.Sessions {
		if w := out[s.Source]; s.State != "Established" && len(w.errors) < 1000 {
			w.errors += s.Peer + s.LastError
			out[s.Source] = w
		}
	}
	return out
}
