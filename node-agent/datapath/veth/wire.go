package veth

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/failpoint"
)

// Wirer works in the network namespace that it was opened in.
type Wirer struct {
	host  *netlink.Handle
	own   netns.NsHandle
	conns chan *conn // idle sockets of the host side
}

// idleConns is how many sockets are kept open for calls at once.
const idleConns = 8

// NewWirer opens the host side.
func NewWirer() (*Wirer, error) {
	own, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("find the node's network namespace: %w", err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		own.Close() //nolint:errcheck // the first error counts
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &Wirer{host: h, own: own, conns: make(chan *conn, idleConns)}, nil
}

// Close ends the use of the host side.
func (w *Wirer) Close() {
	w.host.Close()
	for {
		select {
		case c := <-w.conns:
			c.close()
			continue
		default:
		}
		break
	}
	w.own.Close() //nolint:errcheck // read-only descriptor
}

// onHost lends a socket of the host side to f. One that failed is not used again: an answer may still be on its way.
func (w *Wirer) onHost(f func(*conn) error) error {
	var c *conn
	select {
	case c = <-w.conns:
	default:
		var err error
		if c, err = w.dialIn(w.own); err != nil {
			return err
		}
	}
	if err := f(c); err != nil {
		c.close()
		return err
	}
	select {
	case w.conns <- c:
	default:
		c.close()
	}
	return nil
}

// dialIn opens a socket in a network namespace.
func (w *Wirer) dialIn(ns netns.NsHandle) (c *conn, err error) {
	err = w.inside(ns, func() error {
		c, err = dial()
		return err
	})
	return c, err
}

// inside calls f with its thread in a network namespace. A thread that can't come back ends.
func (w *Wirer) inside(ns netns.NsHandle, f func() error) error {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("find the thread's network namespace: %w", err)
	}
	defer here.Close() //nolint:errcheck // read-only descriptor
	if err := netns.Set(ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	err = f()
	if back := netns.Set(here); back != nil {
		return errors.Join(err, fmt.Errorf("leave a network namespace: %w", back)) // the goroutine keeps its thread
	}
	runtime.UnlockOSThread()
	return err
}

// Wire makes the link as the spec says. What is there already and right stays; a half-made link of an earlier try is
// made anew. After an error nothing is left of a link that this call has made; a link that was there before stays.
//
// The link is in names.MakingGroup until the last step, so that a half-made one is known as such after a crash.
func (w *Wirer) Wire(s Spec) error {
	ns, err := w.openNamespace(s.NetworkNamespace)
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // nothing to lose on a read-only descriptor
	pod, err := w.dialIn(ns)
	if err != nil {
		return fmt.Errorf("open netlink in %s: %w", s.NetworkNamespace, err)
	}
	defer pod.close()
	return w.onHost(func(host *conn) error {
		link, made, err := w.pair(s, ns, host, pod)
		if err != nil {
			return err
		}
		failpoint.At("wire: link made")
		if err := w.finish(s, ns, link, host, pod); err != nil {
			if !made {
				return err
			}
			if undo := deleteLinks(host, link.index); undo != nil {
				return errors.Join(err, fmt.Errorf("undo: delete link %s: %w", s.HostInterface, undo))
			}
			return err
		}
		return nil
	})
}

// pair returns the host end, made with its peer inside the pod from the start: moving a link between namespaces waits
// for RCU grace periods. made is false where it was there.
func (w *Wirer) pair(s Spec, ns netns.NsHandle, host, pod *conn) (link hostLink, made bool, err error) {
	link, err = create(s, ns, host)
	if !errors.Is(err, unix.EEXIST) {
		return link, err == nil, err
	}
	there, hostErr := find(host, s.HostInterface)
	inPod, podErr := find(pod, s.ContainerInterface)
	taken := fmt.Errorf("%w: the pod has an interface %s that is not ours; choose another name or remove it", ErrInterfaceTaken, s.ContainerInterface)
	switch {
	case hostErr == nil && !there.ours(s.HostInterface):
		return link, false, fmt.Errorf("%w: the node has a link %s that is not ours; remove it", ErrInterfaceTaken, s.HostInterface)
	case podErr == nil && hostErr == nil && inPod.peer == there.index && there.peer == inPod.index:
		return there, false, nil
	case podErr == nil:
		return link, false, taken
	case hostErr != nil:
		return link, false, fmt.Errorf("add link %s: the name is taken, but no link has it: %w", s.HostInterface, hostErr)
	}
	if err := deleteLinks(host, there.index); err != nil {
		return link, false, fmt.Errorf("delete half-made link %s: %w", s.HostInterface, err)
	}
	link, err = create(s, ns, host)
	return link, err == nil, err
}

// create adds the veth pair. It returns unix.EEXIST, wrapped, where one of the names is taken.
func create(s Spec, ns netns.NsHandle, host *conn) (hostLink, error) {
	var b batch
	b.newPair(s, int(ns))
	b.getLink(s.HostInterface)
	var link hostLink
	errs, err := host.do(&b, func(body []byte) { link, _ = parseLink(body) })
	if err == nil {
		err = errors.Join(errs...)
	}
	if err != nil {
		return hostLink{}, fmt.Errorf("add link %s: %w", s.HostInterface, err)
	}
	if link.index == 0 || link.peer == 0 {
		return hostLink{}, fmt.Errorf("add link %s: the kernel does not show it", s.HostInterface)
	}
	return link, nil
}

func find(c *conn, name string) (hostLink, error) {
	var b batch
	b.getLink(name)
	var link hostLink
	errs, err := c.do(&b, func(body []byte) { link, _ = parseLink(body) })
	if err == nil {
		err = errs[0]
	}
	return link, err
}

func deleteLinks(c *conn, indexes ...int) error {
	var b batch
	for _, index := range indexes {
		b.deleteLink(index)
	}
	errs, err := c.do(&b, nil)
	for _, one := range errs {
		if !errors.Is(one, unix.ENODEV) {
			err = errors.Join(err, one)
		}
	}
	return err
}

// finish gives both ends what they need. The host end leaves names.MakingGroup with the last request.
func (w *Wirer) finish(s Spec, ns netns.NsHandle, link hostLink, host, pod *conn) error {
	if err := hostSysctls(s.HostInterface, s.hasIPv6()); err != nil {
		return err
	}
	if err := w.wirePod(s, ns, link.peer, pod); err != nil {
		return err
	}
	failpoint.At("wire: pod's end done")
	var b batch
	b.configureHost(s)
	b.noProxyDelay(link.index)
	b.linkUp(link.index)
	for _, a := range s.Addresses {
		b.hostRoute(a, link.index)
	}
	b.setGroup(s.HostInterface, 0)
	errs, err := host.do(&b, nil)
	if err == nil {
		err = errors.Join(errs...)
	}
	if err != nil {
		return fmt.Errorf("set up the host end %s with its routes to %v: %w", s.HostInterface, s.Addresses, err)
	}
	return nil
}

// wirePod gives the pod its addresses and its way out.
func (w *Wirer) wirePod(s Spec, ns netns.NsHandle, link int, pod *conn) error {
	err := configurePod(s, link, pod)
	if !errors.Is(err, unix.EACCES) || !s.hasIPv6() {
		return err
	}
	// The pod's namespace has IPv6 turned off for new interfaces.
	if err := w.inside(ns, func() error { return writeSysctl("ipv6/conf/"+s.ContainerInterface+"/disable_ipv6", "0") }); err != nil {
		return fmt.Errorf("turn on IPv6 in the pod: %w", err)
	}
	return configurePod(s, link, pod)
}

func configurePod(s Spec, link int, pod *conn) error {
	var b batch
	b.linkUp(link)
	for _, a := range s.Addresses {
		b.address(a, link)
	}
	routes := b.count
	var gateways []netip.Addr // of each route that follows
	for _, a := range s.Addresses {
		gateways = append(gateways, b.defaultRoute(a, link)...)
	}
	errs, err := pod.do(&b, nil)
	if err == nil {
		err = errors.Join(errs[:routes]...)
	}
	if err != nil {
		return fmt.Errorf("set %s up in the pod with addresses %v: %w", s.ContainerInterface, s.Addresses, err)
	}
	for i, err := range errs[routes:] {
		// Another interface of the pod may have the default route already; then it keeps it.
		if err == nil || errors.Is(err, unix.EEXIST) || i > 0 && errors.Is(errs[routes+i-1], unix.EEXIST) {
			continue
		}
		return fmt.Errorf("add a route by %s in the pod: %w", gateways[i], err)
	}
	return nil
}

func (s Spec) hasIPv6() bool { return len(s.Addresses) > 0 && s.Addresses[len(s.Addresses)-1].Is6() }

// hostSysctls sets what a host end needs and netlink can't set. It believes no router advertisement. Where the pod has an
// IPv6 address the host end has its link-local one at once, without a search for duplicates (names.GatewayV6).
func hostSysctls(hostInterface string, ipv6 bool) error {
	folder := "ipv6/conf/" + hostInterface + "/"
	settings := [][2]string{{folder + "accept_ra", "0"}}
	if ipv6 {
		settings = append(settings, [][2]string{{folder + "accept_dad", "0"}, {folder + "forwarding", "1"}, {folder + "disable_ipv6", "0"}}...)
	}
	for _, kv := range settings {
		err := writeSysctl(kv[0], kv[1])
		if errors.Is(err, os.ErrNotExist) && !ipv6 {
			return nil // the kernel has no IPv6
		}
		if errors.Is(err, os.ErrNotExist) {
			return errors.New("the node's kernel has IPv6 turned off, but the pod has an IPv6 address: turn it on, or give the node no IPv6 pool")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func writeSysctl(key, value string) error {
	fd, err := unix.Open(filepath.Join("/proc/sys/net", key), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(value))
		unix.Close(fd) //nolint:errcheck // the write counts
	}
	if err != nil {
		return fmt.Errorf("set sysctl net/%s to %s: %w", key, value, err)
	}
	return nil
}

// openPod opens a pod's network namespace, and netlink in it. The caller closes both.
func (w *Wirer) openPod(path string) (netns.NsHandle, *netlink.Handle, error) {
	ns, err := w.openNamespace(path)
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

// NamespaceGone reports whether a path leads to no network namespace. It is false where that can't be told.
func NamespaceGone(path string) bool {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	return errors.Is(err, unix.ENOENT) || err == nil && st.Type != unix.NSFS_MAGIC
}

func (w *Wirer) openNamespace(path string) (netns.NsHandle, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return ns, fmt.Errorf("%w: open %q: %w", ErrNoNamespace, path, err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(ns), &st); err != nil || st.Type != unix.NSFS_MAGIC {
		ns.Close() //nolint:errcheck // read-only descriptor
		return netns.None(), fmt.Errorf("%w: %q is not a network namespace", ErrNoNamespace, path)
	}
	if w.own.Equal(ns) {
		ns.Close() //nolint:errcheck // read-only descriptor
		return netns.None(), fmt.Errorf("%w: %q is the node's own; pods on the host's network need no interface", ErrNoNamespace, path)
	}
	return ns, nil
}
