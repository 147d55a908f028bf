// Package poolstatus decides what an IPPool's status says, and when nodes may send with a new encapsulation. It takes the
// pool's numbers and what its nodes report, and returns a status. It does no I/O.
package poolstatus

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/conditions"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
)

// Node is what one node with a live agent reports.
type Node struct {
	Name string
	// Encapsulations are those that its kernel can do; none where it has not said yet.
	Encapsulations []v1alpha1.Encapsulation
	// ObservedGeneration is the generation of the pool that it can receive.
	ObservedGeneration int64
	// Sends is what it sends with.
	Sends v1alpha1.Encapsulation
}

// Facts are all that a status depends on.
type Facts struct {
	Pool *blockplan.Pool
	// Nodes are those with a live agent, sorted by name.
	Nodes []Node
	// Exhausted is a sentence about the last request that could not be served, or nothing.
	Exhausted string
	Now       metav1.Time
}

// Compute returns the pool's status.
func Compute(f Facts) v1alpha1.IPPoolStatus {
	object := f.Pool.Object
	s := *object.Status.DeepCopy()
	s.ObservedGeneration = object.Generation
	s.Capacity = object.Spec.Capacity()
	s.Allocated = f.Pool.Allocated
	s.Free = max(s.Capacity-s.Allocated, 0)
	s.Blocks = f.Pool.Blocks

	r := readRollout(f)
	if r.received() || f.Pool.Blocks == 0 || s.Encapsulation == "" {
		s.Encapsulation = object.Spec.Encapsulation
	}
	s.NodesReady, s.NodesTotal = int32(len(r.ready)), int32(len(f.Nodes))

	for _, c := range []metav1.Condition{
		ready(f, r), overlapping(f), disabled(f), terminating(f), exhausted(f), kernelSupport(f, r),
	} {
		c.ObservedGeneration = object.Generation
		s.Conditions = conditions.Set(s.Conditions, f.Now, c)
	}
	return s
}

func ready(f Facts, r rollout) metav1.Condition {
	object, total := f.Pool.Object, len(f.Nodes)
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	switch {
	case !object.DeletionTimestamp.IsZero():
		c.Reason, c.Message = "Terminating", "The pool is being deleted and gives nothing out."
	case len(f.Pool.Older) > 0:
		c.Reason, c.Message = "Overlapping", fmt.Sprintf("The pool overlaps %s and gives nothing out; delete one of them.", conditions.Names("pool", f.Pool.Older))
	case badSelector(object.Spec.NodeSelector) != nil:
		c.Reason, c.Message = "InvalidSelector", fmt.Sprintf("The nodeSelector can't be read, so no node gets a block: %v; correct it.", badSelector(object.Spec.NodeSelector))
	case total == 0:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, "NoNodes", "There are no nodes yet."
	case len(r.pending) > 0:
		c.Reason = "NodesPending"
		c.Message = fmt.Sprintf("%d of %d nodes have rendered generation %d; waiting for %s.", len(r.ready), total, object.Generation, conditions.Names("node", r.pending))
	case len(r.lacking) > 0:
		c.Reason, c.Message = v1alpha1.ConditionKernelSupport, lackingSentence(object, r.lacking)
	default:
		c.Status, c.Reason = metav1.ConditionTrue, "AllNodesReady"
		c.Message = fmt.Sprintf("%d of %d nodes have rendered generation %d.", len(r.ready), total, object.Generation)
	}
	return c
}

func badSelector(s *metav1.LabelSelector) error {
	_, err := metav1.LabelSelectorAsSelector(s)
	return err
}

func overlapping(f Facts) metav1.Condition {
	if len(f.Pool.Older) == 0 {
		return condition(v1alpha1.ConditionOverlapping, false, "NoOverlap", "No older pool has addresses of this one.")
	}
	return condition(v1alpha1.ConditionOverlapping, true, "OlderPool",
		fmt.Sprintf("The pool shares addresses with %s, which was there first; delete one of them.", conditions.Names("pool", f.Pool.Older)))
}

func disabled(f Facts) metav1.Condition {
	if f.Pool.Object.Spec.Disabled {
		return condition(v1alpha1.ConditionDisabled, true, "Disabled", "The pool gives out no new address because spec.disabled is true; pods keep those that they have.")
	}
	return condition(v1alpha1.ConditionDisabled, false, "Enabled", "The pool's spec lets it give out addresses.")
}

func terminating(f Facts) metav1.Condition {
	if f.Pool.Object.DeletionTimestamp.IsZero() {
		return condition(v1alpha1.ConditionTerminating, false, "NotDeleted", "The pool is not being deleted.")
	}
	return condition(v1alpha1.ConditionTerminating, true, "AddressesInUse",
		fmt.Sprintf("Waiting for %s in %s to come back; delete or move the pods that hold them.", count(f.Pool.Allocated, "address", "addresses"), count(f.Pool.Blocks, "block", "blocks")))
}

func exhausted(f Facts) metav1.Condition {
	if f.Exhausted == "" {
		return condition(v1alpha1.ConditionExhausted, false, "BlocksFree", "No pod waits for a block of this pool.")
	}
	return condition(v1alpha1.ConditionExhausted, true, "NoFreeBlock", f.Exhausted)
}

func kernelSupport(f Facts, r rollout) metav1.Condition {
	if len(r.lacking) == 0 {
		return condition(v1alpha1.ConditionKernelSupport, true, "Supported", "No live node is known to lack what the pool's encapsulation needs.")
	}
	return condition(v1alpha1.ConditionKernelSupport, false, "ModuleMissing", lackingSentence(f.Pool.Object, r.lacking))
}

func lackingSentence(pool *v1alpha1.IPPool, nodes []string) string {
	return fmt.Sprintf("The kernel module %s is missing on %s; load it there or choose another encapsulation.",
		Module(pool.Spec.Encapsulation), conditions.Names("node", nodes))
}

func condition(kind string, status bool, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: conditions.Status(status), Reason: reason, Message: message}
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Happened are the conditions that turned True from one status to the next, for events.
func Happened(before, after []metav1.Condition, types ...string) []metav1.Condition {
	var out []metav1.Condition
	for _, c := range after {
		was := slices.ContainsFunc(before, func(b metav1.Condition) bool { return b.Type == c.Type && b.Status == metav1.ConditionTrue })
		if slices.Contains(types, c.Type) && c.Status == metav1.ConditionTrue && !was {
			out = append(out, c)
		}
	}
	return out
}
