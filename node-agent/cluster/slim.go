package cluster

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/wish"
)

// slim returns what makes objects small before the cache keeps them: a node sees all blocks and nodes of the cluster, and reads a few
// words of each. This node's own NodeNetwork stays whole, since its status is written from it.
func slim(node string) toolscache.TransformFunc {
	return func(in any) (any, error) {
		switch o := in.(type) {
		case *keptBlock: // it has been made small before
		case *v1alpha1.IPBlock:
			return keep(o), nil
		case *v1alpha1.NodeNetwork:
			if o.Name == node {
				o.ManagedFields = nil
				break
			}
			var labels map[string]string
			if len(o.Labels) > 0 {
				labels = make(map[string]string, len(o.Labels))
			}
			for key, value := range o.Labels {
				labels[shared(key)] = shared(value)
			}
			o.ObjectMeta = identity(o.ObjectMeta)
			o.Name, o.Labels = shared(o.Name), labels
			for i := range o.Status.Addresses {
				a := &o.Status.Addresses[i]
				a.Subnet, a.Interface = shared(a.Subnet), shared(a.Interface)
			}
			o.Status = v1alpha1.NodeNetworkStatus{Addresses: o.Status.Addresses}
		case *corev1.Node:
			o.ManagedFields = nil
			o.Status.Images, o.Status.VolumesAttached = nil, nil
		case metav1.Object:
			o.SetManagedFields(nil)
			if annotations := o.GetAnnotations(); annotations != nil {
				o.SetAnnotations(wish.Keep(annotations))
			}
		}
		return in, nil
	}
}

// identity is what everybody needs of an object's metadata.
func identity(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, Generation: m.Generation,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp}
}

// shared returns a text that many objects have, so that it is in memory once.
func shared(text string) string { return unique.Make(text).Value() }
