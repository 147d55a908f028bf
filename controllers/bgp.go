package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/bgpstatus"
)

// BGPReconciler writes the statuses of BGPPeers, BGPConfigurations and BGPFilters from what the nodes report. The sessions
// themselves are the agents' work.
type BGPReconciler struct {
	Client client.Client
	Now    func() time.Time
}

// +kubebuilder:rbac:groups=causeway.dev,resources=bgppeers;bgpconfigurations;bgpfilters,verbs=get;list;watch
// +kubebuilder:rbac:groups=causeway.dev,resources=bgppeers/status;bgpconfigurations/status;bgpfilters/status,verbs=get;update;patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch,namespace=causeway-system

// Reconcile brings all BGP statuses up to date.
func (r *BGPReconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var peers v1alpha1.BGPPeerList
	var configurations v1alpha1.BGPConfigurationList
	var filters v1alpha1.BGPFilterList
	var networks v1alpha1.NodeNetworkList
	var secrets corev1.SecretList
	if err := listAll(ctx, r.Client, &peers, &configurations, &filters, &networks, &secrets); err != nil {
		return reconcile.Result{}, err
	}
	facts := bgpstatus.Facts{Peers: peers.Items, Filters: filters.Items, Nodes: networks.Items, Secrets: map[string]map[string]int{}, Now: metav1.NewTime(r.Now())}
	for _, s := range secrets.Items {
		if s.Namespace != v1alpha1.SystemNamespace {
			continue
		}
		lengths := map[string]int{}
		for key, value := range s.Data {
			lengths[key] = len(value)
		}
		facts.Secrets[s.Name] = lengths
	}
	var errs []error
	for i := range peers.Items {
		after := peers.Items[i].DeepCopy()
		after.Status = facts.Peer(&peers.Items[i])
		errs = append(errs, r.write(ctx, &peers.Items[i], after, equality.Semantic.DeepEqual(peers.Items[i].Status, after.Status)))
	}
	for i := range configurations.Items {
		after := configurations.Items[i].DeepCopy()
		after.Status = facts.Configuration(&configurations.Items[i])
		errs = append(errs, r.write(ctx, &configurations.Items[i], after, equality.Semantic.DeepEqual(configurations.Items[i].Status, after.Status)))
	}
	for i := range filters.Items {
		after := filters.Items[i].DeepCopy()
		after.Status = facts.Filter(&filters.Items[i])
		errs = append(errs, r.write(ctx, &filters.Items[i], after, equality.Semantic.DeepEqual(filters.Items[i].Status, after.Status)))
	}
	return reconcile.Result{}, errors.Join(errs...)
}

func (r *BGPReconciler) write(ctx context.Context, before, after client.Object, same bool) error {
	if same {
		return nil
	}
	err := r.Client.Status().Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // Where the cache is behind, the next event brings us back.
	}
	return fmt.Errorf("write the status of %T %s: %w", after, after.GetName(), err)
}

// SetupWithManager says what wakes the reconciler.
func (r *BGPReconciler) SetupWithManager(mgr manager.Manager) error {
	all := reconcile.Request{}
	all.Name = "all"
	now := func() []reconcile.Request { return []reconcile.Request{all} }
	const gather = 300 * time.Millisecond
	changed := func(before, after client.Object) bool {
		return before.GetResourceVersion() != after.GetResourceVersion()
	}
	return ctrl.NewControllerManagedBy(mgr).Named("bgp").WithOptions(retries()).
		Watches(&v1alpha1.BGPPeer{}, onChange(now, gather, changed)).
		Watches(&v1alpha1.BGPConfiguration{}, onChange(now, gather, changed)).
		Watches(&v1alpha1.BGPFilter{}, onChange(now, gather, changed)).
		Watches(&corev1.Secret{}, onChange(now, gather, changed)).
		Watches(&v1alpha1.NodeNetwork{}, onChange(now, gather, func(before, after client.Object) bool {
			return labelsDiffer(before, after) ||
				!equality.Semantic.DeepEqual(before.(*v1alpha1.NodeNetwork).Status.BGP, after.(*v1alpha1.NodeNetwork).Status.BGP)
		})).
		Complete(r)
}
