package scale_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/linux"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
	"github.com/causeway-net/causeway/test/routers"
)

const (
	clusterAS = 64512
	link      = "eth0"
)

// gateway is the router's address on every node's cable. A switch would need a neighbour for every pair of nodes, and the
// kernel's neighbour table, which all network namespaces share, has no room for that.
var gateway = netip.MustParseAddr("10.0.0.1")

// member is a node: a network namespace on a cable to the router.
type member struct {
	*speaker.Client
	address netip.Addr
	block   netip.Prefix
	ns      netns.NsHandle

	mu sync.Mutex
	// seen says when the kernel told of the last change of a BGP route, and whether the route is there.
	seen map[netip.Prefix]sighting
}

type sighting struct {
	at    time.Time
	there bool
}

// fleet are nodes around one router.
type fleet struct {
	t       *testing.T
	members []*member
}

func newFleet(t *testing.T, count int) *fleet {
	t.Helper()
	f := &fleet{t: t}
	router := routers.NewHost(t, "router")
	router.IP("addr", "add", gateway.String()+"/32", "dev", "lo")
	hub := handle(t, router)
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	t.Cleanup(func() { cancel(); workers.Wait() })
	for i := range count {
		host := routers.NewHost(t, "n")
		m := &member{
			address: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), seen: map[netip.Prefix]sighting{},
			block: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 211 + byte(i>>8), byte(i), 0}), 26),
		}
		m.connect(t, hub, host, i)
		socket := filepath.Join(t.TempDir(), "s")
		host.Start(nil, "../../../bin/causeway-speaker", "--socket", socket)
		m.Client = speaker.NewClient(socket)
		workers.Go(func() { m.Run(ctx) })
		m.follow(ctx, t)
		applier := m.open(t)
		workers.Go(func() { m.keepKernel(ctx, t, applier) })
		f.members = append(f.members, m)
	}
	for i, m := range f.members {
		routers.Eventually(t, 60*time.Second, func() error {
			if m.PID() == 0 {
				return fmt.Errorf("node %d is not connected to its speaker", i)
			}
			return nil
		})
	}
	return f
}

func handle(t *testing.T, h *routers.Host) *netlink.Handle {
	t.Helper()
	ns, err := netns.GetFromName(h.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	out, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	return out
}

// connect lays the cable, with one host route on each side.
func (m *member) connect(t *testing.T, hub *netlink.Handle, host *routers.Host, number int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("connect node %d: %v", number, err)
		}
	}
	var err error
	m.ns, err = netns.GetFromName(host.Name)
	must(err)
	t.Cleanup(func() { _ = m.ns.Close() })
	own := handle(t, host)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("p%d", number)
	must(hub.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: link, PeerNamespace: netlink.NsFd(int(m.ns))}))
	port, err := hub.LinkByName(attrs.Name)
	must(err)
	nic, err := own.LinkByName(link)
	must(err)
	must(hub.LinkSetUp(port))
	must(own.LinkSetUp(nic))
	must(hub.RouteAdd(&netlink.Route{LinkIndex: port.Attrs().Index, Dst: single(m.address), Scope: netlink.SCOPE_LINK, Src: gateway.AsSlice()}))
	must(own.AddrAdd(nic, &netlink.Addr{IPNet: single(m.address)}))
	must(own.RouteAdd(&netlink.Route{LinkIndex: nic.Attrs().Index, Dst: single(gateway), Scope: netlink.SCOPE_LINK}))
	must(own.RouteAdd(&netlink.Route{LinkIndex: nic.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Gw: gateway.AsSlice()}))
}

func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// follow notes what the kernel says of BGP routes.
func (m *member) follow(ctx context.Context, t *testing.T) {
	t.Helper()
	updates := make(chan netlink.RouteUpdate, 1024)
	err := netlink.RouteSubscribeWithOptions(updates, ctx.Done(), netlink.RouteSubscribeOptions{
		Namespace: &m.ns, ErrorCallback: func(err error) {
			if ctx.Err() == nil {
				t.Errorf("%s: follow the kernel: %v", m.address, err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for u := range updates {
			if u.Protocol != names.BGPRouteProtocol || u.Dst == nil {
				continue
			}
			address, _ := netip.AddrFromSlice(u.Dst.IP)
			bits, _ := u.Dst.Mask.Size()
			m.mu.Lock()
			m.seen[netip.PrefixFrom(address.Unmap(), bits)] = sighting{time.Now(), u.Type == unix.RTM_NEWROUTE}
			m.mu.Unlock()
		}
	}()
}

// open opens the node's kernel and reads it once.
func (m *member) open(t *testing.T) *linux.Applier {
	t.Helper()
	var applier *linux.Applier
	err := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine, and its namespace with it
		if e := netns.Set(m.ns); e != nil {
			err <- e
			return
		}
		var e error
		if applier, e = linux.Open(); e == nil {
			_, e = applier.Observe(t.Context(), kernel.Query{NodeAddresses: []netip.Addr{m.address}})
		}
		err <- e
	}()
	if e := <-err; e != nil {
		t.Fatal(e)
	}
	return applier
}

// keepKernel does what the agent does with learned routes.
func (m *member) keepKernel(ctx context.Context, t *testing.T, applier *linux.Applier) {
	defer applier.Close() //nolint:errcheck // the namespace goes
	planner := plan.New(plan.Input{
		Node: m.address.String(), V4: plan.Underlay{Address: m.address, Subnet: netip.PrefixFrom(m.address, 32), Interface: link, MTU: 1500},
		Fabric: []plan.FabricRoute{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Via: gateway, Device: link}},
	})
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.Changed():
		}
		planner.SetLearned(m.Changes())
		if report, ok := applier.ApplyChanges(ctx, planner.Flush()); !ok || len(report.Failures) > 0 {
			t.Errorf("%s: the kernel refuses routes: %v", m.address, report.Failures)
		}
	}
}

func (f *fleet) apply(m *member, sessions []bgpplan.Session, announced bool) {
	f.t.Helper()
	p := bgpplan.Plan{Sessions: sessions, Global: bgpplan.Global{
		AS: clusterAS, RouterID: m.address, Listen: true, ListenPort: 179, ListenAddresses: []netip.Addr{m.address},
	}}
	if announced {
		p.Announcements = []bgpplan.Announcement{{Prefix: m.block, Source: bgpplan.SourceBlock, NextHop: m.address}}
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	if failures, err := m.Apply(ctx, p); err != nil || len(failures) > 0 {
		f.t.Fatalf("%s: apply: %v %v", m.address, err, failures)
	}
}

// session is the one that the planner makes between two nodes. The lower address opens it.
func session(own, peer *member) bgpplan.Session {
	return bgpplan.Session{
		Peer: peer.address, PeerAS: clusterAS, LocalAS: clusterAS, Port: 179, Source: "NodeToNodeMesh", SourceAddress: own.address,
		HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second, RestartTime: 120 * time.Second, NextHop: bgpplan.NextHopAuto,
		IPv4: true, DialLater: peer.address.Less(own.address),
	}
}

// await waits until every other node's kernel has, or has no more, the blocks, and returns when the last one told so.
func (f *fleet) await(limit time.Duration, there bool, blocks ...*member) (last time.Time) {
	f.t.Helper()
	for i, m := range f.members {
		for _, of := range blocks {
			if of == m {
				continue
			}
			routers.Eventually(f.t, limit, func() error {
				m.mu.Lock()
				defer m.mu.Unlock()
				s := m.seen[of.block]
				if s.there != there {
					return fmt.Errorf("node %d: the route to %s: %+v", i, of.block, s)
				}
				if s.at.After(last) {
					last = s.at
				}
				return nil
			})
		}
	}
	return last
}
