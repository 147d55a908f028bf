package simulation

import (
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// pools are those that people make: one with small blocks, one that overlaps it, one of IPv6, and one with few blocks.
var pools = []struct {
	name, cidr string
	bits       int32
}{{"small", "10.0.0.0/27", 30}, {"few", "10.0.1.0/28", 29}, {"six", "fd00::/122", 125}, {"overlap", "10.0.0.16/28", 30}}

func nodeKey(m *machine) client.ObjectKey { return client.ObjectKey{Name: m.name} }

// doPerson does what a person does with kubectl.
func (w *World) doPerson(number uint64) {
	which := number >> 8
	switch number % 13 {
	case 0, 1, 2:
		w.createPool(int(which % uint64(len(pools))))
	case 3:
		if o, ok := w.one("IPPool", which); ok && number>>40%2 == 0 {
			w.note("a person deletes pool %s", o.GetName())
			_ = w.server.drop("IPPool", keyOf(o), nil)
		}
	case 4, 5:
		if o, ok := w.one("IPPool", which); ok {
			w.edit(o.DeepCopyObject().(*v1alpha1.IPPool), number>>40%2 == 0)
		}
	case 6, 7:
		if o, ok := w.one("IPBlock", which); ok {
			w.note("a person deletes block %s", o.GetName())
			_ = w.server.drop("IPBlock", keyOf(o), nil)
		}
	case 8:
		if o, ok := w.one("IPBlock", which); ok && w.isHeld(o.(*v1alpha1.IPBlock)) {
			w.force(o.(*v1alpha1.IPBlock))
		}
	case 9:
		if o, ok := w.one("WorkloadEndpoint", which); ok {
			w.note("a person deletes record %s", o.GetName())
			_ = w.server.drop("WorkloadEndpoint", keyOf(o), nil)
		}
	case 10:
		if o, ok := w.one("NodeNetwork", which); ok {
			w.note("a person deletes NodeNetwork %s", o.GetName())
			_ = w.server.drop("NodeNetwork", keyOf(o), nil)
		}
	case 11:
		w.nodeObject(which)
	case 12:
		w.statefulSet(number>>40%4 == 0)
	}
}

// one chooses an object of a kind.
func (w *World) one(kind string, number uint64) (client.Object, bool) {
	return pick(w.server.list(kind), number, func(o client.Object) string { return o.GetNamespace() + "/" + o.GetName() })
}

func (w *World) createPool(i int) {
	p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: pools[i].name}, Spec: v1alpha1.IPPoolSpec{
		CIDR: pools[i].cidr, BlockSize: &pools[i].bits, Encapsulation: v1alpha1.EncapsulationNone, AssignmentMode: v1alpha1.AssignmentAutomatic, MaxBlocksPerNode: 64,
		FixedAddresses: v1alpha1.FixedAddressesAllowed, Sticky: v1alpha1.StickyStatefulSet,
	}}
	if _, err := w.server.create(p, false); err == nil {
		w.note("a person creates pool %s", p.Name)
	}
}

// edit disables a pool, enables it again, or changes its encapsulation.
func (w *World) edit(p *v1alpha1.IPPool, encapsulation bool) {
	switch {
	case !encapsulation:
		p.Spec.Disabled = !p.Spec.Disabled
	case p.Spec.Encapsulation == v1alpha1.EncapsulationNone:
		p.Spec.Encapsulation = v1alpha1.EncapsulationVXLAN
	default:
		p.Spec.Encapsulation = v1alpha1.EncapsulationNone
	}
	w.note("a person edits pool %s: disabled %v, %s", p.Name, p.Spec.Disabled, p.Spec.Encapsulation)
	_, _ = w.server.update(p, false)
}

// force deletes a block and takes its finalizer, so that it vanishes.
func (w *World) force(b *v1alpha1.IPBlock) {
	w.note("a person deletes block %s and takes its finalizer", b.Name)
	w.forced[netip.MustParsePrefix(b.Spec.CIDR)] = struct{}{}
	_ = w.server.drop("IPBlock", keyOf(b), nil)
	if left := w.server.objects["IPBlock"][keyOf(b)]; left != nil {
		left = left.DeepCopyObject().(client.Object)
		left.SetFinalizers(nil)
		_, _ = w.server.update(left, false)
	}
}

// isHeld reports whether a block's node has said that it holds the block and can say so again, and every controller has heard it. People must
// look for that before they take a finalizer by force.
func (w *World) isHeld(b *v1alpha1.IPBlock) bool {
	m := w.machine(b.Spec.Node)
	if m.agent == nil || m.split || !claims(w.server.objects["BlockClaim"][nodeKey(m)], b) {
		return false
	}
	return !slices.ContainsFunc(w.leaders, func(l *leader) bool { return !claims(l.cache.feed("BlockClaim").shown[nodeKey(m)], b) })
}

// claims reports whether a BlockClaim lists a block as held.
func claims(o client.Object, b *v1alpha1.IPBlock) bool {
	claim, ok := o.(*v1alpha1.BlockClaim)
	return ok && slices.ContainsFunc(claim.Spec.Pools, func(p v1alpha1.PoolClaim) bool { return slices.Contains(p.Held, b.Spec.CIDR) })
}

// nodeObject deletes a machine's Node or makes it again. One that stays away from the API server keeps its Node: that is what
// the docs ask of people.
func (w *World) nodeObject(number uint64) {
	m, _ := pick(w.machines, number, machineKey)
	if w.server.objects["Node"][nodeKey(m)] == nil {
		w.note("a person makes Node %s again", m.name)
		w.createNode(m)
		return
	}
	if m.on && (m.split || m.agent == nil || !m.agent.renewing()) {
		return
	}
	w.note("a person deletes Node %s", m.name)
	_ = w.server.drop("Node", nodeKey(m), nil)
	if m.on {
		w.absent[m.name] = true
	}
}

// renewing reports whether an agent has renewed its lease in this run, a short time ago.
func (a *agent) renewing() bool {
	return time.Since(a.lease.Renewed()) < 15*time.Second && a.synced.Load()
}
