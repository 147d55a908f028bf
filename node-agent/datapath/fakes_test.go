package datapath

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/infrastructure"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/memory"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// fakes are the neighbours of a loop besides the kernel.
type fakes struct {
	kernel *memory.Kernel

	mu        sync.Mutex
	pools     []cluster.Pool
	blocks    map[netip.Prefix]plan.Block
	log       []netip.Prefix // changes of blocks
	nodes     *cluster.NodeNetworks
	services  []infrastructure.Network
	endpoints []addressbook.Endpoint
	learned   []plan.LearnedRoute
	changes   []plan.LearnedRoute

	states       []State
	linksChanged int
	moved        int
	turns        int
	shrunk       map[string]int
	errors       []string // what was logged as an error
}

func (f *fakes) locked(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakes) Node() (cluster.Node, bool)           { return cluster.Node{Name: "a"}, true }
func (f *fakes) Active() bool                         { return true }
func (f *fakes) PeerRoutes() []plan.PeerRoute         { return nil }
func (f *fakes) LinksChanged()                        { f.locked(func() { f.linksChanged++ }) }
func (f *fakes) Applied(time.Duration, kernel.Report) {}
func (f *fakes) SetPodMTUs(map[string]int, int)       {}
func (f *fakes) AddressChanged(_, _ netip.Addr)       { f.locked(func() { f.moved++ }) }
func (f *fakes) ReportDatapath(s State)               { f.locked(func() { f.states = append(f.states, s) }) }

func (f *fakes) Pools() []cluster.Pool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.pools)
}

func (f *fakes) NodeNetworks() *cluster.NodeNetworks {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes
}

func (f *fakes) Infrastructure() []infrastructure.Network {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.services
}

func (f *fakes) BlocksSince(version uint64) cluster.BlockChanges {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := cluster.BlockChanges{Version: uint64(len(f.log)) + 1}
	if version == 0 {
		out.Whole = true
		for _, b := range f.blocks {
			out.Set = append(out.Set, &b)
		}
		return out
	}
	for _, cidr := range f.log[version-1:] {
		if b, ok := f.blocks[cidr]; ok {
			out.Set = append(out.Set, &b)
		} else {
			out.Gone = append(out.Gone, cidr)
		}
	}
	return out
}

func (f *fakes) setBlock(b plan.Block) {
	f.locked(func() {
		f.blocks[b.CIDR] = b
		f.log = append(f.log, b.CIDR)
	})
}

func (f *fakes) Endpoints() []addressbook.Endpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.endpoints)
}

func (f *fakes) Get(name string) (addressbook.Endpoint, bool) {
	for _, e := range f.Endpoints() {
		if e.Interface == name {
			return e, true
		}
	}
	return addressbook.Endpoint{}, false
}

func (f *fakes) Learned() []plan.LearnedRoute {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes = nil
	return f.learned
}

func (f *fakes) Changes() []plan.LearnedRoute {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.changes
	f.changes = nil
	return out
}

func (f *fakes) ShrinkMTU(name, _, _ string, mtu int) error {
	f.locked(func() { f.shrunk[name] = mtu })
	return nil
}

// last returns the last report, and how many there were.
func (f *fakes) last() (State, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.states[len(f.states)-1], len(f.states)
}

var (
	pfx  = netip.MustParsePrefix
	addr = netip.MustParseAddr
)

const pod = "cw00000000001"

func testPool(name, cidr string, sends v1alpha1.Encapsulation) cluster.Pool {
	return cluster.Pool{
		Object: &v1alpha1.IPPool{}, Route: plan.Pool{Name: name, CIDR: pfx(cidr), Encapsulation: sends, Settled: true},
	}
}

func testBlock(cidr, node, address string) plan.Block {
	return plan.Block{CIDR: pfx(cidr), Pool: "p", Node: node, NodeAddresses: []netip.Addr{addr(address)}}
}

func podRoute(address, device string) plan.Route {
	a := addr(address)
	return plan.Route{Dst: netip.PrefixFrom(a, a.BitLen()), Source: plan.RouteSourceEndpoint, Protocol: names.RouteProtocol, NextHop: plan.NextHop{Device: device}}
}

func testEndpoint(device, address string) addressbook.Endpoint {
	return addressbook.Endpoint{
		Interface: device, ContainerInterface: "eth0", NetworkNamespace: "/run/netns/1", Addresses: []netip.Addr{addr(address)}, Pools: []string{"p"}, State: addressbook.Ready,
	}
}

// node is node a with one pool, a neighbour b, and a pod.
func node() *fakes {
	f := &fakes{
		kernel: memory.New(kernel.Observed{
			V4: plan.Underlay{Address: addr("192.168.0.1"), Subnet: pfx("192.168.0.0/24"), Interface: "eth0", MTU: 1500},
		}),
		blocks: map[netip.Prefix]plan.Block{}, nodes: &cluster.NodeNetworks{}, shrunk: map[string]int{},
		endpoints: []addressbook.Endpoint{testEndpoint(pod, "10.0.0.1")},
		pools:     []cluster.Pool{testPool("p", "10.0.0.0/16", v1alpha1.EncapsulationNone)},
	}
	f.setBlock(testBlock("10.0.0.0/26", "a", "192.168.0.1"))
	f.setBlock(testBlock("10.0.1.0/26", "b", "192.168.0.2"))
	f.kernel.Wire(pod)
	return f
}

func (f *fakes) loop() *Loop {
	log := funcr.New(func(_, line string) {
		if strings.Contains(line, `"error"=`) {
			f.locked(func() { f.errors = append(f.errors, line) })
		}
	}, funcr.Options{})
	return New(Options{
		Node: "a", Kernel: f.kernel, View: f, Book: f, BGP: f, Pods: f, Reporter: f, Infrastructure: f.Infrastructure, Resync: time.Minute, Log: log,
		Turned: func() { f.locked(func() { f.turns++ }) },
	})
}

// run runs a loop with fakes in a bubble of synctest.
func run(t *testing.T, f *fakes, test func(l *Loop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := f.loop()
		ctx, cancel := context.WithCancel(t.Context())
		l.FirstPass(ctx)
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		defer func() { // also after t.Fatal
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		settled(lateQuiet + 2*apiSettle)
		test(l)
	})
}

// settled lets the loop do what it has to do within a time.
func settled(within time.Duration) {
	time.Sleep(within)
	synctest.Wait()
}

// expectRoute fails the test unless the kernel has a route, shown as `ip route` does; "" for none.
func (f *fakes) expectRoute(t *testing.T, when, dst, want string) {
	t.Helper()
	have := ""
	if r, ok := f.kernel.Route(pfx(dst)); ok {
		have = r.String()
	}
	if have != want {
		t.Errorf("%s: the route to %s is %q, not %q", when, dst, have, want)
	}
}

// manyBlocks is a node in a cluster with blocks of others, sixteen a node.
func manyBlocks(blocks int, sends v1alpha1.Encapsulation) *fakes {
	f := node()
	f.pools = []cluster.Pool{testPool("p", "10.0.0.0/8", sends)}
	for i := range blocks {
		n := i / 16
		f.setBlock(plan.Block{
			CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(1 + i>>10), byte(i >> 2), byte(i << 6)}), 26), Pool: "p", Node: fmt.Sprint("n", n),
			NodeAddresses: []netip.Addr{netip.AddrFrom4([4]byte{172, 20, byte(n >> 8), byte(n)})}, Created: time.Unix(int64(i), 0),
		})
	}
	for i := range blocks / 16 {
		a := netip.AddrFrom4([4]byte{172, 20, byte(i >> 8), byte(i)})
		f.nodes.Addresses = append(f.nodes.Addresses, a)
		f.nodes.Infrastructure = append(f.nodes.Infrastructure, infrastructure.NodeAddress(fmt.Sprint("n", i), a))
	}
	f.pools[0].Object.UID = types.UID("u")
	return f
}
