// Package sticky remembers the addresses of StatefulSets' pods, in pools that are sticky. Records, StatefulSets, pools and StickyAddresses come
// in; package internal/ipam/sticky decides; StickyAddresses are created, changed and deleted. It gives and takes no address itself.
package sticky

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

const (
	// syncPause is the time between two looks whether all records are known.
	syncPause = 100 * time.Millisecond
	// lookAgain is how soon a pod is looked at again where a watch is behind the API server.
	lookAgain = time.Second
)

// Blocks knows which addresses are in use, and whose they may be.
type Blocks interface {
	Synced() bool
	// IsInUse says whether a record shows an address in use.
	IsInUse(a netip.Addr) bool
	// Record names the record of the pod that has an address.
	Record(a netip.Addr) (types.NamespacedName, bool)
	// Owns says whether an address lies in a block, or a range, that a node has of a pool.
	Owns(node, pool string, a netip.Addr) bool
}

// Options are what a Reconciler needs.
type Options struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Live asks the API server.
	Live   client.Reader
	Events events.EventRecorder
	Blocks Blocks
}

// Reconciler remembers. Its requests are pods, by their names.
type Reconciler struct {
	o Options
	*index
}

// New returns a Reconciler. SetupWithManager must follow.
func New(o Options) *Reconciler { return &Reconciler{o: o, index: newIndex()} }

// Recorded notes a record that has come or gone, with the pod's name where it is of the interface that Kubernetes shows.
func (r *Reconciler) Recorded(record types.NamespacedName, pod string, e blockplan.Endpoint, there bool) {
	r.recorded(record, pod, e, there)
}

// Stuck notes which addresses can't come to the nodes that ask for them.
func (r *Reconciler) Stuck(all []blockplan.Stuck) { r.noteStuck(all) }

// +kubebuilder:rbac:groups=causeway.dev,resources=stickyaddresses,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups=causeway.dev,resources=ippools,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=statefulsets,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;update;patch

// Reconcile brings up to date what is remembered for one pod. Before something is forgotten the API server is asked, whatever the watches show.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if !r.o.Blocks.Synced() {
		return reconcile.Result{RequeueAfter: syncPause}, nil
	}
	l := &look{r: r, pod: req.NamespacedName}
	if err := l.begin(ctx); err != nil {
		return reconcile.Result{}, err
	}
	facts, err := l.facts(ctx, false)
	if err != nil || facts.Memory == nil && len(facts.Records) == 0 {
		return reconcile.Result{}, err
	}
	decision := sticky.Decide(facts)
	if facts.Forgets(decision) {
		if facts, err = l.facts(ctx, true); err != nil {
			return reconcile.Result{}, err
		}
		decision = sticky.Decide(facts)
	}
	if decision.Proof {
		proved, err := l.proved(ctx, facts.Records[0])
		if err != nil || !proved {
			return reconcile.Result{}, err
		}
	}
	return r.carryOut(ctx, l, facts, decision)
}

// carryOut writes what is decided, and tells people of addresses that are not remembered any longer.
func (r *Reconciler) carryOut(ctx context.Context, l *look, f sticky.Facts, d sticky.Decision) (reconcile.Result, error) {
	var err error
	switch {
	case d.Memory == nil && f.Memory == nil, d.Memory != nil && f.Memory != nil && d.Memory.Equal(*f.Memory):
		return reconcile.Result{}, nil
	case d.Memory == nil:
		uid, version := l.object.UID, l.object.ResourceVersion
		err = r.o.Client.Delete(ctx, &l.object, client.Preconditions{UID: &uid, ResourceVersion: &version})
	case f.Memory == nil:
		o := &v1alpha1.StickyAddress{ObjectMeta: metav1.ObjectMeta{Namespace: l.pod.Namespace, Name: l.pod.Name}, Spec: d.Memory.Spec()}
		err = r.o.Client.Create(ctx, o)
	default:
		l.object.Spec = d.Memory.Spec()
		err = r.o.Client.Update(ctx, &l.object)
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err):
		return reconcile.Result{RequeueAfter: lookAgain}, nil // the cache is behind
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("write StickyAddress %s: %w", l.pod, err)
	}
	for _, lost := range d.Lost {
		r.o.Events.Eventf(l.set, nil, corev1.EventTypeWarning, "AddressForgotten", "Forget",
			"Address %s is not remembered for pod %s any longer: %s.", lost.Address, l.pod.Name, lost.Reason)
	}
	return reconcile.Result{}, nil
}
