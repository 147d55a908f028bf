package linux

import (
	"errors"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// makeLinks makes the planned tunnel links, and adjusts those that exist.
func (a *Applier) makeLinks(target plan.Plan, r *report) {
	for _, want := range target.Links {
		k, have := kinds[want.Kind], a.last.links[want.Name]
		if have != nil {
			fits, err := k.fits(a, have, want)
			if err != nil {
				r.link(want.Name).fail(err, "make link %s", want.Name)
				continue
			}
			if !fits {
				if err := a.deleteLink(a.last, have); err != nil {
					r.link(want.Name).fail(err, "delete link %s to make it anew", want.Name)
					continue
				}
				r.Changes++
				have = nil
			}
		}
		if have == nil {
			if have = a.makeLink(k, want, r); have == nil {
				continue
			}
			a.last.links[want.Name] = have
		}
		k.claim(a, have, r)
		a.adjust(k, have, want, r)
	}
}

func (a *Applier) makeLink(k kind, want plan.Link, r *report) netlink.Link {
	link, err := k.build(a, want)
	if err != nil {
		r.link(want.Name).fail(err, "make link %s", want.Name)
		return nil
	}
	if err := a.nl.LinkAdd(link); err != nil {
		found, err := k.refused(a, want, err)
		if err != nil {
			r.link(want.Name).fail(err, "make link %s", want.Name)
			return nil
		}
		return found
	}
	r.Changes++
	made, err := a.nl.LinkByName(want.Name)
	if err != nil {
		r.link(want.Name).fail(err, "find link %s after it was made", want.Name)
		return nil
	}
	delete(a.settings, "net/ipv4/conf/"+want.Name+"/rp_filter")
	return made
}

// adjust sets what can be changed in place.
func (a *Applier) adjust(k kind, have netlink.Link, want plan.Link, r *report) {
	of := r.link(want.Name)
	if want.MTU > 0 && have.Attrs().MTU != want.MTU {
		of.count(a.nl.LinkSetMTU(have, want.MTU), "set mtu of %s to %d", want.Name, want.MTU)
	}
	if have.Attrs().Flags&net.FlagUp == 0 {
		of.count(a.nl.LinkSetUp(have), "set %s up", want.Name)
	}
	if k.exclusive() {
		a.watch.followTunnel(int32(have.Attrs().Index))
	}
}

// removeLinks takes away tunnels that nothing uses.
func (a *Applier) removeLinks(target plan.Plan, r *report) {
	for _, k := range kinds {
		l := a.last.links[k.device()]
		if l == nil || !k.ours(l) || planned(target, k.device()) {
			continue
		}
		shared := false
		for have, mine := range a.last.addresses {
			shared = shared || (have.Device == k.device() && !mine)
		}
		k.remove(a, l, shared, r)
	}
}

// deleteLink deletes one of ours, and with it all that hung on it.
func (a *Applier) deleteLink(actual *actual, l netlink.Link) error {
	if err := a.nl.LinkDel(l); err != nil {
		return err //nolint:wrapcheck // the caller says what was attempted
	}
	a.table.forget([]int32{int32(l.Attrs().Index)})
	name := l.Attrs().Name
	delete(actual.links, name)
	for address := range actual.addresses {
		if address.Device == name {
			delete(actual.addresses, address)
		}
	}
	return nil
}

func (a *Applier) makeAddresses(target plan.Plan, r *report) {
	for _, want := range target.Addresses {
		l, ok := a.last.links[want.Device]
		if _, there := a.last.addresses[want]; there || !ok {
			continue // a missing link is reported once
		}
		var b batch
		b.address(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, int32(l.Attrs().Index), want.Prefix)
		r.link(want.Device).count(a.conn.do(&b)[0], "add %s", want)
	}
}

// removeAddresses removes our addresses that are not planned any more, after the new ones have come.
func (a *Applier) removeAddresses(target plan.Plan, r *report) {
	wanted := map[plan.Address]bool{}
	for _, w := range target.Addresses {
		wanted[w] = true
	}
	for have, mine := range a.last.addresses {
		l, ok := a.last.links[have.Device]
		if !ok || !mine || wanted[have] {
			continue
		}
		var b batch
		b.address(unix.RTM_DELADDR, 0, int32(l.Attrs().Index), have.Prefix)
		if err := a.conn.do(&b)[0]; !errors.Is(err, unix.EADDRNOTAVAIL) {
			r.link(have.Device).count(err, "delete %s", have)
		}
	}
}
