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
	// ourAddressProtocol marks our addresses (IFA_PROTO, since Linux 5.18).
	ourAddressProtocol = names.RouteProtocol
	ifaProto           = 11
)

// actual is what the kernel showed at one moment.
type actual struct {
	links     map[string]netlink.Link
	addresses map[plan.Address]bool // of our tunnels; true if they bear our mark
}

// tunnels returns the names of the tunnel links of ours that exist, sorted.
func (a *actual) tunnels() []string {
	var found []string
	for _, k := range kinds {
		if l, ok := a.links[k.device()]; ok && k.ours(l) {
			found = append(found, k.device())
		}
	}
	slices.Sort(found)
	return found
}

func (a *actual) names() map[string]bool {
	out := make(map[string]bool, len(a.links))
	for name := range a.links {
		out[name] = true
	}
	return out
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
	disturbed, err := a.readRoutes(q.Everything)
	if err != nil {
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
	o.Tunnels, o.Links, o.Disturbed = actual.tunnels(), actual.names(), disturbed || a.podLostRoutes(actual)
	if q.Fabric {
		if o.Fabric, err = underlay.Fabric(links); err != nil {
			return o, err
		}
	}
	return o, nil
}

// read looks at links, and at what hangs on our tunnels.
func (a *Applier) read() (*actual, error) {
	actual := &actual{links: map[string]netlink.Link{}, addresses: map[plan.Address]bool{}}
	links, err := rtnl.Whole(a.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		actual.links[l.Attrs().Name] = l
	}
	for _, k := range kinds {
		l, ok := actual.links[k.device()]
		if !ok {
			continue
		}
		if err := a.readAddresses(actual, l, k); err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", k.device(), err)
		}
		if k.exclusive() && k.ours(l) {
			a.watch.followTunnel(int32(l.Attrs().Index))
		}
	}
	return actual, nil
}

// readRoutes reports whether somebody else may have changed what is ours.
func (a *Applier) readRoutes(everything bool) (bool, error) {
	heard := a.watch.news.take()
	a.lost = a.lost[:0]
	for _, e := range heard.events {
		a.table.follow(e)
		if e.deleted && e.ofPod {
			a.lost = append(a.lost, e)
		}
	}
	a.table.forget(heard.down)
	a.down = heard.down
	everything = everything || !a.watch.running.Load()
	if everything {
		clear(a.settings)
	}
	a.nft.dirty = a.nft.dirty || heard.nft || everything
	disturbed := everything || heard.lost || heard.disturbed || !a.table.valid
	if everything || heard.lost || !a.table.valid {
		return true, a.table.fill(a.conn)
	}
	return disturbed, nil
}

// podLostRoutes says whether routes of a pod were removed, or its link was down, though the link is still there.
func (a *Applier) podLostRoutes(actual *actual) bool {
	there := make(map[int32]bool, len(actual.links))
	for _, l := range actual.links {
		there[int32(l.Attrs().Index)] = true
	}
	return slices.ContainsFunc(a.down, func(index int32) bool { return there[index] }) ||
		slices.ContainsFunc(a.lost, func(e event) bool { return there[e.route.hop.link] })
}

func (a *Applier) readAddresses(actual *actual, l netlink.Link, k kind) error {
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
				mine := k.exclusive()
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
