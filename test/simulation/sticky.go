package simulation

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
)

// replicas is how many pods the StatefulSet has at most. They are of one name at a time, as Kubernetes promises.
const replicas = 3

// comesBackWithin is how long a StatefulSet's pod may need to have its addresses again when nothing goes wrong.
const comesBackWithin = 60 * time.Second

var setKey = client.ObjectKey{Namespace: namespace, Name: "db"}

// statefulSet is made by a person, or deleted.
func (w *World) statefulSet(remove bool) {
	there := w.server.objects["StatefulSet"][setKey] != nil
	switch {
	case !there:
		w.note("a person makes the StatefulSet")
		w.must(w.server.create(&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: setKey.Name}}, false))
	case remove:
		w.note("a person deletes the StatefulSet")
		_ = w.server.drop("StatefulSet", setKey, nil)
	}
}

// replica returns the name of a pod of the StatefulSet that is missing, with its owner, for every third pod.
func (w *World) replica() (string, []metav1.OwnerReference, bool) {
	set := w.server.objects["StatefulSet"][setKey]
	if set == nil || w.pods%3 != 0 {
		return "", nil, false
	}
	for i := range replicas {
		name := fmt.Sprintf("%s-%d", setKey.Name, (w.pods/3+i)%replicas)
		if w.server.objects["Pod"][client.ObjectKey{Namespace: namespace, Name: name}] == nil {
			return name, []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}, true
		}
	}
	return "", nil, false
}

// known is what an agent knows of what is remembered.
type known struct {
	// own are the pod's addresses, others those that the address book keeps for other pods.
	own, others []netip.Addr
}

// knows returns what an agent knows of what is remembered when a pod starts.
func (a *agent) knows(pod string) (out known) {
	out.own = a.pools.Remembered(namespace, pod, [][]string{{"small", "few", "six", "overlap"}})
	for _, b := range a.book.Blocks() {
		for _, r := range b.Remembered {
			for address := r.First; !r.Last.Less(address); address = address.Next() {
				if !slices.Contains(out.own, address) {
					out.others = append(out.others, address)
				}
			}
		}
	}
	return out
}

// checkRemembered says that a pod gets what its agent knows to be remembered for it, where the pool serves the pod at all, and nothing that the
// agent knows to be remembered for others. What the agent learns during the ADD counts for neither.
func (w *World) checkRemembered(m *machine, p *pod, a *agent) {
	now := a.knows(p.name)
	e, _ := a.book.Get(p.hostEnd())
	for i, got := range e.Addresses {
		if slices.Contains(p.before.others, got) && !slices.Contains(now.own, got) {
			w.fail("%s on %s has %s, which is remembered for another pod", p.name, m.name, got)
		}
		for _, own := range p.before.own {
			samePool := own.Is4() == got.Is4() && own != got && p.fixed == "" && slices.Contains(now.own, own) && w.inPool(own, e.Pools[i])
			if samePool {
				w.fail("%s on %s has %s, but %s is remembered for it", p.name, m.name, got, own)
			}
		}
	}
}

func (w *World) inPool(a netip.Addr, pool string) bool {
	for _, o := range w.server.list("StickyAddress") {
		if slices.Contains(sticky.Read(o.(*v1alpha1.StickyAddress)).Addresses, sticky.Address{Addr: a, Pool: pool}) {
			return true
		}
	}
	return false
}

// verifySticky says that nothing is remembered that is not to be, and that what the StatefulSet's pods have is.
func (w *World) verifySticky() {
	set := w.server.objects["StatefulSet"][setKey]
	for _, o := range w.server.list("StickyAddress") {
		m := sticky.Read(o.(*v1alpha1.StickyAddress))
		if set == nil || string(set.GetUID()) != m.SetUID {
			w.fail("after quiet: %v is remembered for %s, whose StatefulSet is gone", m.Addresses, o.GetName())
		}
		for _, a := range m.Addresses {
			if pool := w.server.objects["IPPool"][client.ObjectKey{Name: a.Pool}]; pool == nil || pool.GetDeletionTimestamp() != nil {
				w.fail("after quiet: %s is remembered for %s, whose pool %s is gone", a.Addr, o.GetName(), a.Pool)
			}
		}
	}
	for _, o := range w.server.list("WorkloadEndpoint") {
		r := o.(*v1alpha1.WorkloadEndpoint)
		pod := w.server.objects["Pod"][client.ObjectKey{Namespace: namespace, Name: r.Spec.Pod}]
		if pod == nil || set == nil || pod.(*corev1.Pod).Spec.NodeName != r.Spec.Node || !metav1.IsControlledBy(pod, set) {
			continue
		}
		var remembered []string
		if m := w.server.objects["StickyAddress"][client.ObjectKeyFromObject(pod)]; m != nil {
			remembered = m.(*v1alpha1.StickyAddress).Spec.Addresses
		}
		for i, text := range r.Spec.Addresses {
			pool := w.server.objects["IPPool"][client.ObjectKey{Name: r.Spec.Pools[i]}]
			a := netip.MustParsePrefix(text).Addr()
			_, covered := blockOf(w.blocks(), a)
			if pool != nil && pool.GetDeletionTimestamp() == nil && covered && !slices.Contains(remembered, a.String()) {
				w.fail("after quiet: %s has %s, and remembered is %v", pod.GetName(), a, remembered)
			}
		}
	}
}

// comeBack starts the StatefulSet's pods that are missing, each on a machine that works, when all is quiet. They come back with what is remembered for
// them. Reasons why one may not are: a pool gives nothing out now, the address is with a machine that is off, or the controller has forgotten it
// because it can't travel.
func (w *World) comeBack() {
	set := w.server.objects["StatefulSet"][setKey]
	works := w.those(func(m *machine) bool {
		return m.on && m.agent != nil && w.server.objects["Node"][nodeKey(m)] != nil && len(m.pods) < 7
	})
	if set == nil || len(works) == 0 {
		return
	}
	for i, o := range w.server.list("StickyAddress") {
		object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: o.GetName()}}
		if w.server.objects["Pod"][client.ObjectKeyFromObject(object)] != nil || !w.within(sticky.Read(o.(*v1alpha1.StickyAddress))) {
			continue
		}
		m := works[i%len(works)]
		object.Spec.NodeName = m.name
		object.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}
		w.returns(m, object, o.(*v1alpha1.StickyAddress))
	}
}

// returns starts a pod, again and again like kubelet, until it has what is remembered for it.
func (w *World) returns(m *machine, object *corev1.Pod, o *v1alpha1.StickyAddress) {
	key := client.ObjectKeyFromObject(object)
	w.note("%s is to come back on %s", key.Name, m.name)
	for deadline := time.Now().Add(comesBackWithin); len(w.failures) == 0; {
		w.pods++
		p := &pod{name: key.Name, container: fmt.Sprintf("c%d", w.pods)}
		m.start(p, object.DeepCopy())
		for p.state == starting && len(w.failures) == 0 {
			w.flow(time.Second)
		}
		now := w.server.objects["StickyAddress"][key]
		forgotten := now == nil || !slices.Equal(now.(*v1alpha1.StickyAddress).Spec.Addresses, o.Spec.Addresses)
		if p.state == running || forgotten {
			return // checkRemembered has looked at its addresses
		}
		if time.Now().After(deadline) {
			w.fail("after quiet: %s has not come back on %s within %s; remembered is %v", key.Name, m.name, comesBackWithin, o.Spec.Addresses)
		}
		for w.retry() && len(w.failures) == 0 {
			w.flow(time.Second)
		}
		_ = w.server.drop("Pod", key, nil)
	}
}

// within says whether the addresses of a memory can come to any node: their pools give addresses out, and no machine that is off has them.
func (w *World) within(m sticky.Memory) bool {
	blocks := w.blocks()
	for _, a := range m.Addresses {
		o := w.server.objects["IPPool"][client.ObjectKey{Name: a.Pool}]
		if o == nil || o.(*v1alpha1.IPPool).Spec.Disabled || o.GetDeletionTimestamp() != nil {
			return false
		}
		for _, b := range blocks {
			if b.cidr.Contains(a.Addr) && (b.terminating || !w.machine(b.node).on) {
				return false
			}
		}
	}
	return len(m.Addresses) > 0
}
