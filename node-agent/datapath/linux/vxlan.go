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

// vxlanKind is a link of our own. What a packet looks like can't be changed in place, so it is made anew for that.
type vxlanKind struct{}

func (vxlanKind) device() string                        { return names.VXLANDevice }
func (vxlanKind) ours(l netlink.Link) bool              { return l.Type() == string(plan.KindVXLAN) }
func (vxlanKind) exclusive() bool                       { return true }
func (vxlanKind) claim(*Applier, netlink.Link, *report) {}

// probe asks for a link that the kind's own validation refuses.
func (vxlanKind) probe() bool {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "causeway-probe"
	const tooBig = 1 << 24
	return errors.Is(netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: tooBig}), unix.ERANGE)
}

func (k vxlanKind) fits(a *Applier, have netlink.Link, want plan.Link) (bool, error) {
	if !k.ours(have) {
		return false, fmt.Errorf("the node has a link of that name and type %s, which is not ours; rename or delete it", have.Type())
	}
	v, isVXLAN := have.(*netlink.Vxlan)
	s, known := want.Settings.(plan.VXLANSettings)
	if !isVXLAN || !known {
		return false, nil
	}
	local, _ := netip.AddrFromSlice(v.SrcAddr)
	parent, err := a.index(a.last, s.Parent)
	sameParent := err != nil || v.VtepDevIndex == int(parent)
	return sameParent && v.VxlanId == int(s.VNI) && v.Port == int(s.Port) && local.Unmap() == s.Local && !v.Learning && !v.FlowBased &&
		v.HardwareAddr.String() == s.MAC, nil
}

func (vxlanKind) build(a *Applier, want plan.Link) (netlink.Link, error) {
	s, known := want.Settings.(plan.VXLANSettings)
	if !known {
		return nil, fmt.Errorf("the plan has no settings for it")
	}
	parent, err := a.index(a.last, s.Parent)
	if err != nil {
		return nil, err
	}
	mac, err := net.ParseMAC(s.MAC)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what is wrong with which text
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = want.Name, want.MTU, mac
	return &netlink.Vxlan{LinkAttrs: attrs, VxlanId: int(s.VNI), Port: int(s.Port), SrcAddr: s.Local.AsSlice(), VtepDevIndex: int(parent)}, nil
}

func (vxlanKind) refused(_ *Applier, want plan.Link, cause error) (netlink.Link, error) {
	if s, known := want.Settings.(plan.VXLANSettings); known && errors.Is(cause, unix.EEXIST) {
		cause = fmt.Errorf("another VXLAN link has VNI %d and UDP port %d; change that one, or Causeway's: %w", s.VNI, s.Port, cause)
	}
	return nil, cause
}

func (vxlanKind) remove(a *Applier, have netlink.Link, _ bool, r *report) {
	r.link(have.Attrs().Name).count(a.deleteLink(a.last, have), "delete link %s", have.Attrs().Name)
}
