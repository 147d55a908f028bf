package simulation

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
)

// blockInfo is what an address lies in.
type blockInfo struct {
	cidr        netip.Prefix
	node        string
	terminating bool
	// lent ranges are those that another node has of a block.
	lent bool
}

// blocks returns the blocks, and before them the ranges that they lend.
func (w *World) blocks() (out []blockInfo) {
	for _, o := range w.server.list("IPBlock") {
		b := o.(*v1alpha1.IPBlock)
		cidr := netip.MustParsePrefix(b.Spec.CIDR)
		delete(w.forced, cidr)
		out = append(out, blockInfo{cidr: cidr, node: b.Spec.Node, terminating: b.DeletionTimestamp != nil})
		for _, l := range b.Spec.Lent {
			if l.Granted {
				out = append([]blockInfo{{cidr: netip.MustParsePrefix(l.CIDR), node: l.Node, terminating: b.DeletionTimestamp != nil, lent: true}}, out...)
			}
		}
	}
	return out
}

func blockOf(blocks []blockInfo, a netip.Addr) (blockInfo, bool) {
	i := slices.IndexFunc(blocks, func(b blockInfo) bool { return b.cidr.Contains(a) })
	if i < 0 {
		return blockInfo{}, false
	}
	return blocks[i], true
}

// holder is a link that has an address.
type holder struct{ machine, link string }

// check looks at the invariants that hold at every step.
func (w *World) check() {
	blocks := w.blocks()
	for i, b := range blocks {
		for _, o := range blocks[:i] {
			if b.lent == o.lent && b.cidr.Overlaps(o.cidr) {
				w.fail("blocks %s of %s and %s of %s overlap", o.cidr, o.node, b.cidr, b.node)
			}
		}
	}
	holders := map[netip.Addr]holder{}
	for _, m := range w.machines {
		for _, name := range m.linkNames() {
			for _, a := range m.links[name].addresses {
				if other, taken := holders[a]; taken {
					w.fail("address %s has two holders: %s on %s and %s on %s", a, other.link, other.machine, name, m.name)
				}
				holders[a] = holder{m.name, name}
				w.checkCovered(blocks, m, a)
			}
		}
		w.checkBook(m)
	}
	w.checkRecords(holders)
}

// checkCovered says that an address in use lies in a block of its node, but for one whose finalizer a person has taken.
func (w *World) checkCovered(blocks []blockInfo, m *machine, a netip.Addr) {
	b, covered := blockOf(blocks, a)
	if covered && b.node != m.name {
		w.fail("address %s is in use on %s, but its block %s is of %s", a, m.name, b.cidr, b.node)
	}
	if covered {
		return
	}
	for cidr := range w.forced {
		if cidr.Contains(a) {
			return
		}
	}
	w.fail("address %s is in use on %s and lies in no block", a, m.name)
}

// checkBook says that the book of an agent knows each address that a link has, and gives none out of a block that it has seen
// terminating.
func (w *World) checkBook(m *machine) {
	a := m.agent
	if a == nil || !a.synced.Load() {
		return
	}
	known := map[string]addressbook.Endpoint{}
	before := maps.Clone(a.terminating)
	a.noteTerminating()
	for _, e := range a.book.Endpoints() {
		known[e.Interface] = e
		if e.State == addressbook.Reserved && !a.counted[e.Interface] {
			for _, address := range e.Addresses {
				if cidr, bad := a.inTerminating(before, address); bad {
					w.fail("%s gave out %s of block %s, which it has seen being deleted", m.name, address, cidr)
				}
			}
		}
	}
	a.counted = map[string]bool{}
	for name := range known {
		a.counted[name] = true
	}
	for _, name := range m.linkNames() {
		e := known[name]
		for _, address := range m.links[name].addresses {
			if !slices.Contains(e.Addresses, address) {
				w.fail("address %s is free in the book of %s although its link %s is there", address, m.name, name)
			}
		}
	}
}

// noteTerminating remembers which blocks the agent's watch has shown as being deleted, whatever was made of it.
func (a *agent) noteTerminating() {
	if a.view.Origin() != cluster.Live || a.saving.Load() {
		return // it acts on its checkpoint, or on what it saw before it began to write one
	}
	f := a.own.feed("IPBlock")
	for ; a.read < f.position; a.read++ {
		c := a.w.server.log["IPBlock"][a.read]
		cidr := netip.MustParsePrefix(c.object.(*v1alpha1.IPBlock).Spec.CIDR)
		if c.gone || c.object.GetDeletionTimestamp() == nil {
			delete(a.terminating, cidr)
		} else {
			a.terminating[cidr] = c.object.GetUID()
		}
	}
}

// inTerminating returns the block of an address if the watch has shown this very block as being deleted, both before the last step and
// now. A block of that CIDR that the book knows by another UID has been made since.
func (a *agent) inTerminating(before map[netip.Prefix]types.UID, address netip.Addr) (netip.Prefix, bool) {
	for cidr, uid := range a.terminating {
		if before[cidr] != uid || !cidr.Contains(address) {
			continue
		}
		another := func(b addressbook.BlockState) bool { return b.CIDR == cidr && b.UID != "" && b.UID != string(uid) }
		return cidr, !slices.ContainsFunc(a.book.Blocks(), another)
	}
	return netip.Prefix{}, false
}

// checkRecords says that an address with a record has no other holder. A record that came after its writer had given up may be
// there for a while: the keeper of records removes it.
func (w *World) checkRecords(holders map[netip.Addr]holder) {
	recorded := map[netip.Addr]holder{}
	for _, o := range w.server.list("WorkloadEndpoint") {
		r := o.(*v1alpha1.WorkloadEndpoint)
		if _, late := w.late[r.UID]; late || w.outlived(r) {
			continue
		}
		for _, text := range r.Spec.Addresses {
			a := netip.MustParsePrefix(text).Addr()
			own := holder{r.Spec.Node, r.Spec.Interface}
			if other, there := holders[a]; there && other != own {
				w.fail("address %s has a record of %s on %s, but %s on %s has it", a, own.link, own.machine, other.link, other.machine)
			}
			if other, there := recorded[a]; there {
				w.fail("address %s has two records: of %s on %s and of %s on %s", a, other.link, other.machine, own.link, own.machine)
			}
			recorded[a] = own
		}
	}
}

// outlived reports whether a record is of a dead pod that its agent does not know: the agent has started without the API server
// and with a checkpoint from before the pod, and the pod's link went with its namespace. Such an agent may give the address out
// again before the API server tells it of the record, which it removes then.
func (w *World) outlived(r *v1alpha1.WorkloadEndpoint) bool {
	if w.outlives[r.UID] {
		return true
	}
	m := w.machine(r.Spec.Node)
	if m.agent == nil || !m.agent.remembered || m.links[r.Spec.Interface] != nil || !veth.NamespaceGone(r.Spec.NetworkNamespace) {
		return false
	}
	w.outlives[r.UID] = true
	return true
}

// answered is told of each ADD that has succeeded: the pod's link must be there with the addresses of the answer.
func (w *World) answered(m *machine, p *pod) {
	l := m.links[p.hostEnd()]
	if l == nil || !l.complete || !slices.Equal(l.addresses, p.addresses) {
		w.fail("ADD of %s on %s answered %v, but its link is %+v", p.name, m.name, p.addresses, l)
	}
	w.note("%s of %s has %v", p.name, m.name, p.addresses)
}

// since is how long ago something was, for messages.
func since(t time.Time) time.Duration { return time.Since(t).Round(time.Second) }
