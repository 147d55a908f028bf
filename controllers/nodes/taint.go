package nodes

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// +kubebuilder:rbac:groups="",resources=nodes,verbs=patch

// liftTaint removes the taint v1alpha1.TaintAgentNotReady from a Node whose agent lives and shows its plan in the kernel. Somebody
// else puts it there, such as the kubelet when it registers the node; it never comes back by this controller. An admission policy
// (config/admission/nodes.yaml) allows the controller nothing else with Nodes. It says whether the Node has changed meanwhile, which is a reason to come again.
func (r *Reconciler) liftTaint(ctx context.Context, node *corev1.Node, nn *v1alpha1.NodeNetwork) (again bool, err error) {
	if !isTainted(node) || !r.pulse.Live(node.Name) || !meta.IsStatusConditionTrue(nn.Status.Conditions, v1alpha1.ConditionReady) {
		return false, nil
	}
	lifted := node.DeepCopy()
	lifted.Spec.Taints = slices.DeleteFunc(lifted.Spec.Taints, isOurTaint)
	// The list of taints is written as a whole, so it must not have changed meanwhile.
	err = r.o.Client.Patch(ctx, lifted, client.MergeFromWithOptions(node, client.MergeFromWithOptimisticLock{}))
	switch {
	case apierrors.IsConflict(err):
		return true, nil
	case client.IgnoreNotFound(err) != nil:
		return false, fmt.Errorf("lift the taint %s from node %s: %w", v1alpha1.TaintAgentNotReady, node.Name, err)
	}
	return false, nil
}

func isTainted(o client.Object) bool {
	node, ok := o.(*corev1.Node)
	return ok && slices.ContainsFunc(node.Spec.Taints, isOurTaint)
}

func isOurTaint(t corev1.Taint) bool { return t.Key == v1alpha1.TaintAgentNotReady }

// becameReady says whether an agent reports for the first time that its node's network is there.
func becameReady(before, after client.Object) bool {
	return !isReady(before) && isReady(after)
}

func isReady(o client.Object) bool {
	nn, ok := o.(*v1alpha1.NodeNetwork)
	return ok && meta.IsStatusConditionTrue(nn.Status.Conditions, v1alpha1.ConditionReady)
}
