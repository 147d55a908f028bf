package addresses

import (
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// remembered returns what remembers an address, or nil.
func remembered(c *objects.Cluster, a netip.Addr) *v1alpha1.StickyAddress {
	for i := range c.Sticky.Items {
		for _, one := range sticky.Read(&c.Sticky.Items[i]).Addresses {
			if one.Addr == a {
				return &c.Sticky.Items[i]
			}
		}
	}
	return nil
}

// expected counts the addresses of a pool that are remembered and that no pod has.
func expected(c *objects.Cluster, pool string, used map[netip.Addr]bool) (n int64) {
	for i := range c.Sticky.Items {
		for _, a := range sticky.Read(&c.Sticky.Items[i]).Addresses {
			if a.Pool == pool && !used[a.Addr] {
				n++
			}
		}
	}
	return n
}

// checkRemembered compares what is remembered for pods with who has it.
func (k *check) checkRemembered(all []Holder) {
	holderOf := map[netip.Addr]Holder{}
	for _, h := range all {
		holderOf[h.Address] = h
	}
	for i := range k.c.Sticky.Items {
		o := &k.c.Sticky.Items[i]
		pod := o.Namespace + "/" + o.Name
		for _, a := range sticky.Read(o).Addresses {
			if h, has := holderOf[a.Addr]; has && h.Pod != pod {
				k.add(Disagreement{RememberedForOther, a.Addr.String(), fmt.Sprintf("Address %s is remembered for pod %s of StatefulSet %s, but pod %s on node %s has it.", a.Addr, pod, o.Spec.StatefulSet, h.Pod, h.Node),
					fmt.Sprintf("The controller forgets it in a moment, and %s gets another address. If this lasts, see whether the controller works: kubectl causeway status.", pod), nil})
			}
		}
	}
}
