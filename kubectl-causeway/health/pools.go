package health

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// nearlyFull is the part of a pool in use from which on somebody should think of another pool, in percent.
const nearlyFull = 90

func pools(c *objects.Cluster) (out []Pool, troubles, notes []Trouble) {
	for i := range c.Pools.Items {
		p := &c.Pools.Items[i]
		line := Pool{
			Name: p.Name, CIDR: p.Spec.CIDR, Encapsulation: string(p.Spec.Encapsulation), Allocated: p.Status.Allocated, Capacity: p.Status.Capacity,
			Blocks: p.Status.Blocks, Ready: readiness(p.Status.Conditions),
		}
		if now := p.Status.Encapsulation; now != "" && now != p.Spec.Encapsulation {
			line.Encapsulation = fmt.Sprintf("%s (still %s)", p.Spec.Encapsulation, now)
		}
		out = append(out, line)
		bad := poolTroubles(p)
		troubles = append(troubles, bad...)
		notes = append(notes, poolNotes(p, len(bad) > 0)...)
	}
	if len(c.Pools.Items) == 0 && c.Read(objects.IPPools) {
		troubles = append(troubles, Trouble{"IPPool", "There is no IPPool, so no pod can get an address.", "Apply one: kubectl apply -k config/samples."})
	}
	return byName(out, func(p Pool) string { return p.Name }), append(byName(troubles, func(t Trouble) string { return t.Object }), waitingPods(c)...), notes
}

// poolAdvice are the conditions that mean trouble while they have that status, the most telling first.
var poolAdvice = []struct {
	condition string
	status    metav1.ConditionStatus
	advice    string
}{
	{v1alpha1.ConditionConflicting, metav1.ConditionTrue, "Delete the pool and choose another range."},
	{v1alpha1.ConditionOverlapping, metav1.ConditionTrue, "Delete one of the two pools."},
	{v1alpha1.ConditionKernelSupport, metav1.ConditionFalse, "Load the module on these nodes, or change spec.encapsulation of the pool."},
	{v1alpha1.ConditionReservationsValid, metav1.ConditionFalse, "Correct spec.reserved of the pool."},
	{v1alpha1.ConditionExhausted, metav1.ConditionTrue, "Add another pool, or delete pods. See who has the addresses: kubectl causeway ipam show."},
	{v1alpha1.ConditionAggregatesFull, metav1.ConditionTrue, "Let pods run on other racks or zones, choose a longer spec.aggregation.prefixLength, or add a pool."},
	{v1alpha1.ConditionNodesAtLimit, metav1.ConditionTrue, "Raise spec.maxBlocksPerNode of the pool, or let pods run on other nodes."},
	{v1alpha1.ConditionTerminating, metav1.ConditionTrue, "Delete or move the pods that still have its addresses: kubectl causeway ipam show."},
}

// poolTroubles are a pool's conditions that need somebody. Ready is named only where no other condition says why.
func poolTroubles(p *v1alpha1.IPPool) []Trouble {
	var out []Trouble
	for _, a := range poolAdvice {
		if c := meta.FindStatusCondition(p.Status.Conditions, a.condition); c != nil && c.Status == a.status {
			out = append(out, Trouble{"IPPool/" + p.Name, fmt.Sprintf("Pool %s: %s", p.Name, sentence(*c)), a.advice})
		}
	}
	ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case len(out) > 0:
	case ready == nil || ready.ObservedGeneration < p.Generation:
		out = append(out, Trouble{"IPPool/" + p.Name, fmt.Sprintf("Pool %s: The controller has not looked at its newest spec yet.", p.Name),
			"Wait some seconds; if it stays, see whether the controller works."})
	case ready.Status != metav1.ConditionTrue:
		out = append(out, Trouble{"IPPool/" + p.Name, fmt.Sprintf("Pool %s: %s", p.Name, sentence(*ready)),
			"If it stays so, look at the agents of the nodes that the message names: kubectl causeway plan NODE."})
	}
	return out
}

func poolNotes(p *v1alpha1.IPPool, troubled bool) []Trouble {
	var out []Trouble
	if p.Spec.Disabled {
		out = append(out, Trouble{"IPPool/" + p.Name, fmt.Sprintf("Pool %s is disabled: it gives out no new address.", p.Name), ""})
	}
	if n := len(p.Status.NamespacesAtLimit); n > 0 {
		out = append(out, Trouble{"IPPool/" + p.Name, fmt.Sprintf("Pool %s gives no more addresses to %s: namespaceLimits.", p.Name, plural(n, "namespace", "namespaces")), ""})
	}
	if s := p.Status; !troubled && s.Capacity > 0 && float64(s.Allocated) >= float64(s.Capacity)*nearlyFull/100 {
		out = append(out, Trouble{"IPPool/" + p.Name, fmt.Sprintf("Pool %s is nearly full: %d of %d addresses are in use.", p.Name, s.Allocated, s.Capacity),
			"Add another pool before it is."})
	}
	return out
}

// reservations are those with an entry that can't be read.
func reservations(c *objects.Cluster) []Trouble {
	var out []Trouble
	for i := range c.Reservations.Items {
		r := &c.Reservations.Items[i]
		if ready := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Status == metav1.ConditionFalse {
			out = append(out, Trouble{"IPReservation/" + r.Name, fmt.Sprintf("IPReservation %s: %s", r.Name, sentence(*ready)), "Correct spec.addresses."})
		}
	}
	return byName(out, func(t Trouble) string { return t.Object })
}

// waitingPods are those that wait for an address, by node and pool.
func waitingPods(c *objects.Cluster) []Trouble {
	var out []Trouble
	for i := range c.Claims.Items {
		claim := &c.Claims.Items[i]
		for _, p := range claim.Spec.Pools {
			if p.Waiting > 0 {
				out = append(out, Trouble{"BlockClaim/" + claim.Name,
					fmt.Sprintf("%s on node %s for an address of pool %s.", plural(int(p.Waiting), "pod waits", "pods wait"), claim.Name, p.Pool),
					"If this lasts, the pool has no free block (kubectl causeway ipam show) or the controller does not work."})
			}
		}
	}
	return byName(out, func(t Trouble) string { return t.Message })
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
