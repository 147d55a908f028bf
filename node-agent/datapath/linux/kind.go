package linux

import (
	"context"

	"github.com/vishvananda/netlink"

	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// kind is all that has to be known of one kind of tunnel link to read it, make it and take it away.
type kind interface {
	// device is the link's name.
	device() string
	// probe says whether the kernel can make such a link. It leaves nothing behind.
	probe() bool
	// ours says whether a link of the name is ours.
	ours(l netlink.Link) bool
	// exclusive says that all addresses, neighbours and FDB entries of the link are ours.
	exclusive() bool
	// fits says whether a link that exists can become the wanted one in place. An error says why it must stay as it is.
	fits(a *Applier, have netlink.Link, want plan.Link) (bool, error)
	// build returns the link that has to be added.
	build(a *Applier, want plan.Link) (netlink.Link, error)
	// refused explains why the kernel did not add it, or returns the link that is there in its place.
	refused(a *Applier, want plan.Link, cause error) (netlink.Link, error)
	// claim marks a link as ours, where its name does not say so.
	claim(a *Applier, have netlink.Link, r *report)
	// remove takes the link away. shared says that somebody else has an address there.
	remove(a *Applier, have netlink.Link, shared bool, r *report)
}

// kinds are all that there are. A new one is a line here and a file beside ipip.go.
var kinds = map[plan.LinkKind]kind{plan.KindIPIP: ipipKind{}, plan.KindVXLAN: vxlanKind{}}

// Probe implements datapath.Kernel. Modules are loaded by the attempt if they exist, but for ipip.
func (a *Applier) Probe(ctx context.Context) plan.Capabilities {
	c := plan.Capabilities{Links: make(map[plan.LinkKind]bool, len(kinds)), NFTables: probeNFTables(ctx)}
	for name, k := range kinds {
		c.Links[name] = k.probe()
	}
	return c
}
