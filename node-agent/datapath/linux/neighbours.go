package linux

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// makeNeighbours makes neighbours and FDB entries, and returns what is to be removed later.
func (a *Applier) makeNeighbours(actual *actual, target plan.Plan, r *report) *removal {
	var (
		b     batch
		names []string
		stale = &removal{}
	)
	kept := map[netip.Addr]bool{}
	for _, n := range target.Neighbours {
		kept[n.Address] = true
		l, ok := actual.links[n.Device]
		mac, err := net.ParseMAC(n.MAC)
		if !ok || err != nil || actual.neighbours[n] {
			continue
		}
		b.neighbour(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, familyOf(n.Address), int32(l.Attrs().Index), 0, n.Address, mac)
		names = append(names, "add "+n.String())
	}
	wanted := map[plan.FDBEntry]bool{}
	macs := map[string]bool{}
	for _, f := range target.FDB {
		wanted[f], macs[f.MAC] = true, true
		l, ok := actual.links[f.Device]
		mac, err := net.ParseMAC(f.MAC)
		if !ok || err != nil || actual.fdb[f] {
			continue
		}
		b.neighbour(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, unix.AF_BRIDGE, int32(l.Attrs().Index), unix.NTF_SELF, f.Node, mac)
		names = append(names, "add "+f.String())
	}
	for i, err := range a.conn.do(&b) {
		r.count(err, "%s", names[i])
	}
	for n := range actual.neighbours {
		if l, ok := actual.links[n.Device]; ok && !kept[n.Address] {
			stale.add(n.String(), familyOf(n.Address), int32(l.Attrs().Index), 0, n.Address, nil)
		}
	}
	for f := range actual.fdb {
		// An entry whose node changed was replaced; one MAC has one node.
		if l, ok := actual.links[f.Device]; ok && !wanted[f] && !macs[f.MAC] && f.Node.IsValid() {
			mac, err := net.ParseMAC(f.MAC)
			if err == nil {
				stale.add(f.String(), unix.AF_BRIDGE, int32(l.Attrs().Index), unix.NTF_SELF, f.Node, mac)
			}
		}
	}
	return stale
}

// removal are neighbours that go once no route needs them.
type removal struct {
	batch batch
	names []string
}

func (s *removal) add(name string, family byte, link int32, flags byte, dst netip.Addr, mac []byte) {
	s.batch.neighbour(unix.RTM_DELNEIGH, 0, family, link, flags, dst, mac)
	s.names = append(s.names, name)
}

func (a *Applier) removeNeighbours(s *removal, r *report) {
	for i, err := range a.conn.do(&s.batch) {
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
			r.count(err, "delete %s", s.names[i])
		}
	}
}
