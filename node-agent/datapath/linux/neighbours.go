package linux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/datapath/rtnl"
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

// resolved is what the kernel has of neighbours and FDB entries on our tunnels. A large cluster has many, so they are read where they are
// compared, and forgotten after that.
type resolved struct {
	neighbours map[plan.Neighbour]bool
	fdb        map[plan.FDBEntry]bool
}

// readResolved reads the permanent neighbours and FDB entries of our tunnels.
func (a *Applier) readResolved() (resolved, error) {
	return rtnl.Whole(a.readResolvedOnce)
}

// readResolvedOnce begins with nothing: what an interrupted dump showed may be gone.
func (a *Applier) readResolvedOnce() (resolved, error) {
	found := resolved{map[plan.Neighbour]bool{}, map[plan.FDBEntry]bool{}}
	for _, k := range kinds {
		l, ok := a.last.links[k.device()]
		if !ok || !k.exclusive() || !k.ours(l) {
			continue
		}
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
			if err := a.dumpResolved(family, l, &found); err != nil {
				return found, fmt.Errorf("list neighbours of %s: %w", k.device(), err)
			}
		}
	}
	return found, nil
}

func (a *Applier) dumpResolved(family byte, l netlink.Link, found *resolved) error {
	const size = 12 // struct ndmsg
	index, device := uint32(l.Attrs().Index), l.Attrs().Name
	request := make([]byte, size+8)
	request[0] = family
	order.PutUint16(request[size:], 8)
	order.PutUint16(request[size+2:], unix.NDA_IFINDEX)
	order.PutUint32(request[size+4:], index)
	return a.conn.dump(unix.RTM_GETNEIGH, request, func(body []byte) {
		if len(body) < size || body[0] != family || order.Uint32(body[4:]) != index || order.Uint16(body[8:])&unix.NUD_PERMANENT == 0 {
			return
		}
		var ip netip.Addr
		var mac net.HardwareAddr
		for kind, value := range attributes(body[size:]) {
			switch kind {
			case unix.NDA_DST:
				ip, _ = netip.AddrFromSlice(value)
			case unix.NDA_LLADDR:
				mac = value
			}
		}
		switch own := body[10]&unix.NTF_SELF != 0; {
		case family != unix.AF_BRIDGE:
			found.neighbours[plan.Neighbour{Device: device, Address: ip.Unmap(), MAC: mac.String()}] = true
		case own:
			found.fdb[plan.FDBEntry{Device: device, MAC: mac.String(), Node: ip.Unmap()}] = true
		}
	})
}

// makeNeighbours makes neighbours and FDB entries, and returns what is to be removed once no route needs it.
func (a *Applier) makeNeighbours(target plan.Plan, r *report) *entries {
	var fresh, stale entries
	found, err := a.readResolved()
	if err != nil {
		r.fail(err, "compare the neighbours with the plan")
		return &stale
	}
	kept := map[netip.Addr]bool{}
	for _, n := range target.Neighbours {
		kept[n.Address] = true
		if !found.neighbours[n] {
			fresh.neighbour(a, unix.RTM_NEWNEIGH, n)
		}
	}
	macs := map[string]bool{}
	for _, f := range target.FDB {
		macs[f.MAC] = true
		if !found.fdb[f] {
			fresh.fdb(a, unix.RTM_NEWNEIGH, f)
		}
	}
	fresh.add(a, r)
	for n := range found.neighbours {
		if !kept[n.Address] {
			stale.neighbour(a, unix.RTM_DELNEIGH, n)
		}
	}
	for f := range found.fdb {
		if !macs[f.MAC] { // an entry whose node changed was replaced; one MAC has one node
			stale.fdb(a, unix.RTM_DELNEIGH, f)
		}
	}
	return &stale
}
