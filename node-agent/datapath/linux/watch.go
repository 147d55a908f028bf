package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// maxEvents is how many route events wait to be read before a dump is cheaper.
const maxEvents = 20000

// news is what the watcher heard since the last Read.
type news struct {
	mu sync.Mutex
	heard
}

type heard struct {
	events []event
	// down are links that went down or away.
	down []int32
	// lost says that a dump is needed, nft that our nftables table was touched, disturbed that anything else of ours may
	// have been.
	lost, nft, disturbed bool
}

func (n *news) take() heard {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := n.heard
	n.heard = heard{}
	return taken
}

// watcher reads the kernel's notifications. Its sockets are open from the start, so that nothing between a dump and the
// start of Watch is missed.
type watcher struct {
	news  news
	route *os.File
	nft   *os.File // nil without nf_tables
	own   uint32   // the port id of our changes
	// refused are destinations where a route of somebody else is in the way.
	refused atomic.Pointer[map[netip.Prefix]bool]
	// tunnels are the links whose neighbours are ours.
	tunnels sync.Map // of int32
	running atomic.Bool
	wake    chan struct{}
	pods    chan struct{}
	// hostEnds are the links of pods, by index.
	hostEnds map[int32]bool
	// up are the links that were up when last heard of. A new link is down before it is up, which flushes nothing.
	up map[int32]bool
}

func newWatcher(c *conn) (*watcher, error) {
	w := &watcher{own: c.pid, wake: make(chan struct{}, 1), pods: make(chan struct{}, 1), hostEnds: map[int32]bool{}, up: map[int32]bool{}}
	var err error
	w.route, err = subscribe(unix.NETLINK_ROUTE, 16<<20, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, err
	}
	// A kernel without nf_tables has no such group; the slow resync sees the module appear.
	w.nft, _ = subscribe(unix.NETLINK_NETFILTER, 1<<20, unix.NFNLGRP_NFTABLES)
	err = c.dump(unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg), func(body []byte) {
		if len(body) < unix.SizeofIfInfomsg {
			return
		}
		index := int32(order.Uint32(body[4:]))
		if order.Uint32(body[8:])&unix.IFF_UP != 0 {
			w.up[index] = true
		}
		if isHostEnd(body) {
			w.hostEnds[index] = true
		}
	})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		w.close()
		return nil, fmt.Errorf("list links: %w", err)
	}
	return w, nil
}

func subscribe(protocol, buffer int, groups ...int) (*os.File, error) {
	fd, _, err := socket(protocol, buffer, unix.SOCK_NONBLOCK)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
			unix.Close(fd) //nolint:errcheck // the first error counts
			return nil, fmt.Errorf("subscribe to netlink group %d: %w", g, err)
		}
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// Watch implements datapath.Kernel.
func (a *Applier) Watch(ctx context.Context) kernel.Events {
	w := a.watch
	w.running.Store(true)
	var readers sync.WaitGroup
	readers.Go(func() { w.read(w.route, w.routeMessage) })
	if w.nft != nil {
		readers.Go(func() { w.read(w.nft, w.nftMessage) })
	}
	go func() {
		<-ctx.Done()
		w.running.Store(false)
		w.close()
		readers.Wait()
		close(w.wake)
		close(w.pods)
	}()
	return kernel.Events{Changed: w.wake, Pods: w.pods}
}

func (w *watcher) close() {
	w.route.Close() //nolint:errcheck // read only
	if w.nft != nil {
		w.nft.Close() //nolint:errcheck // read only
	}
}

// followTunnel tells the watcher that a link's neighbours are ours.
func (w *watcher) followTunnel(index int32) { w.tunnels.Store(index, true) }

// expect tells the watcher what the kernel has refused: it wakes the loop when what was in the way goes.
func (w *watcher) expect(failures []kernel.Failure) {
	refused := map[netip.Prefix]bool{}
	for _, f := range failures {
		if f.Dst.IsValid() {
			refused[f.Dst] = true
		}
	}
	w.refused.Store(&refused)
}

// disturb wakes the loop, which shall compare all that is ours with the plan.
func (w *watcher) disturb() {
	w.news.mu.Lock()
	w.news.disturbed = true
	w.news.mu.Unlock()
	w.signal()
}

func (w *watcher) signal()     { signal(w.wake) }
func (w *watcher) signalPods() { signal(w.pods) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (w *watcher) read(f *os.File, handle func(header, []byte) error) {
	buf := make([]byte, 1<<16)
	for {
		n, err := f.Read(buf)
		switch {
		case err == nil:
			err = messages(buf[:n], handle)
		case errors.Is(err, os.ErrClosed):
			return
		}
		if err != nil { // most likely ENOBUFS: there was more than the buffer holds
			w.news.mu.Lock()
			w.news.lost, w.news.nft = true, true
			w.news.mu.Unlock()
			w.signal()
		}
	}
}

func (w *watcher) routeMessage(h header, body []byte) error {
	switch h.kind {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		w.routeEvent(h, body)
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		w.linkEvent(h, body)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		w.addressEvent(h, body)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		if h.pid == w.own || len(body) < 8 {
			return nil
		}
		if _, ours := w.tunnels.Load(int32(order.Uint32(body[4:]))); ours {
			w.disturb()
		}
	}
	return nil
}

func (w *watcher) addressEvent(h header, body []byte) {
	ofPod := len(body) >= 8 && w.hostEnds[int32(order.Uint32(body[4:]))]
	switch {
	case h.kind == unix.RTM_NEWADDR && ofPod:
		w.signalPods()
	case h.kind == unix.RTM_DELADDR && len(body) > 0 && body[0] == unix.AF_INET:
		// The kernel flushes IPv4 routes that an address carried, without a word.
		w.news.mu.Lock()
		w.news.lost = true
		w.news.mu.Unlock()
		w.signal()
	case ofPod:
		w.signal()
	default:
		w.disturb()
	}
}

func (w *watcher) routeEvent(h header, body []byte) {
	if h.pid == w.own {
		return
	}
	dst, r, ok := decodeRoute(body)
	if !ok {
		return
	}
	ofPod := dst.IsSingleIP() && r.more == "" && w.hostEnds[r.hop.link]
	e := event{dst: dst, route: r, deleted: h.kind == unix.RTM_DELROUTE, replace: h.flags&unix.NLM_F_REPLACE != 0, ofPod: ofPod}
	mine := ours(r.protocol)
	if !mine && (e.deleted || !e.replace) {
		if refused := w.refused.Load(); e.deleted && refused != nil && (*refused)[dst] {
			w.disturb()
			return
		}
		w.signalFabric(r)
		return
	}
	w.news.mu.Lock()
	if len(w.news.events) < maxEvents {
		w.news.events = append(w.news.events, e)
	} else {
		w.news.lost = true
	}
	w.news.mu.Unlock()
	switch {
	case mine && !e.deleted && ofPod:
		w.signalPods()
	case mine && ofPod:
		w.signal() // its link may be on its way out
	default:
		w.disturb()
	}
}

// signalFabric wakes the loop for others' routes with a gateway: next hops of learned routes may be resolved by them.
func (w *watcher) signalFabric(r route) {
	if r.kind == unix.RTN_UNICAST && (r.hop.via.IsValid() || r.more != "") {
		w.signal()
	}
}

func (w *watcher) linkEvent(h header, body []byte) {
	if len(body) < unix.SizeofIfInfomsg || body[0] != unix.AF_UNSPEC {
		return
	}
	index, up := int32(order.Uint32(body[4:])), h.kind == unix.RTM_NEWLINK && order.Uint32(body[8:])&unix.IFF_UP != 0
	gone := w.up[index] && !up
	if up {
		w.up[index] = true
	} else {
		delete(w.up, index)
	}
	if gone {
		w.news.mu.Lock()
		w.news.down = append(w.news.down, index)
		w.news.mu.Unlock()
	}
	if h.kind == unix.RTM_NEWLINK && !gone && isHostEnd(body) {
		w.hostEnds[index] = true
		w.signalPods()
		return
	}
	if w.hostEnds[index] { // it goes; if it only went down, the next look sees that
		if h.kind == unix.RTM_DELLINK {
			delete(w.hostEnds, index)
		}
		w.signal()
		return
	}
	w.disturb()
}

// isHostEnd says whether a message about a link (struct ifinfomsg) names a pod's.
func isHostEnd(body []byte) bool {
	for kind, value := range attributes(body[unix.SizeofIfInfomsg:]) {
		if kind == unix.IFLA_IFNAME {
			return names.IsHostInterface(strings.TrimSuffix(string(value), "\x00"))
		}
	}
	return false
}

// nftMessage looks for our table's name, which is the first attribute of all messages about objects.
func (w *watcher) nftMessage(_ header, body []byte) error {
	const generic, attrTable = 4, 1
	if len(body) < generic {
		return nil
	}
	for kind, value := range attributes(body[generic:]) {
		if kind == attrTable && string(value) == names.NFTTable+"\x00" {
			w.news.mu.Lock()
			w.news.nft = true
			w.news.mu.Unlock()
			w.disturb()
		}
	}
	return nil
}
