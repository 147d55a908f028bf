package linux

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/node-agent/datapath/rtnl"
	"github.com/causeway-net/causeway/node-agent/datapath/underlay"
)

const (
	// ownedAlias marks the kernel's tunl0 as taken over by us.
	ownedAlias = "causeway"
	// ourAddressProtocol marks our addresses (IFA_PROTO, since Linux 5.18).
	ourAddressProtocol = names.RouteProtocol
	ifaProto           = 11
)

// actual is what the kernel showed at one moment.
type actual struct {
	links      map[string]netlink.Link
	addresses  map[plan.Address]bool // of our tunnels; true if they bear our mark
	neighbours map[plan.Neighbour]bool
	fdb        map[plan.FDBEntry]bool
}

// tunnels returns the names of the tunnel links of ours that exist.
func (a *actual) tunnels() []string {
	var found []string
	for _, name := range []string{names.IPIPDevice, names.VXLANDevice} {
		if l, ok := a.links[name]; ok && owned(l) {
			found = append(found, name)
		}
	}
	return found
}

func (a *actual) names() map[string]bool {
	out := make(map[string]bool, len(a.links))
	for name := range a.links {
		out[name] = true
	}
	return out
}

// owned says whether a tunnel link is ours. tunl0 belongs to the kernel; it is ours while it has our alias.
func owned(l netlink.Link) bool {
	switch l.Attrs().Name {
	case names.VXLANDevice:
		return l.Type() == string(plan.KindVXLAN)
	case names.IPIPDevice:
		return l.Attrs().Alias == ownedAlias
	}
	return false
}

// Observe implements datapath.Kernel. Routes are dumped at the first time, where everything is asked for, and where the
// notifications do not tell enough; else they are known.
func (a *Applier) Observe(ctx context.Context, q kernel.Query) (kernel.Observed, error) {
	o, err := a.observe(ctx, q)
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = fmt.Errorf("%w: %w", kernel.ErrBusy, err)
	}
	return o, err
}

func (a *Applier) observe(ctx context.Context, q kernel.Query) (kernel.Observed, error) {
	if err := ctx.Err(); err != nil {
		return kernel.Observed{}, err
	}
	if err := a.readRoutes(q.Everything); err != nil {
		return kernel.Observed{}, fmt.Errorf("read routes: %w", err)
	}
	actual, err := a.read()
	if err != nil {
		return kernel.Observed{}, err
	}
	a.last = actual
	links := slices.Collect(maps.Values(actual.links))
	o, err := underlay.Find(links, q.NodeAddresses, a.choice)
	if err != nil {
		return o, err
	}
	underlay.SetMTU(&o, a.mtu)
	o.Tunnels, o.Links = actual.tunnels(), actual.names()
	if q.Fabric {
		if o.Fabric, err = underlay.Fabric(links); err != nil {
			return o, err
		}
	}
	return o, nil
}

// read looks at links, and at what hangs on our tunnels.
func (a *Applier) read() (*actual, error) {
	actual := &actual{
		links: map[string]netlink.Link{}, addresses: map[plan.Address]bool{},
		neighbours: map[plan.Neighbour]bool{}, fdb: map[plan.FDBEntry]bool{},
	}
	links, err := rtnl.Whole(a.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		actual.links[l.Attrs().Name] = l
	}
	for _, name := range []string{names.IPIPDevice, names.VXLANDevice} {
		if l, ok := actual.links[name]; ok {
			if err := a.readAddresses(actual, l); err != nil {
				return nil, fmt.Errorf("list addresses of %s: %w", name, err)
			}
		}
	}
	if l, ok := actual.links[names.VXLANDevice]; ok && owned(l) {
		a.watch.vxlan.Store(int32(l.Attrs().Index))
		if err := a.readNeighbours(actual, l); err != nil {
			return nil, fmt.Errorf("list neighbours of %s: %w", names.VXLANDevice, err)
		}
	}
	return actual, nil
}

func (a *Applier) readRoutes(everything bool) error {
	heard := a.watch.news.take()
	for _, e := range heard.events {
		a.table.follow(e)
	}
	a.table.forget(heard.down)
	everything = everything || !a.watch.running.Load()
	if everything {
		clear(a.settings)
	}
	a.nft.dirty = a.nft.dirty || heard.nft || everything
	if everything || heard.lost || !a.table.valid {
		return a.table.fill(a.conn)
	}
	return nil
}

func (a *Applier) readAddresses(actual *actual, l netlink.Link) error {
	const size = 8 // struct ifaddrmsg
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		request := make([]byte, size)
		request[0] = family
		order.PutUint32(request[4:], uint32(l.Attrs().Index))
		_, err := rtnl.Whole(func() (struct{}, error) {
			return struct{}{}, a.conn.dump(unix.RTM_GETADDR, request, func(body []byte) {
				if len(body) < size || int(order.Uint32(body[4:])) != l.Attrs().Index || body[3] == unix.RT_SCOPE_LINK {
					return
				}
				var local, address netip.Addr
				mine := l.Attrs().Name == names.VXLANDevice
				for kind, value := range attributes(body[size:]) {
					switch kind {
					case unix.IFA_LOCAL:
						local, _ = netip.AddrFromSlice(value)
					case unix.IFA_ADDRESS:
						address, _ = netip.AddrFromSlice(value)
					case ifaProto:
						mine = mine || (len(value) > 0 && value[0] == ourAddressProtocol)
					}
				}
				if !local.IsValid() {
					local = address
				}
				actual.addresses[plan.Address{Device: l.Attrs().Name, Prefix: netip.PrefixFrom(local, int(body[1]))}] = mine
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *Applier) readNeighbours(actual *actual, l netlink.Link) error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
		list, err := rtnl.Whole(func() ([]netlink.Neigh, error) { return a.nl.NeighList(l.Attrs().Index, family) })
		if err != nil {
			return err
		}
		for _, n := range list {
			if n.State&unix.NUD_PERMANENT == 0 {
				continue
			}
			ip, _ := netip.AddrFromSlice(n.IP)
			if family != unix.AF_BRIDGE {
				actual.neighbours[plan.Neighbour{Device: l.Attrs().Name, Address: ip.Unmap(), MAC: n.HardwareAddr.String()}] = true
			} else if n.Flags&unix.NTF_SELF != 0 {
				actual.fdb[plan.FDBEntry{Device: l.Attrs().Name, MAC: n.HardwareAddr.String(), Node: ip.Unmap()}] = true
			}
		}
	}
	return nil
}

// index finds a link, also one that came after the look.
func (a *Applier) index(actual *actual, name string) (int32, error) {
	if l, ok := actual.links[name]; ok {
		return int32(l.Attrs().Index), nil
	}
	l, err := a.nl.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("find link %s: %w", name, err)
	}
	actual.links[name] = l
	return int32(l.Attrs().Index), nil
}

// planned says whether the plan has a link of a name.
func planned(target plan.Plan, name string) bool {
	return slices.ContainsFunc(target.Links, func(l plan.Link) bool { return l.Name == name })
}
