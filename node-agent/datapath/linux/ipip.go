package linux

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// ownedAlias marks the kernel's tunl0 as taken over by us.
const ownedAlias = "causeway"

// ipipKind is tunl0, which the kernel makes in every namespace once the module is loaded. It is ours while it has our alias.
type ipipKind struct{}

func (ipipKind) device() string                                       { return names.IPIPDevice }
func (ipipKind) ours(l netlink.Link) bool                             { return l.Attrs().Alias == ownedAlias }
func (ipipKind) exclusive() bool                                      { return false }
func (ipipKind) fits(*Applier, netlink.Link, plan.Link) (bool, error) { return true, nil }

// probe asks for a link that the kind's own validation refuses: what comes back tells whether the kind exists, and nothing
// was made (rtnl_newlink calls ops->validate before it makes anything). Loading the module puts a tunl0 into every pod, so
// where the module is only installed, that is enough.
func (ipipKind) probe() bool {
	if _, err := netlink.LinkByName(names.IPIPDevice); err == nil {
		return true
	}
	if installed("ipip") {
		return true
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "causeway-probe"
	const noSuchProtocol = 255
	return errors.Is(netlink.LinkAdd(&netlink.Iptun{LinkAttrs: attrs, Proto: noSuchProtocol}), unix.EINVAL)
}

// build asks for the kind, which loads the module and makes tunl0 in every namespace: then ours exists already. Where
// net.core.fb_tunnels_only_for_init_net keeps it away, the same link is made here: it takes any peer too.
func (ipipKind) build(_ *Applier, want plan.Link) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = want.Name
	return &netlink.Iptun{LinkAttrs: attrs, Proto: unix.IPPROTO_IPIP}, nil
}

func (ipipKind) refused(a *Applier, want plan.Link, cause error) (netlink.Link, error) {
	if found, err := a.nl.LinkByName(want.Name); err == nil {
		return found, nil
	}
	return nil, cause
}

func (ipipKind) claim(a *Applier, have netlink.Link, r *report) {
	if have.Attrs().Alias != ownedAlias {
		r.link(have.Attrs().Name).count(a.nl.LinkSetAlias(have, ownedAlias), "mark link %s as ours", have.Attrs().Name)
	}
}

// remove sets the link down, for it can't be deleted while the module is loaded, unless somebody else has an address there.
func (ipipKind) remove(a *Applier, have netlink.Link, shared bool, r *report) {
	name := have.Attrs().Name
	if have.Attrs().Flags&net.FlagUp != 0 && !shared {
		r.link(name).count(a.nl.LinkSetDown(have), "set %s down", name)
		a.table.forget([]int32{int32(have.Attrs().Index)})
	}
	r.link(name).count(a.nl.LinkSetAlias(have, ""), "give link %s back", name)
}

// installed says whether the running kernel's module folder has a module.
func installed(module string) bool {
	var uts unix.Utsname
	if unix.Uname(&uts) != nil {
		return false
	}
	f, err := os.Open(path.Join("/lib/modules", unix.ByteSliceToString(uts.Release[:]), "modules.dep"))
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // read only
	for lines := bufio.NewScanner(f); lines.Scan(); {
		file, _, _ := strings.Cut(lines.Text(), ":")
		if name, _, ok := strings.Cut(path.Base(file), ".ko"); ok && name == module {
			return true
		}
	}
	return false
}
