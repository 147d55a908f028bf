package linux

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// entries are neighbours and FDB entries that are sent to the kernel together.
type entries struct {
	batch   batch
	names   []string
	devices []string
}

func (e *entries) neighbour(a *Applier, kind uint16, n plan.Neighbour) {
	mac, err := net.ParseMAC(n.MAC)
	if kind == unix.RTM_DELNEIGH {
		mac = nil
	}
	if l, ok := a.last.links[n.Device]; ok && err == nil {
		e.batch.neighbour(kind, flagsOf(kind), familyOf(n.Address), int32(l.Attrs().Index), 0, n.Address, mac)
		e.names, e.devices = append(e.names, n.String()), append(e.devices, n.Device)
	}
}

func (e *entries) fdb(a *Applier, kind uint16, f plan.FDBEntry) {
	mac, err := net.ParseMAC(f.MAC)
	if l, ok := a.last.links[f.Device]; ok && err == nil && f.Node.IsValid() {
		e.batch.neighbour(kind, flagsOf(kind), unix.AF_BRIDGE, int32(l.Attrs().Index), unix.NTF_SELF, f.Node, mac)
		e.names, e.devices = append(e.names, f.String()), append(e.devices, f.Device)
	}
}

func flagsOf(kind uint16) int {
	if kind == unix.RTM_NEWNEIGH {
		return unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	return 0
}

func (e *entries) add(a *Applier, r *report) {
	for i, err := range a.conn.do(&e.batch) {
		r.link(e.devices[i]).count(err, "add %s", e.names[i])
	}
}

func (e *entries) remove(a *Applier, r *report) {
	for i, err := range a.conn.do(&e.batch) {
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
			r.link(e.devices[i]).count(err, "delete %s", e.names[i])
		}
	}
}

// makeNeighbours makes neighbours and FDB entries, and returns what is to be removed once no route needs it.
func (a *Applier) makeNeighbours(target plan.Plan, r *report) *entries {
	var fresh, stale entries
	kept := map[netip.Addr]bool{}
	for _, n := range target.Neighbours {
		kept[n.Address] = true
		if !a.last.neighbours[n] {
			fresh.neighbour(a, unix.RTM_NEWNEIGH, n)
		}
	}
	macs := map[string]bool{}
	for _, f := range target.FDB {
		macs[f.MAC] = true
		if !a.last.fdb[f] {
			fresh.fdb(a, unix.RTM_NEWNEIGH, f)
		}
	}
	fresh.add(a, r)
	for n := range a.last.neighbours {
		if !kept[n.Address] {
			stale.neighbour(a, unix.RTM_DELNEIGH, n)
		}
	}
	for f := range a.last.fdb {
		if !macs[f.MAC] { // an entry whose node changed was replaced; one MAC has one node
			stale.fdb(a, unix.RTM_DELNEIGH, f)
		}
	}
	return &stale
}
