package datapath

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/cluster"
	"github.com/causeway-net/causeway/node-agent/datapath/kernel"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// fakes are all the neighbours of a loop. Each can be told to fail.
type fakes struct {
	mu        sync.Mutex
	pools     []cluster.Pool
	blocks    []plan.Block
	endpoints []addressbook.Endpoint
	learned   []plan.LearnedRoute
	changes   []plan.LearnedRoute
	observed  kernel.Observed
	busy      int // how often Observe can't read
	refused   error

	changed, pods chan struct{}
	queries       []kernel.Query
	plans         []plan.Plan
	single        []plan.RouteChange
	states        []State
	linksChanged  int
	moved         int
	shrunk        map[string]int
	logged        []string
	turns         int
}

func (f *fakes) locked(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakes) Probe(context.Context) plan.Capabilities {
	return plan.Capabilities{IPIP: true, VXLAN: true, NFTables: true}
}

func (f *fakes) Watch(context.Context) kernel.Events {
	return kernel.Events{Changed: f.changed, Pods: f.pods}
}

func (f *fakes) Observe(_ context.Context, q kernel.Query) (kernel.Observed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queries = append(f.queries, q)
	if f.busy > 0 {
		f.busy--
		return kernel.Observed{}, kernel.ErrBusy
	}
	return f.observed, nil
}

func (f *fakes) Apply(_ context.Context, plan plan.Plan) kernel.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plans = append(f.plans, plan)
	if f.refused != nil {
		return kernel.Report{Failures: []kernel.Failure{{Object: "add route", Err: f.refused}}}
	}
	return kernel.Report{Routes: plan.Counts()}
}

func (f *fakes) ApplyRoutes(changes []plan.RouteChange) (kernel.Report, bool) {
	f.locked(func() { f.single = append(f.single, changes...) })
	return kernel.Report{}, true
}

func (f *fakes) Close() error                         { return nil }
func (f *fakes) Pools() []cluster.Pool                { return f.pools }
func (f *fakes) NodeAddresses() []netip.Addr          { return nil }
func (f *fakes) Node() (cluster.Node, bool)           { return cluster.Node{Name: "a"}, true }
func (f *fakes) Active() bool                         { return true }
func (f *fakes) PeerRoutes() []plan.PeerRoute         { return nil }
func (f *fakes) LinksChanged()                        { f.locked(func() { f.linksChanged++ }) }
func (f *fakes) ReportDatapath(s State)               { f.locked(func() { f.states = append(f.states, s) }) }
func (f *fakes) Applied(time.Duration, kernel.Report) {}
func (f *fakes) SetPodMTUs(map[string]int, int)       {}
func (f *fakes) AddressChanged(_, _ netip.Addr)       { f.locked(func() { f.moved++ }) }

func (f *fakes) Blocks() []plan.Block {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blocks
}

func (f *fakes) Endpoints() []addressbook.Endpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.endpoints
}

func (f *fakes) Get(name string) (addressbook.Endpoint, bool) {
	for _, e := range f.Endpoints() {
		if e.Interface == name {
			return e, true
		}
	}
	return addressbook.Endpoint{}, false
}

func (f *fakes) Learned() []plan.LearnedRoute { return f.learned }
func (f *fakes) Changes() []plan.LearnedRoute { return f.changes }

func (f *fakes) ShrinkMTU(name, _, _ string, mtu int) error {
	f.locked(func() { f.shrunk[name] = mtu })
	return nil
}

var (
	pfx  = netip.MustParsePrefix
	addr = netip.MustParseAddr
)

// node is node a with one pool, a neighbour b, and a pod.
func node() *fakes {
	f := &fakes{
		observed: kernel.Observed{
			V4:    plan.Underlay{Address: addr("192.168.0.1"), Subnet: pfx("192.168.0.0/24"), Interface: "eth0", MTU: 1500},
			Links: map[string]bool{"eth0": true, "cw00000000001": true},
		},
		blocks: []plan.Block{
			{CIDR: pfx("10.0.0.0/26"), Pool: "p", Node: "a"},
			{CIDR: pfx("10.0.1.0/26"), Pool: "p", Node: "b", NodeAddresses: []netip.Addr{addr("192.168.0.2")}},
		},
		endpoints: []addressbook.Endpoint{{
			Interface: "cw00000000001", ContainerInterface: "eth0", NetworkNamespace: "/run/netns/1", Addresses: []netip.Addr{addr("10.0.0.1")}, Pools: []string{"p"}, State: addressbook.Ready,
		}},
		shrunk: map[string]int{},
	}
	f.pools = []cluster.Pool{{Object: &v1alpha1.IPPool{}, Route: plan.Pool{Name: "p", CIDR: pfx("10.0.0.0/16"), Encapsulation: v1alpha1.EncapsulationNone, Settled: true}}}
	return f
}

// run runs a loop with fakes in a bubble of synctest.
func run(t *testing.T, f *fakes, test func(l *Loop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f.changed, f.pods = make(chan struct{}, 1), make(chan struct{}, 1)
		log := funcr.New(func(_, line string) { f.locked(func() { f.logged = append(f.logged, line) }) }, funcr.Options{})
		l := New(Options{Node: "a", Kernel: f, View: f, Book: f, BGP: f, Pods: f, Reporter: f, Resync: time.Minute, Log: log,
			Turned: func() { f.locked(func() { f.turns++ }) }})
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
		settled(2 * apiSettle)
		test(l)
	})
}

// settled lets the loop do what it has to do within a time.
func settled(within time.Duration) {
	time.Sleep(within)
	synctest.Wait()
}

func TestAChangeOfTheAPIReachesTheKernel(t *testing.T) {
	f := node()
	run(t, f, func(l *Loop) {
		if len(f.plans) != 1 || len(f.states) != 1 || f.states[0].Failure != nil || f.shrunk["cw00000000001"] != 1500 {
			t.Fatalf("after the first pass: %d plans, states %+v, MTUs %v", len(f.plans), f.states, f.shrunk)
		}
		f.locked(func() {
			f.blocks = append(f.blocks, plan.Block{CIDR: pfx("10.0.2.0/26"), Pool: "p", Node: "c", NodeAddresses: []netip.Addr{addr("192.168.0.3")}})
		})
		l.Wake()
		settled(2 * apiSettle)
		if n := len(f.plans); n != 2 || !strings.Contains(f.plans[1].String(), "10.0.2.0/26 via 192.168.0.3 dev eth0") {
			t.Errorf("%d plans, the last one\n%s", n, f.plans[n-1])
		}
	})
}

// Whoever judges the loop by its turns hears of one at least once in Resync, in a quiet cluster and in one that fails.
func TestTheLoopTellsEachTurn(t *testing.T) {
	for _, refused := range []error{nil, errors.New("file exists")} {
		f := node()
		f.refused = refused
		run(t, f, func(*Loop) {
			for range 3 {
				before := 0
				f.locked(func() { before = f.turns })
				settled(time.Minute + time.Second)
				f.locked(func() {
					if f.turns == before {
						t.Errorf("no turn within a minute (the kernel says %v)", refused)
					}
				})
			}
		})
	}
}

func TestARefusalIsReportedAndTriedAgain(t *testing.T) {
	f := node()
	f.refused = errors.New("file exists")
	run(t, f, func(l *Loop) {
		if len(f.states) == 0 || f.states[0].Failure == nil {
			t.Fatalf("states %+v", f.states)
		}
		w, shown := l.Window()
		if text := w.String(); !shown || !strings.Contains(text, "10.0.1.0/26 via 192.168.0.2") || !strings.Contains(text, "the kernel refuses: add route: file exists") {
			t.Errorf("the window shows\n%s", text)
		}
		settled(5 * failureRetry)
		errors := 0
		for _, line := range f.logged {
			if strings.Contains(line, "file exists") {
				errors++
			}
		}
		if errors != 1 {
			t.Errorf("one failure was logged %d times", errors)
		}
		f.locked(func() { f.refused = nil })
		settled(2 * failureRetry)
		if last := f.states[len(f.states)-1]; last.Failure != nil {
			t.Errorf("the last state is %+v", last)
		}
	})
}

func TestABusyKernelIsNoFailure(t *testing.T) {
	f := node()
	run(t, f, func(l *Loop) {
		f.locked(func() { f.busy = 3 })
		l.Wake()
		settled(time.Second)
		if len(f.states) != 2 || f.states[1].Failure != nil || len(f.queries) != 5 {
			t.Errorf("%d looks, states %+v", len(f.queries), f.states)
		}
	})
}

// TestResyncLooksAtEverything has one timer: what is known from events alone is believed for no longer than it says.
func TestResyncLooksAtEverything(t *testing.T) {
	f := node()
	run(t, f, func(*Loop) {
		f.changed <- struct{}{}
		settled(2 * kernelSettle)
		if n := len(f.queries); n != 2 || f.queries[1].Everything || f.linksChanged != 1 {
			t.Fatalf("after an event: %+v, %d", f.queries, f.linksChanged)
		}
		settled(time.Minute)
		if n := len(f.queries); n != 3 || !f.queries[2].Everything {
			t.Errorf("after a minute: %+v", f.queries)
		}
	})
}

func TestLearnedRoutesGoAlone(t *testing.T) {
	f := node()
	run(t, f, func(l *Loop) {
		f.changes = []plan.LearnedRoute{{Prefix: pfx("203.0.113.0/24"), NextHops: []netip.Addr{addr("192.168.0.9")}}}
		l.WakeLearned()
		synctest.Wait()
		if len(f.single) != 1 || f.single[0].Gone || len(f.plans) != 1 {
			t.Fatalf("changes %+v, %d plans", f.single, len(f.plans))
		}
		settled(wholeQuiet + 2*apiSettle)
		if len(f.plans) != 2 {
			t.Errorf("%d plans after a quiet second", len(f.plans))
		}
	})
}

func TestPodsComeInTheirOwnTime(t *testing.T) {
	f := node()
	run(t, f, func(*Loop) {
		for range 30 { // a storm of pods
			f.pods <- struct{}{}
			settled(wholeQuiet / 2)
		}
		if n := len(f.plans); n != 2 {
			t.Errorf("%d plans in 15 seconds of new pods", n)
		}
	})
}

func TestAnotherAddressIsTold(t *testing.T) {
	f := node()
	run(t, f, func(*Loop) {
		f.locked(func() { f.observed.V4.Address = addr("192.168.0.7") })
		f.changed <- struct{}{}
		settled(2 * kernelSettle)
		if f.moved != 1 {
			t.Errorf("told %d times", f.moved)
		}
	})
}
