package bgp

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/bgpcheck"
)

// Reconciler writes the statuses. Its requests name one object each.
type Reconciler struct {
	Client client.Client
	Now    func() time.Time
}

// object names one object to look at.
type object struct {
	kind kind
	name string
}

type kind string

const (
	kindPeer          kind = "BGPPeer"
	kindConfiguration kind = "BGPConfiguration"
	kindFilter        kind = "BGPFilter"
)

// +kubebuilder:rbac:groups=causeway.dev,resources=bgppeers;bgpconfigurations;bgpfilters;bgpnodestates,verbs=get;list;watch
// +kubebuilder:rbac:groups=causeway.dev,resources=bgppeers/status;bgpconfigurations/status;bgpfilters/status,verbs=get;update;patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch,namespace=causeway-bgp

// Reconcile brings the status of one object up to date.
func (r *Reconciler) Reconcile(ctx context.Context, o object) (reconcile.Result, error) {
	var err error
	switch o.kind {
	case kindPeer:
		err = r.peer(ctx, o.name)
	case kindConfiguration:
		err = r.configuration(ctx, o.name)
	case kindFilter:
		err = r.filter(ctx, o.name)
	}
	return reconcile.Result{}, client.IgnoreNotFound(err)
}

func (r *Reconciler) peer(ctx context.Context, name string) error {
	var before v1alpha1.BGPPeer
	if err := r.Client.Get(ctx, client.ObjectKey{Name: name}, &before); err != nil {
		return err
	}
	var peers v1alpha1.BGPPeerList
	var filters v1alpha1.BGPFilterList
	var networks v1alpha1.NodeNetworkList
	var reports v1alpha1.BGPNodeStateList
	for _, list := range []client.ObjectList{&peers, &filters, &networks, &reports} {
		if err := r.Client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list %T: %w", list, err)
		}
	}
	secrets, err := r.secrets(ctx, before.Spec.Password)
	if err != nil {
		return err
	}
	f := facts{peers: peers.Items, filters: map[string]*v1alpha1.BGPFilter{}, secrets: secrets, now: metav1.NewTime(r.Now())}
	for i := range filters.Items {
		f.filters[filters.Items[i].Name] = &filters.Items[i]
	}
	exist := make(map[string]bool, len(networks.Items))
	for i := range networks.Items {
		f.nodes = append(f.nodes, labels.Set(networks.Items[i].Labels))
		exist[networks.Items[i].Name] = true
	}
	for _, report := range reports.Items {
		if exist[report.Name] { // that of a deleted node says nothing
			f.reports = append(f.reports, report)
		}
	}
	after := before.DeepCopy()
	after.Status = f.peer(&before)
	return r.write(ctx, &before, after, equality.Semantic.DeepEqual(before.Status, after.Status))
}

func (r *Reconciler) configuration(ctx context.Context, name string) error {
	var before v1alpha1.BGPConfiguration
	if err := r.Client.Get(ctx, client.ObjectKey{Name: name}, &before); err != nil {
		return err
	}
	secrets, err := r.secrets(ctx, before.Spec.NodeToNodeMesh.Password)
	if err != nil {
		return err
	}
	f := facts{secrets: secrets, now: metav1.NewTime(r.Now())}
	after := before.DeepCopy()
	after.Status = f.configuration(&before)
	return r.write(ctx, &before, after, equality.Semantic.DeepEqual(before.Status, after.Status))
}

func (r *Reconciler) filter(ctx context.Context, name string) error {
	var before v1alpha1.BGPFilter
	if err := r.Client.Get(ctx, client.ObjectKey{Name: name}, &before); err != nil {
		return err
	}
	f := facts{now: metav1.NewTime(r.Now())}
	after := before.DeepCopy()
	after.Status = f.filter(&before)
	return r.write(ctx, &before, after, equality.Semantic.DeepEqual(before.Status, after.Status))
}

// secrets returns the lengths of the values of the Secret that a password is in.
func (r *Reconciler) secrets(ctx context.Context, ref *v1alpha1.BGPPassword) (bgpcheck.Secrets, error) {
	if ref == nil {
		return nil, nil
	}
	var secret corev1.Secret
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: v1alpha1.BGPNamespace, Name: ref.SecretKeyRef.Name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get Secret %s/%s: %w", v1alpha1.BGPNamespace, ref.SecretKeyRef.Name, err)
	}
	lengths := make(map[string]int, len(secret.Data))
	for key, value := range secret.Data {
		lengths[key] = len(value)
	}
	return bgpcheck.Secrets{secret.Name: lengths}, nil
}

func (r *Reconciler) write(ctx context.Context, before, after client.Object, same bool) error {
	if same {
		return nil
	}
	err := r.Client.Status().Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // Where the cache is behind, the next event brings us back.
	}
	return fmt.Errorf("write the status of %T %s: %w", after, after.GetName(), err)
}
