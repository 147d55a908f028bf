// Package reservations keeps the statuses of IPReservations: which entries can't be read, and which pods still have reserved
// addresses. IPReservations and what package blocks knows of addresses in use come in. It keeps no address from anybody: agents
// and package blocks do that.
package reservations

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/conditions"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
)

const (
	// syncPause is the time between two looks whether all endpoints are known.
	syncPause = 100 * time.Millisecond
	// lookAgain is how soon a reservation is looked at again while pods have its addresses.
	lookAgain = 10 * time.Second
)

// Addresses knows which addresses are in use.
type Addresses interface {
	Synced() bool
	// InUse returns a few of the addresses of a set that pods have, and how many there are.
	InUse(set *reservation.Set) ([]netip.Addr, int)
	// Holders names the records of pods that have some addresses.
	Holders(addresses []netip.Addr) []string
}

// Reconciler keeps the statuses. Its requests are the names of IPReservations.
type Reconciler struct {
	Client    client.Client
	Addresses Addresses
	Now       func() time.Time
}

// +kubebuilder:rbac:groups=causeway.dev,resources=ipreservations,verbs=get;list;watch
// +kubebuilder:rbac:groups=causeway.dev,resources=ipreservations/status,verbs=get;update;patch

// Reconcile brings one IPReservation's status up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var object v1alpha1.IPReservation
	if err := r.Client.Get(ctx, req.NamespacedName, &object); err != nil {
		if apierrors.IsNotFound(err) {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read IPReservation %s: %w", req.Name, err)
	}
	if !r.Addresses.Synced() {
		return reconcile.Result{RequeueAfter: syncPause}, nil
	}
	set, problems := reservation.Parse(object.Spec.Addresses, netip.Prefix{})
	addresses, count := r.Addresses.InUse(set)
	next := Compute(&object, problems, r.Addresses.Holders(addresses), count, metav1.NewTime(r.Now()))
	if err := r.write(ctx, &object, next); err != nil {
		return reconcile.Result{}, err
	}
	if count > 0 {
		return reconcile.Result{RequeueAfter: lookAgain}, nil
	}
	return reconcile.Result{}, nil
}

func (r *Reconciler) write(ctx context.Context, object *v1alpha1.IPReservation, next v1alpha1.IPReservationStatus) error {
	if equality.Semantic.DeepEqual(object.Status, next) {
		return nil
	}
	before := object.DeepCopy()
	after := object.DeepCopy()
	after.Status = next
	err := r.Client.Status().Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // the next event brings us back
		return fmt.Errorf("write the status of IPReservation %s: %w", object.Name, err)
	}
	return nil
}

// Compute returns an IPReservation's status. holders are a few of those who have its addresses, count is how many addresses these are.
func Compute(object *v1alpha1.IPReservation, problems []reservation.Problem, holders []string, count int, now metav1.Time) v1alpha1.IPReservationStatus {
	s := *object.Status.DeepCopy()
	s.ObservedGeneration = object.Generation
	valid := conditions.Reservations("addresses", problems)
	state := conditions.State{Ready: true, Reason: "Reserved", Message: "No pod gets one of these addresses anew."}
	if valid.Reason == "Ignored" {
		state = conditions.State{Stalled: true, Reason: "InvalidAddresses", Message: valid.Message}
	}
	s.Conditions = conditions.Sum(s.Conditions, now, object.Generation, state)
	for _, c := range []metav1.Condition{valid, conditions.ReservedInUse(holders, count)} {
		c.ObservedGeneration = object.Generation
		s.Conditions = conditions.Set(s.Conditions, now, c)
	}
	return s
}

// SetupWithManager says what wakes the reconciler.
func (r *Reconciler) SetupWithManager(_ context.Context, mgr manager.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("reservations").For(&v1alpha1.IPReservation{}).Complete(r)
}
