package veth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// Wirer works in the network namespace that it was opened in.
type Wirer struct {
	host *netlink.Handle
}

// NewWirer opens the host side.
func NewWirer() (*Wirer, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &Wirer{host: h}, nil
}

// Close ends the use of the host side.
func (w *Wirer) Close() { w.host.Close() }

// Wire makes the link as the spec says. What is there already and right stays; a half-made link of an earlier try is
// made anew. On an error nothing of it is left.
func (w *Wirer) Wire(s Spec) error {
	ns, pod, err := openPod(s.NetworkNamespace)
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // nothing to lose on a read-only descriptor
	defer pod.Close()

	host, err := w.pair(s, ns, pod)
	if err != nil {
		return err
	}
	if err := w.finish(s, host, pod); err != nil {
		if undo := w.host.LinkDel(host); undo != nil {
			return errors.Join(err, fmt.Errorf("undo: delete link %s: %w", s.HostInterface, undo))
		}
		return err
	}
	return nil
}

// pair returns the host end, made with its peer inside the pod from the start: moving a link between namespaces waits
// for RCU grace periods.
func (w *Wirer) pair(s Spec, ns netns.NsHandle, pod *netlink.Handle) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = s.HostInterface, s.MTU, names.HostMAC
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: s.ContainerInterface, PeerHardwareAddr: s.MAC, PeerMTU: uint32(s.MTU),
		PeerNamespace: netlink.NsFd(int(ns)),
	}
	err := w.host.LinkAdd(veth)
	if errors.Is(err, unix.EEXIST) {
		return w.takeOver(s, veth, pod)
	}
	if err != nil {
		return nil, fmt.Errorf("add link %s: %w", s.HostInterface, err)
	}
	if veth.Index != 0 {
		return veth, nil
	}
	return w.host.LinkByName(s.HostInterface)
}

// takeOver finds out whose the name is: the pod's, or ours from an earlier try.
func (w *Wirer) takeOver(s Spec, veth *netlink.Veth, pod *netlink.Handle) (netlink.Link, error) {
	host, hostErr := w.host.LinkByName(s.HostInterface)
	inPod, podErr := pod.LinkByName(s.ContainerInterface)
	if hostErr != nil {
		if podErr == nil {
			return nil, fmt.Errorf("%w: the pod has an interface %s that is not ours; choose another name or remove it", ErrInterfaceTaken, s.ContainerInterface)
		}
		return nil, fmt.Errorf("add link %s: the name is taken, but no link has it: %w", s.HostInterface, hostErr)
	}
	if podErr == nil && inPod.Attrs().ParentIndex == host.Attrs().Index && host.Attrs().ParentIndex == inPod.Attrs().Index {
		return host, nil
	}
	if podErr == nil {
		return nil, fmt.Errorf("%w: the pod has an interface %s that is not ours; choose another name or remove it", ErrInterfaceTaken, s.ContainerInterface)
	}
	if err := w.host.LinkDel(host); err != nil {
		return nil, fmt.Errorf("delete half-made link %s: %w", s.HostInterface, err)
	}
	if err := w.host.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("add link %s: %w", s.HostInterface, err)
	}
	return w.host.LinkByName(s.HostInterface)
}

func (w *Wirer) finish(s Spec, host netlink.Link, pod *netlink.Handle) error {
	if err := HostSysctls(s.HostInterface, s.Addresses); err != nil {
		return err
	}
	if err := w.host.LinkSetAlias(host, s.Alias.String()); err != nil {
		return fmt.Errorf("set alias of %s: %w", s.HostInterface, err)
	}
	if err := w.host.LinkSetUp(host); err != nil {
		return fmt.Errorf("set %s up: %w", s.HostInterface, err)
	}
	for _, a := range s.Addresses {
		route := &netlink.Route{Dst: single(a), LinkIndex: host.Attrs().Index, Scope: netlink.SCOPE_LINK, Protocol: names.RouteProtocol}
		if a.Is6() {
			route.Scope = netlink.SCOPE_UNIVERSE // IPv6 routes have no scope
		}
		if err := w.host.RouteReplace(route); err != nil {
			return fmt.Errorf("add route %s dev %s: %w", a, s.HostInterface, err)
		}
	}
	return wirePod(s, pod)
}

func wirePod(s Spec, pod *netlink.Handle) error {
	link, err := pod.LinkByName(s.ContainerInterface)
	if err != nil {
		return fmt.Errorf("find %s in the pod: %w", s.ContainerInterface, err)
	}
	for _, a := range s.Addresses {
		address := &netlink.Addr{IPNet: single(a), Scope: unix.RT_SCOPE_UNIVERSE}
		if a.Is6() {
			address.Flags = unix.IFA_F_NODAD // the address book knows that nobody else has it
		}
		if err := pod.AddrReplace(link, address); err != nil {
			return fmt.Errorf("add address %s to %s in the pod: %w", a, s.ContainerInterface, err)
		}
	}
	if err := pod.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up in the pod: %w", s.ContainerInterface, err)
	}
	for _, a := range s.Addresses {
		if err := addDefault(pod, link.Attrs().Index, a); err != nil {
			return err
		}
	}
	return nil
}

// addDefault routes everything of one family through the link, unless another interface of the pod does so already.
func addDefault(pod *netlink.Handle, link int, a netip.Addr) error {
	gateway, any := names.GatewayV4, netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if a.Is6() {
		gateway, any = names.GatewayV6, netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	} else {
		err := addRoute(pod, &netlink.Route{Dst: single(gateway), LinkIndex: link, Scope: netlink.SCOPE_LINK})
		if errors.Is(err, errOtherLink) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("add route %s in the pod: %w", gateway, err)
		}
	}
	err := addRoute(pod, &netlink.Route{Dst: ipNet(any), Gw: gateway.AsSlice(), LinkIndex: link})
	if err != nil && !errors.Is(err, errOtherLink) {
		return fmt.Errorf("add default route via %s in the pod: %w", gateway, err)
	}
	return nil
}

var errOtherLink = errors.New("another link has the route")

// addRoute adds a route, or says that another link has one to the same destination.
func addRoute(pod *netlink.Handle, route *netlink.Route) error {
	err := pod.RouteAdd(route)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	family := unix.AF_INET
	if route.Dst.IP.To4() == nil {
		family = unix.AF_INET6
	}
	there, err := pod.RouteListFiltered(family, &netlink.Route{Dst: route.Dst}, netlink.RT_FILTER_DST)
	if err != nil {
		return err
	}
	for _, r := range there {
		if r.LinkIndex == route.LinkIndex {
			return nil
		}
	}
	return errOtherLink
}

// HostSysctls sets what a host end needs: it answers ARP for every address (the pod's gateway has no owner), drops
// packets from addresses that are not routed back to it, and believes no router advertisement.
func HostSysctls(hostInterface string, addresses []netip.Addr) error {
	settings := [][2]string{
		{"ipv4/conf/" + hostInterface + "/proxy_arp", "1"},
		{"ipv4/conf/" + hostInterface + "/rp_filter", "1"},
		{"ipv4/conf/" + hostInterface + "/forwarding", "1"},
		{"ipv4/neigh/" + hostInterface + "/proxy_delay", "0"},
	}
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/" + hostInterface); err == nil {
		settings = append(settings, [][2]string{
			{"ipv6/conf/" + hostInterface + "/accept_ra", "0"},
			{"ipv6/conf/" + hostInterface + "/accept_dad", "0"},
			{"ipv6/conf/" + hostInterface + "/addr_gen_mode", "0"}, // EUI-64: names.GatewayV6
			{"ipv6/conf/" + hostInterface + "/forwarding", "1"},
		}...)
	} else if len(addresses) > 0 && addresses[len(addresses)-1].Is6() {
		return errors.New("the node's kernel has IPv6 turned off, but the pod has an IPv6 address: turn it on, or give the node no IPv6 pool")
	}
	for _, kv := range settings {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", kv[0]), []byte(kv[1]), 0); err != nil {
			return fmt.Errorf("set sysctl net/%s to %s: %w", kv[0], kv[1], err)
		}
	}
	return nil
}

// openPod opens a pod's network namespace, and netlink in it. The caller closes both.
func openPod(path string) (netns.NsHandle, *netlink.Handle, error) {
	ns, err := openNamespace(path)
	if err != nil {
		return ns, nil, err
	}
	pod, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close() //nolint:errcheck // read-only descriptor
		return netns.None(), nil, fmt.Errorf("open netlink in %s: %w", path, err)
	}
	return ns, pod, nil
}

func openNamespace(path string) (netns.NsHandle, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return ns, fmt.Errorf("%w: open %q: %w", ErrNoNamespace, path, err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(ns), &st); err != nil || st.Type != unix.NSFS_MAGIC {
		ns.Close() //nolint:errcheck // read-only descriptor
		return netns.None(), fmt.Errorf("%w: %q is not a network namespace", ErrNoNamespace, path)
	}
	own, err := netns.Get()
	if err == nil {
		defer own.Close() //nolint:errcheck // read-only descriptor
		if own.Equal(ns) {
			ns.Close() //nolint:errcheck // read-only descriptor
			return netns.None(), fmt.Errorf("%w: %q is the node's own; pods on the host's network need no interface", ErrNoNamespace, path)
		}
	}
	return ns, nil
}

func single(a netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(a, a.BitLen())) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
