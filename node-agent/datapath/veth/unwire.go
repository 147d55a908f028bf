package veth

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/rtnl"
)

// MarkDeleted notes on a host end that its DEL has been answered. The mark outlives the agent. It reports whether the
// link is there.
func (w *Wirer) MarkDeleted(hostInterface string) (bool, error) {
	if !names.IsHostInterface(hostInterface) {
		return false, nil
	}
	var b batch
	b.setGroup(hostInterface, names.DeletedGroup)
	var refused error
	if err := w.onHost(func(c *conn) error {
		errs, err := c.do(&b, nil)
		refused = errors.Join(errs...)
		return err
	}); err != nil {
		return false, fmt.Errorf("put link %s into group %d: %w", hostInterface, names.DeletedGroup, err)
	}
	if errors.Is(refused, unix.ENODEV) {
		return false, nil
	}
	if refused != nil {
		return false, fmt.Errorf("put link %s into group %d: %w", hostInterface, names.DeletedGroup, refused)
	}
	return true, nil
}

// Reap deletes host ends together: the kernel waits once for a group, not once for each link. It returns those that are
// not on the node any more. Only links of ours go: where somebody else's link is in the group, ours are deleted one by one.
// A link of an asked name that is not ours stays and is reported; ours is gone then.
func (w *Wirer) Reap(hostInterfaces []string) (gone []string, err error) {
	if len(hostInterfaces) == 0 {
		return nil, nil
	}
	asked := make(map[string]bool, len(hostInterfaces))
	var mark batch
	for _, name := range hostInterfaces {
		if names.IsHostInterface(name) {
			asked[name] = true
			mark.setGroup(name, names.ReapGroup)
		}
	}
	err = w.onHost(func(c *conn) error {
		if _, err := c.do(&mark, nil); err != nil {
			return err
		}
		ours, foreign, err := inReapGroup(c, asked)
		if err != nil {
			return err
		}
		return deleteGroup(c, ours, foreign)
	})
	if err != nil {
		err = fmt.Errorf("delete links of group %d: %w", names.ReapGroup, err)
	}
	left, listErr := w.links()
	if listErr != nil {
		return nil, errors.Join(err, listErr)
	}
	there := map[string]bool{}
	for _, l := range left {
		there[l.name] = l.ours(l.name)
		if asked[l.name] && !there[l.name] {
			err = errors.Join(err, fmt.Errorf("link %s is not deleted, since it is somebody else's: its alias is %q; remove it, or give it another name", l.name, l.alias))
		}
	}
	for _, name := range hostInterfaces {
		if !there[name] {
			gone = append(gone, name)
		}
	}
	return gone, err
}

// inReapGroup returns the indexes of our links in the group, and whether links of somebody else are there. Those that
// came in by their name alone leave it again.
func inReapGroup(c *conn, asked map[string]bool) (ours []int, foreign bool, err error) {
	links, err := rtnl.Whole(func() ([]hostLink, error) { return veths(c) })
	if err != nil {
		return nil, false, err
	}
	var back batch
	for _, l := range links {
		switch {
		case l.group != names.ReapGroup:
		case l.ours(l.name):
			ours = append(ours, l.index)
		default:
			foreign = true
			if asked[l.name] {
				back.setGroup(l.name, 0)
			}
		}
	}
	if back.count > 0 {
		_, err = c.do(&back, nil)
	}
	return ours, foreign, err
}

func deleteGroup(c *conn, ours []int, foreign bool) error {
	if len(ours) == 0 {
		return nil
	}
	if !foreign {
		var b batch
		b.add(unix.RTM_DELLINK, 0, linkHeader(0, 0, 0), nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(names.ReapGroup)))
		errs, err := c.do(&b, nil)
		if err != nil || errs[0] == nil || errors.Is(errs[0], unix.ENODEV) {
			return err
		}
		// A link that can't be deleted, such as a NIC, is in the group.
	}
	return deleteLinks(c, ours...)
}

// ours reports whether a link is a host end that we have made: it bears the alias of its name's container, or none yet in
// a group of ours.
func (l hostLink) ours(hostInterface string) bool {
	if l.kind != "veth" || !names.IsHostInterface(hostInterface) {
		return false
	}
	if l.alias == "" {
		return l.group == names.MakingGroup || l.group == names.DeletedGroup || l.group == names.ReapGroup
	}
	alias, ok := ParseAlias(l.alias)
	return ok && alias.Names(hostInterface)
}

func veths(c *conn) ([]hostLink, error) {
	var out []hostLink
	kind := nl.NewRtAttr(unix.IFLA_LINKINFO|unix.NLA_F_NESTED, nil)
	kind.AddRtAttr(nl.IFLA_INFO_KIND, []byte("veth"))
	err := c.dump(unix.RTM_GETLINK, func(body []byte) {
		if l, ok := parseLink(body); ok {
			out = append(out, l)
		}
	}, linkHeader(0, 0, 0), nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)), kind)
	return out, err
}

func (w *Wirer) links() ([]hostLink, error) {
	links, err := rtnl.Whole(func() (links []hostLink, err error) {
		err = w.onHost(func(c *conn) error { links, err = veths(c); return err })
		return links, err
	})
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

// Found is a host end of ours that is on the node.
type Found struct {
	HostInterface string
	Alias         Alias
	// Complete is false for a link that an interrupted ADD left.
	Complete bool
	// Deleted is true for a link whose DEL has been answered.
	Deleted bool
	MTU     int
	// Addresses are routed to the link. Only List fills them in.
	Addresses []netip.Addr
}

// Links returns the host ends of ours that are on the node.
func (w *Wirer) Links() ([]Found, error) {
	links, err := w.links()
	if err != nil {
		return nil, err
	}
	var out []Found
	for _, l := range links {
		if l.ours(l.name) {
			out = append(out, l.found())
		}
	}
	return out, nil
}

func (l hostLink) found() Found {
	alias, ok := ParseAlias(l.alias)
	return Found{
		HostInterface: l.name, Alias: alias, MTU: l.mtu,
		Complete: ok && l.up && l.group != names.MakingGroup, Deleted: l.group == names.DeletedGroup || l.group == names.ReapGroup,
	}
}

// List returns the host ends of ours that are on the node, with the addresses that are routed to them. One without a
// route is not complete.
func (w *Wirer) List() ([]Found, error) {
	links, err := w.links()
	if err != nil {
		return nil, err
	}
	routed, err := w.routed()
	if err != nil {
		return nil, err
	}
	var out []Found
	for _, l := range links {
		if !l.ours(l.name) {
			continue
		}
		f := l.found()
		f.Addresses = routed[l.index]
		f.Complete = f.Complete && len(f.Addresses) > 0
		out = append(out, f)
	}
	return out, nil
}

// routed returns the single addresses that routes of ours lead to, by link.
func (w *Wirer) routed() (map[int][]netip.Addr, error) {
	out := map[int][]netip.Addr{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := rtnl.Whole(func() ([]netlink.Route, error) {
			return w.host.RouteListFiltered(family, &netlink.Route{Protocol: names.RouteProtocol}, netlink.RT_FILTER_PROTOCOL)
		})
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst == nil || r.Gw != nil {
				continue
			}
			a, ok := netip.AddrFromSlice(r.Dst.IP)
			if ones, bits := r.Dst.Mask.Size(); ok && ones == bits {
				out[r.LinkIndex] = append(out[r.LinkIndex], a.Unmap())
			}
		}
	}
	return out, nil
}
