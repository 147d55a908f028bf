package sticky

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// look is one look at a pod, with what was found.
type look struct {
	r   *Reconciler
	pod types.NamespacedName
	// object is the pod's StickyAddress, if stored.
	object v1alpha1.StickyAddress
	stored bool
	// set is the pod's StatefulSet, or nil.
	set *appsv1.StatefulSet
}

// begin reads what is remembered.
func (l *look) begin(ctx context.Context) error {
	err := l.r.o.Client.Get(ctx, l.pod, &l.object)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read StickyAddress %s: %w", l.pod, err)
	}
	l.stored = err == nil
	return nil
}

// facts gathers all that a decision depends on, from the watches or, where it is live, from the API server itself. They have no records where nothing is remembered
// and no pool remembers addresses of the pod.
func (l *look) facts(ctx context.Context, live bool) (f sticky.Facts, err error) {
	from := client.Reader(l.r.o.Client)
	if live {
		from = l.r.o.Live
	}
	var known bool
	f.Name, f.Ordinal, known = sticky.Split(l.pod.Name)
	if l.stored {
		m := sticky.Read(&l.object)
		f.Memory = &m
	}
	if f.Pools, err = pools(ctx, from); err != nil {
		return f, err
	}
	f.Records = l.owned(f)
	if !known || !l.stored && len(f.Records) == 0 {
		return f, nil
	}
	l.set = &appsv1.StatefulSet{}
	err = from.Get(ctx, types.NamespacedName{Namespace: l.pod.Namespace, Name: f.Name}, l.set)
	switch {
	case apierrors.IsNotFound(err):
		l.set = nil
	case err != nil:
		return f, fmt.Errorf("read StatefulSet %s/%s: %w", l.pod.Namespace, f.Name, err)
	default:
		of := sticky.SetOf(l.set)
		f.Set = &of
	}
	f.Taken = func(a netip.Addr) bool { return l.taken(ctx, live, a) }
	f.Stuck = func(a netip.Addr) string { return l.stuck(ctx, a) }
	return f, nil
}

// pools returns the pools that are not being deleted.
func pools(ctx context.Context, from client.Reader) (map[string]sticky.Pool, error) {
	var list v1alpha1.IPPoolList
	if err := from.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list pools: %w", err)
	}
	out := map[string]sticky.Pool{}
	for i := range list.Items {
		o := &list.Items[i]
		if cidr, err := o.Spec.Prefix(); err == nil && o.DeletionTimestamp.IsZero() {
			out[o.Name] = sticky.Pool{CIDR: cidr, Sticky: o.Spec.Sticky == v1alpha1.StickyStatefulSet,
				Exhausted: meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionExhausted)}
		}
	}
	return out, nil
}

// owned returns a pod's records with those of their addresses that lie in blocks of their nodes: an agent can have no others remembered.
func (l *look) owned(f sticky.Facts) (out []sticky.Record) {
	for _, one := range l.r.recordsOf(l.pod) {
		one.Addresses = slices.DeleteFunc(one.Addresses, func(a sticky.Address) bool { return !l.r.o.Blocks.Owns(one.Node, a.Pool, a.Addr) })
		if l.stored || slices.ContainsFunc(one.Addresses, func(a sticky.Address) bool { return f.Pools[a.Pool].Sticky }) {
			out = append(out, one)
		}
	}
	return out
}

// taken says whether a record shows that an address is another pod's. The pod that it is remembered for has no record.
func (l *look) taken(ctx context.Context, live bool, a netip.Addr) bool {
	if !live || !l.r.o.Blocks.IsInUse(a) {
		return l.r.o.Blocks.IsInUse(a)
	}
	record, known := l.r.o.Blocks.Record(a)
	if !known {
		return false
	}
	has, err := l.has(ctx, record, a)
	return has && err == nil
}

// has says whether the API server has a record with an address.
func (l *look) has(ctx context.Context, record types.NamespacedName, a netip.Addr) (bool, error) {
	var w v1alpha1.WorkloadEndpoint
	if err := l.r.o.Live.Get(ctx, record, &w); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("read WorkloadEndpoint %s: %w", record, err)
	}
	return slices.Contains(w.Spec.Addresses, netip.PrefixFrom(a, a.BitLen()).String()), nil
}

// stuck says why an address can't come to the node where the pod waits for it, or nothing. What the node asks for is not enough: the pod must be
// there.
func (l *look) stuck(ctx context.Context, a netip.Addr) string {
	s, known := l.r.stuckAt(a)
	if !known {
		return ""
	}
	if there, err := l.runsOn(ctx, s.Node); err != nil || !there {
		return ""
	}
	return s.Reason
}

// proved says whether a record is there and of the StatefulSet's pod. What a node's agent writes is not enough to have something remembered.
func (l *look) proved(ctx context.Context, r sticky.Record) (bool, error) {
	if there, err := l.runsOn(ctx, r.Node); err != nil || !there {
		return false, err
	}
	for _, a := range r.Addresses {
		if has, err := l.has(ctx, types.NamespacedName{Namespace: l.pod.Namespace, Name: r.Name}, a.Addr); err != nil || !has {
			return false, err
		}
	}
	return true, nil
}

// runsOn says whether the pod is the StatefulSet's and on a node.
func (l *look) runsOn(ctx context.Context, node string) (bool, error) {
	var pod corev1.Pod
	err := l.r.o.Live.Get(ctx, l.pod, &pod)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read pod %s: %w", l.pod, err)
	}
	owner := metav1.GetControllerOf(&pod)
	return pod.Spec.NodeName == node && owner != nil && owner.Kind == "StatefulSet" && l.set != nil && owner.UID == l.set.UID, nil
}
