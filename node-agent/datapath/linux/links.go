package linux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// makeLinks makes the planned tunnel links, and adjusts those that exist.
func (a *Applier) makeLinks(actual *actual, target plan.Plan, r *report) {
	for _, want := range target.Links {
		have := actual.links[want.Name]
		if have != nil && want.Kind == plan.KindVXLAN {
			if have.Type() != string(want.Kind) {
				r.fail(fmt.Errorf("the node has a link of that name and type %s, which is not ours; rename or delete it", have.Type()), "make link %s", want.Name)
				continue
			}
			// What a packet looks like can't be changed in place.
			if a.differs(actual, have, want) {
				if err := a.deleteLink(actual, have); err != nil {
					r.fail(err, "delete link %s to make it anew", want.Name)
					continue
				}
				r.Changes++
				have = nil
			}
		}
		if have == nil {
			if have = a.makeLink(actual, want, r); have == nil {
				continue
			}
			actual.links[want.Name] = have
		}
		a.adjust(have, want, r)
	}
}

func (a *Applier) differs(actual *actual, have netlink.Link, want plan.Link) bool {
	v, ok := have.(*netlink.Vxlan)
	if !ok {
		return true
	}
	local, _ := netip.AddrFromSlice(v.SrcAddr)
	parent, err := a.index(actual, want.Parent)
	return v.VxlanId != int(want.VNI) || v.Port != int(want.Port) || local.Unmap() != want.Local || v.Learning || v.FlowBased ||
		v.HardwareAddr.String() != want.MAC || (err == nil && v.VtepDevIndex != int(parent))
}

func (a *Applier) makeLink(actual *actual, want plan.Link, r *report) netlink.Link {
	var link netlink.Link
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = want.Name, want.MTU
	switch want.Kind {
	case plan.KindVXLAN:
		parent, err := a.index(actual, want.Parent)
		if err != nil {
			r.fail(err, "make link %s", want.Name)
			return nil
		}
		mac, err := net.ParseMAC(want.MAC)
		if err != nil {
			r.fail(err, "make link %s", want.Name)
			return nil
		}
		attrs.HardwareAddr = mac
		link = &netlink.Vxlan{LinkAttrs: attrs, VxlanId: int(want.VNI), Port: int(want.Port), SrcAddr: want.Local.AsSlice(), VtepDevIndex: int(parent)}
	case plan.KindIPIP:
		// To ask for the kind loads the module, and that makes tunl0 in every namespace: then ours exists already. Where
		// net.core.fb_tunnels_only_for_init_net keeps it away, the same link is made here: it takes any peer too.
		attrs.MTU = 0
		link = &netlink.Iptun{LinkAttrs: attrs, Proto: unix.IPPROTO_IPIP}
	}
	err := a.nl.LinkAdd(link)
	if err != nil {
		if found, findErr := a.nl.LinkByName(want.Name); findErr == nil && want.Kind == plan.KindIPIP {
			return found
		}
		if errors.Is(err, unix.EEXIST) && want.Kind == plan.KindVXLAN {
			err = fmt.Errorf("another VXLAN link has VNI %d and UDP port %d; change that one, or Causeway's: %w", want.VNI, want.Port, err)
		}
		r.fail(err, "make link %s", want.Name)
		return nil
	}
	r.Changes++
	made, err := a.nl.LinkByName(want.Name)
	if err != nil {
		r.fail(err, "find link %s after it was made", want.Name)
		return nil
	}
	delete(a.settings, "net/ipv4/conf/"+want.Name+"/rp_filter")
	return made
}

// adjust sets what can be changed in place.
func (a *Applier) adjust(have netlink.Link, want plan.Link, r *report) {
	if want.Kind == plan.KindIPIP && have.Attrs().Alias != ownedAlias {
		r.count(a.nl.LinkSetAlias(have, ownedAlias), "mark link %s as ours", want.Name)
	}
	if want.MTU > 0 && have.Attrs().MTU != want.MTU {
		r.count(a.nl.LinkSetMTU(have, want.MTU), "set mtu of %s to %d", want.Name, want.MTU)
	}
	if have.Attrs().Flags&net.FlagUp == 0 {
		r.count(a.nl.LinkSetUp(have), "set %s up", want.Name)
	}
	if want.Kind == plan.KindVXLAN {
		a.watch.vxlan.Store(int32(have.Attrs().Index))
	}
}

// removeLinks takes away tunnels that nothing uses. tunl0 can't be deleted while the module is loaded: it is set down,
// unless somebody else has an address there.
func (a *Applier) removeLinks(actual *actual, target plan.Plan, r *report) {
	for _, name := range actual.tunnels() {
		if planned(target, name) {
			continue
		}
		l := actual.links[name]
		if name == names.VXLANDevice {
			r.count(a.deleteLink(actual, l), "delete link %s", name)
			continue
		}
		shared := false
		for have, mine := range actual.addresses {
			shared = shared || (have.Device == name && !mine)
		}
		if l.Attrs().Flags&net.FlagUp != 0 && !shared {
			r.count(a.nl.LinkSetDown(l), "set %s down", name)
			a.table.forget([]int32{int32(l.Attrs().Index)})
		}
		r.count(a.nl.LinkSetAlias(l, ""), "give link %s back", name)
	}
}

// deleteLink deletes one of ours, and with it all that hung on it.
func (a *Applier) deleteLink(actual *actual, l netlink.Link) error {
	if err := a.nl.LinkDel(l); err != nil {
		return err
	}
	a.table.forget([]int32{int32(l.Attrs().Index)})
	delete(actual.links, l.Attrs().Name)
	for address := range actual.addresses {
		if address.Device == l.Attrs().Name {
			delete(actual.addresses, address)
		}
	}
	clear(actual.neighbours)
	clear(actual.fdb)
	return nil
}

func (a *Applier) makeAddresses(actual *actual, target plan.Plan, r *report) {
	for _, want := range target.Addresses {
		if _, there := actual.addresses[want]; there {
			continue
		}
		l, ok := actual.links[want.Device]
		if !ok {
			continue // reported with the link
		}
		var b batch
		b.address(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, int32(l.Attrs().Index), want.Prefix)
		r.count(a.conn.do(&b)[0], "add %s", want)
	}
}

// removeAddresses removes our addresses that are not planned any more, after the new ones have come.
func (a *Applier) removeAddresses(actual *actual, target plan.Plan, r *report) {
	wanted := map[plan.Address]bool{}
	for _, w := range target.Addresses {
		wanted[w] = true
	}
	for have, mine := range actual.addresses {
		l, ok := actual.links[have.Device]
		if !ok || !mine || wanted[have] {
			continue
		}
		var b batch
		b.address(unix.RTM_DELADDR, 0, int32(l.Attrs().Index), have.Prefix)
		if err := a.conn.do(&b)[0]; !errors.Is(err, unix.EADDRNOTAVAIL) {
			r.count(err, "delete %s", have)
		}
	}
}
