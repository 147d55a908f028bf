// Package drain moves pods away from an IPPool: it disables the pool, and evicts the pods that have its addresses, at a chosen pace. One
// look at the cluster comes in, and the decision for each pod goes out (Plan, pure); Run carries it out, again and again. It deletes
// no pod by force, and no pool.
package drain

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// Kinds are what a Plan needs to see.
var Kinds = []objects.Kind{objects.IPPools, objects.WorkloadEndpoints, objects.Pods}

// Verdict says what becomes of a pod.
type Verdict string

const (
	// Evict: the pod is evicted, and its controller makes another one.
	Evict Verdict = "evict"
	// Leaving: the pod is being deleted, or gone already. Its address comes back by itself.
	Leaving Verdict = "leaving"
	// Unmanaged: no controller would make the pod again.
	Unmanaged Verdict = "unmanaged"
	// Daemon: the pod belongs to a DaemonSet, and serves its own node.
	Daemon Verdict = "daemon"
	// Static: a file on the node makes the pod; an eviction would not stop it.
	Static Verdict = "static"
)

// Pod has addresses of the pool.
type Pod struct {
	Namespace, Name string
	UID             types.UID
	Node            string
	Verdict         Verdict
}

// Key is "namespace/name".
func (p Pod) Key() string { return p.Namespace + "/" + p.Name }

// Wishes say which pods are evicted besides those that a controller makes again elsewhere.
type Wishes struct{ Unmanaged, DaemonSets bool }

// Plan returns the pods that have addresses of a pool, each with what becomes of it, sorted by name.
func Plan(c *objects.Cluster, pool string, w Wishes) []Pod {
	objects := map[string]*corev1.Pod{}
	for i := range c.Pods.Items {
		p := &c.Pods.Items[i]
		objects[p.Namespace+"/"+p.Name] = p
	}
	found := map[string]Pod{}
	for i := range c.Endpoints.Items {
		record := &c.Endpoints.Items[i]
		if !slices.Contains(record.Spec.Pools, pool) {
			continue
		}
		p := Pod{Namespace: record.Namespace, Name: record.Spec.Pod, Node: record.Spec.Node, UID: types.UID(record.Spec.PodUID), Verdict: Leaving}
		object := objects[p.Key()]
		another := object != nil && p.UID != "" && object.UID != p.UID
		if object != nil && !another {
			p.UID, p.Verdict = object.UID, judge(object, w)
		}
		if known, ok := found[p.Key()]; !ok || known.Verdict == Leaving {
			found[p.Key()] = p
		}
	}
	out := make([]Pod, 0, len(found))
	for _, p := range found {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Pod) int { return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name)) })
	return out
}

func judge(p *corev1.Pod, w Wishes) Verdict {
	owner := metav1.GetControllerOf(p)
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	switch {
	case p.DeletionTimestamp != nil, p.Status.Phase == corev1.PodSucceeded, p.Status.Phase == corev1.PodFailed:
		return Leaving
	case mirror || owner != nil && owner.Kind == "Node":
		return Static
	case owner == nil && !w.Unmanaged:
		return Unmanaged
	case owner != nil && owner.Kind == "DaemonSet" && !w.DaemonSets:
		return Daemon
	}
	return Evict
}

// Replacement is an error if no pool but this one gives out addresses of its family: the pods that a drain evicts would wait in vain.
func Replacement(pools []v1alpha1.IPPool, drained *v1alpha1.IPPool) error {
	prefix, err := drained.Spec.Prefix()
	if err != nil {
		return fmt.Errorf("read the cidr of pool %s: %w", drained.Name, err)
	}
	for i := range pools {
		p := &pools[i]
		other, err := p.Spec.Prefix()
		serves := err == nil && p.Name != drained.Name && !p.Spec.Disabled && p.DeletionTimestamp == nil
		if serves && other.Addr().Is4() == prefix.Addr().Is4() {
			return nil
		}
	}
	family := "IPv6"
	if prefix.Addr().Is4() {
		family = "IPv4"
	}
	return fmt.Errorf("no other IPPool gives out %s addresses, so the pods that are evicted could not start again: make a pool for them first, or say --without-replacement", family)
}

// advice says what to do with pods that are not evicted.
var advice = map[Verdict]string{
	Unmanaged: "No controller makes them again. Delete and make them yourself, or say --unmanaged.",
	Daemon:    "They are of DaemonSets, which serve their nodes. Say --daemonsets to evict them too.",
	Static:    "Files on their nodes make them, so an eviction does not stop them. Move each file out of the kubelet's folder and back.",
}

// kept are the verdicts of pods that stay, in the order in which they are named.
var kept = []Verdict{Unmanaged, Daemon, Static}

// with returns the pods of a verdict.
func with(pods []Pod, v Verdict) []Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(p Pod) bool { return p.Verdict != v })
}
