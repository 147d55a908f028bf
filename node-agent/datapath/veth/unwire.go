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

// MarkForReaping puts a host end into the group that Reap deletes. It reports whether the link is there.
func (w *Wirer) MarkForReaping(hostInterface string) (bool, error) {
	err := w.setGroup(hostInterface, names.ReapGroup)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("put link %s into group %d: %w", hostInterface, names.ReapGroup, err)
	}
	return true, nil
}

// setGroup names the link in the request itself, which saves asking for its index.
func (w *Wirer) setGroup(name string, group uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// Reap deletes all marked links at once. The kernel waits once for the group, not once for each link.
func (w *Wirer) Reap() error {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(names.ReapGroup)))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete links of group %d: %w", names.ReapGroup, err)
	}
	return nil
}

// Found is a host end of ours that is on the node.
type Found struct {
	HostInterface string
	Alias         Alias
	// Complete is false for a link that an interrupted ADD left: it has no alias, or no route.
	Complete bool
	// Marked is true for a link that waits to be reaped.
	Marked    bool
	Addresses []netip.Addr
	MTU       int
}

// List returns the host ends of ours that are on the node, with the addresses that are routed to them.
func (w *Wirer) List() ([]Found, error) {
	links, err := rtnl.Whole(w.host.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	routed, err := w.routed()
	if err != nil {
		return nil, err
	}
	var out []Found
	for _, link := range links {
		attrs := link.Attrs()
		if link.Type() != "veth" || !names.IsHostInterface(attrs.Name) {
			continue
		}
		alias, ok := ParseAlias(attrs.Alias)
		out = append(out, Found{
			HostInterface: attrs.Name, Alias: alias, Complete: ok && len(routed[attrs.Index]) > 0,
			Marked: attrs.Group == names.ReapGroup, Addresses: routed[attrs.Index], MTU: attrs.MTU,
		})
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
