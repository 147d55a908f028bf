package veth

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Check returns an error that names the first difference between the kernel and the spec (CNI spec, CHECK).
func (w *Wirer) Check(s Spec) error {
	host, err := w.host.LinkByName(s.HostInterface)
	if err != nil {
		return fmt.Errorf("the host end %s is missing: %w", s.HostInterface, err)
	}
	if host.Attrs().Flags&unix.IFF_UP == 0 {
		return fmt.Errorf("the host end %s is down", s.HostInterface)
	}
	routed, err := w.routed()
	if err != nil {
		return err
	}
	for _, a := range s.Addresses {
		if !slices.Contains(routed[host.Attrs().Index], a) {
			return fmt.Errorf("the node has no route to %s through %s", a, s.HostInterface)
		}
	}
	ns, pod, err := w.openPod(s.NetworkNamespace)
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // nothing to lose on a read-only descriptor
	defer pod.Close()
	return checkPod(s, host, pod)
}

func checkPod(s Spec, host netlink.Link, pod *netlink.Handle) error {
	link, err := pod.LinkByName(s.ContainerInterface)
	if err != nil {
		return fmt.Errorf("the pod's interface %s is missing: %w", s.ContainerInterface, err)
	}
	if link.Attrs().ParentIndex != host.Attrs().Index {
		return fmt.Errorf("the pod's interface %s is not the other end of %s", s.ContainerInterface, s.HostInterface)
	}
	if link.Attrs().Flags&unix.IFF_UP == 0 {
		return fmt.Errorf("the pod's interface %s is down", s.ContainerInterface)
	}
	if has := link.Attrs().HardwareAddr.String(); s.Alias.MAC != "" && has != s.Alias.MAC {
		return fmt.Errorf("the pod's interface %s has the hardware address %s, but %s is fixed for it", s.ContainerInterface, has, s.Alias.MAC)
	}
	addrs, err := pod.AddrList(link, unix.AF_UNSPEC)
	if err != nil {
		return fmt.Errorf("list the pod's addresses: %w", err)
	}
	for _, want := range s.Addresses {
		if !slices.ContainsFunc(addrs, func(a netlink.Addr) bool {
			got, ok := netip.AddrFromSlice(a.IP)
			return ok && got.Unmap() == want
		}) {
			return fmt.Errorf("the pod's interface %s lacks the address %s", s.ContainerInterface, want)
		}
		family := unix.AF_INET
		if want.Is6() {
			family = unix.AF_INET6
		}
		routes, err := pod.RouteList(link, family)
		if err != nil {
			return fmt.Errorf("list the pod's routes: %w", err)
		}
		if !slices.ContainsFunc(routes, func(r netlink.Route) bool {
			return r.Gw != nil && (r.Dst == nil || r.Dst.IP.IsUnspecified())
		}) {
			return fmt.Errorf("the pod has no default route through %s", s.ContainerInterface)
		}
	}
	return nil
}

// ShrinkMTU lowers the MTU of both ends. It never raises it: a running pod may have taken the lower one for granted.
func (w *Wirer) ShrinkMTU(hostInterface, containerInterface, networkNamespace string, mtu int) error {
	host, err := w.host.LinkByName(hostInterface)
	if err != nil {
		return fmt.Errorf("find link %s: %w", hostInterface, err)
	}
	ns, pod, err := w.openPod(networkNamespace)
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // nothing to lose on a read-only descriptor
	defer pod.Close()
	inPod, err := pod.LinkByName(containerInterface)
	if err != nil {
		return fmt.Errorf("find %s in the pod: %w", containerInterface, err)
	}
	if inPod.Attrs().MTU > mtu {
		if err := pod.LinkSetMTU(inPod, mtu); err != nil {
			return fmt.Errorf("set the MTU of %s in the pod to %d: %w", containerInterface, mtu, err)
		}
	}
	if host.Attrs().MTU > mtu {
		if err := w.host.LinkSetMTU(host, mtu); err != nil {
			return fmt.Errorf("set the MTU of %s to %d: %w", hostInterface, mtu, err)
		}
	}
	return nil
}
