package pools

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers/conditions"
	"github.com/causeway-net/causeway/internal/infrastructure"
	"github.com/causeway-net/causeway/internal/ipam/blockplan"
	"github.com/causeway-net/causeway/internal/ipam/reservation"
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
	// Joining says that the node has come a short time ago and has not said anything of the pool yet.
	Joining bool
}

// Facts are all that a status depends on.
type Facts struct {
	Object *v1alpha1.IPPool
	blockplan.Summary
	// Nodes are those with a live agent, sorted by name.
	Nodes []Node
	// Silent is the number of nodes without a live agent.
	Silent int
	// ReservedHolders are a few of the records that have reserved addresses: "10.0.0.5 (workloadendpoint default/a-0123456789a)".
	ReservedHolders []string
	// Exhausted is a sentence about the last request that could not be served, or nothing.
	Exhausted string
	// Limited is a sentence about nodes with waiting pods that have as many blocks as they may have, or nothing. LimitedNodes is how
	// many they are.
	Limited      string
	LimitedNodes int
	// AggregatesFull is a sentence about nodes with waiting pods whose group's prefixes are full, or nothing.
	AggregatesFull string
	// AtLimit are the namespaces that have as many addresses as they may have, or more, in order.
	AtLimit []blockplan.NamespaceUse
	Now     metav1.Time
}

// maxNamespaces is the most that a status names.
const maxNamespaces = 1000

// Compute returns the pool's status.
func Compute(f Facts) v1alpha1.IPPoolStatus {
	object := f.Object
	s := *object.Status.DeepCopy()
	s.ObservedGeneration = object.Generation
	s.Capacity = object.Spec.Capacity()
	if f.Known {
		s.Capacity = f.Usable
	}
	s.Allocated = f.Allocated
	s.Remembered = f.Remembered
	s.Free = max(s.Capacity-s.Allocated-s.Remembered, 0)
	s.FreeText = readable(s.Free)
	s.Blocks = f.Blocks
	s.NamespacesAtLimit = nil
	for _, n := range f.AtLimit[:min(len(f.AtLimit), maxNamespaces)] {
		s.NamespacesAtLimit = append(s.NamespacesAtLimit, n.Namespace)
	}

	r := readRollout(f)
	unused := f.Blocks == 0 && f.Allocated == 0
	if r.received() || unused || s.Encapsulation == "" {
		s.Encapsulation = object.Spec.Encapsulation
	}
	s.NodesReady, s.NodesTotal = int32(len(r.ready)), int32(len(f.Nodes))

	s.Conditions = conditions.Sum(s.Conditions, f.Now, object.Generation, sum(f, r))
	for _, c := range []metav1.Condition{
		overlapping(f), conflicting(f), disabled(f), drained(f), terminating(f), exhausted(f), nodesAtLimit(f), aggregatesFull(f), namespacesAtLimit(f), kernelSupport(f, r), reserved(f), reservedInUse(f),
	} {
		c.ObservedGeneration = object.Generation
		s.Conditions = conditions.Set(s.Conditions, f.Now, c)
	}
	return s
}

// readable shows a count in a column: that of an IPv6 pool has up to 19 digits.
func readable(n int64) string {
	const million = 1_000_000
	if n > million {
		return ">1M"
	}
	return strconv.FormatInt(n, 10)
}

// sum says in one word how the pool is: first what only a person can change, then what the nodes do.
func sum(f Facts, r rollout) conditions.State {
	object := f.Object
	stalled := func(reason, message string) conditions.State {
		return conditions.State{Stalled: true, Reason: reason, Message: message}
	}
	switch {
	case !object.DeletionTimestamp.IsZero():
		return conditions.State{Reconciling: true, Reason: "Terminating", Message: "The pool is being deleted and gives nothing out."}
	case len(f.Conflicts) > 0:
		return stalled(v1alpha1.ConditionConflicting, conflictSentence(f))
	case len(f.Older) > 0:
		return stalled(v1alpha1.ConditionOverlapping, fmt.Sprintf("The pool overlaps %s and gives nothing out; delete one of them.", conditions.Names("pool", f.Older)))
	}
	for field, selector := range map[string]*metav1.LabelSelector{"nodeSelector": object.Spec.NodeSelector, "namespaceSelector": object.Spec.NamespaceSelector} {
		if _, err := metav1.LabelSelectorAsSelector(selector); err != nil {
			return stalled("InvalidSelector", fmt.Sprintf("The %s can't be read, so the pool serves nobody: %v; correct it.", field, err))
		}
	}
	return rolledOut(f, r)
}

// rolledOut says how far the nodes are.
func rolledOut(f Facts, r rollout) conditions.State {
	total, generation := len(f.Nodes), f.Object.Generation
	progress := fmt.Sprintf("%d of %d nodes have rendered generation %d", len(r.ready), total, generation)
	switch {
	case total == 0 && f.Silent == 0:
		return conditions.State{Ready: true, Reason: "NoNodes", Message: "There are no nodes yet."}
	case total == 0:
		return conditions.State{Reconciling: true, Reason: "NoLiveAgents",
			Message: fmt.Sprintf("No agent of the %s has renewed its lease in time; look at the agents' pods in %s.", count(int64(f.Silent), "node", "nodes"), v1alpha1.SystemNamespace)}
	case len(r.pending) > 0 && len(r.pending) == len(r.joining) && wasReady(f):
		return conditions.State{Ready: true, Reason: "NodesJoining", Message: fmt.Sprintf("%s; %s just joining.", progress, areNames(r.joining))}
	case len(r.pending) > 0:
		return conditions.State{Reconciling: true, Reason: "NodesPending", Message: fmt.Sprintf("%s; waiting for %s.", progress, conditions.Names("node", r.awaited()))}
	case len(r.lacking) > 0:
		return conditions.State{Stalled: true, Reason: v1alpha1.ConditionKernelSupport, Message: lackingSentence(f.Object, r.lacking)}
	}
	return conditions.State{Ready: true, Reason: "AllNodesReady", Message: progress + "."}
}

func areNames(nodes []string) string {
	if len(nodes) == 1 {
		return conditions.Names("node", nodes) + " is"
	}
	return conditions.Names("node", nodes) + " are"
}

// wasReady says whether the pool has been Ready for this generation and encapsulation. Nodes that join do not change that.
func wasReady(f Facts) bool {
	c := meta.FindStatusCondition(f.Object.Status.Conditions, v1alpha1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == f.Object.Generation
}

func conflicting(f Facts) metav1.Condition {
	if len(f.Conflicts) == 0 {
		return condition(v1alpha1.ConditionConflicting, false, "NoConflict", "The pool has no address in common with nodes, the API server and Service ranges.")
	}
	return condition(v1alpha1.ConditionConflicting, true, "Infrastructure", conflictSentence(f))
}

func conflictSentence(f Facts) string {
	text := fmt.Sprintf("The pool has addresses in common with %s, which the cluster itself needs. ", infrastructure.Describe(f.Conflicts))
	if f.Refused {
		return text + "It gives nothing out; delete it and choose another range."
	}
	return text + "It gives out no more blocks that touch these; pods keep their addresses. Move them to another pool, then delete this one."
}

func overlapping(f Facts) metav1.Condition {
	if len(f.Older) == 0 {
		return condition(v1alpha1.ConditionOverlapping, false, "NoOverlap", "No older pool has addresses of this one.")
	}
	return condition(v1alpha1.ConditionOverlapping, true, "OlderPool",
		fmt.Sprintf("The pool shares addresses with %s, which was there first; delete one of them.", conditions.Names("pool", f.Older)))
}

func disabled(f Facts) metav1.Condition {
	if f.Object.Spec.Disabled {
		return condition(v1alpha1.ConditionDisabled, true, "Disabled", "The pool gives out no new address because spec.disabled is true; pods keep those that they have.")
	}
	return condition(v1alpha1.ConditionDisabled, false, "Enabled", "The pool's spec lets it give out addresses.")
}

// drained says how far a pool is on its way to be deleted. Only the words change while addresses come back, so they are written every few
// seconds and not for each address.
func drained(f Facts) metav1.Condition {
	object := f.Object
	switch {
	case !object.Spec.Disabled && object.DeletionTimestamp.IsZero():
		return condition(v1alpha1.ConditionDrained, false, "InService", "The pool is in service: neither disabled nor deleted.")
	case f.Allocated > 0:
		return condition(v1alpha1.ConditionDrained, false, "AddressesInUse", fmt.Sprintf("In use: %s in %s; delete or move the pods that have them (kubectl causeway ipam drain %s).",
			count(f.Allocated, "address", "addresses"), count(f.Blocks, "block", "blocks"), object.Name))
	case f.Blocks > 0:
		return condition(v1alpha1.ConditionDrained, false, "BlocksComeBack", fmt.Sprintf("No address is in use; nodes are about to give back %s.", count(f.Blocks, "block", "blocks")))
	}
	return condition(v1alpha1.ConditionDrained, true, "Empty", fmt.Sprintf("No address is in use, and no node has a block; the pool can be deleted: kubectl delete ippool %s.", object.Name))
}

func terminating(f Facts) metav1.Condition {
	if f.Object.DeletionTimestamp.IsZero() {
		return condition(v1alpha1.ConditionTerminating, false, "NotDeleted", "The pool is not being deleted.")
	}
	return condition(v1alpha1.ConditionTerminating, true, "AddressesInUse",
		fmt.Sprintf("Waiting for %s in %s to come back; delete or move the pods that hold them.", count(f.Allocated, "address", "addresses"), count(f.Blocks, "block", "blocks")))
}

func exhausted(f Facts) metav1.Condition {
	if f.Exhausted == "" {
		return condition(v1alpha1.ConditionExhausted, false, "BlocksFree", "No pod waits for a block of this pool.")
	}
	return condition(v1alpha1.ConditionExhausted, true, "NoFreeBlock", f.Exhausted)
}

func nodesAtLimit(f Facts) metav1.Condition {
	if f.Limited == "" {
		return condition(v1alpha1.ConditionNodesAtLimit, false, "WithinLimit", "No pod waits on a node that has as many blocks as maxBlocksPerNode lets it have.")
	}
	return condition(v1alpha1.ConditionNodesAtLimit, true, "MaxBlocksPerNode", f.Limited)
}

func aggregatesFull(f Facts) metav1.Condition {
	if f.AggregatesFull == "" {
		return condition(v1alpha1.ConditionAggregatesFull, false, "Room", "No pod waits because the prefixes of its node's group are full.")
	}
	return condition(v1alpha1.ConditionAggregatesFull, true, "Aggregation", f.AggregatesFull)
}

func namespacesAtLimit(f Facts) metav1.Condition {
	if len(f.AtLimit) == 0 {
		return condition(v1alpha1.ConditionNamespacesAtLimit, false, "WithinLimits", "No namespace has as many addresses as namespaceLimits lets it have.")
	}
	var names []string
	for _, n := range f.AtLimit {
		names = append(names, fmt.Sprintf("%s (%d of %d)", n.Namespace, n.Addresses, n.Most))
	}
	return condition(v1alpha1.ConditionNamespacesAtLimit, true, "NamespaceLimits",
		fmt.Sprintf("No more addresses go to %s: namespaceLimits lets them have no more. Delete pods there, or raise the limit.", conditions.Names("namespace", names)))
}

// reserved says what is wrong with the pool's own reservations. That takes nothing away from the pool, so it stays Ready.
func reserved(f Facts) metav1.Condition {
	prefix, err := f.Object.Spec.Prefix()
	if err != nil {
		prefix = netip.Prefix{}
	}
	_, problems := reservation.Parse(f.Object.Spec.Reserved, prefix)
	return conditions.Reservations("reserved", problems)
}

func reservedInUse(f Facts) metav1.Condition {
	return conditions.ReservedInUse(f.ReservedHolders, f.ReservedInUseCount)
}

func kernelSupport(f Facts, r rollout) metav1.Condition {
	if len(r.lacking) == 0 {
		return condition(v1alpha1.ConditionKernelSupport, true, "Supported", "No live node is known to lack what the pool's encapsulation needs.")
	}
	return condition(v1alpha1.ConditionKernelSupport, false, "ModuleMissing", lackingSentence(f.Object, r.lacking))
}

func lackingSentence(pool *v1alpha1.IPPool, nodes []string) string {
	return fmt.Sprintf("The kernel module %s is missing on %s; load it there or choose another encapsulation.",
		module(pool.Spec.Encapsulation), conditions.Names("node", nodes))
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
