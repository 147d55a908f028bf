package bgp

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// fakes are all the neighbours of a loop. Each can be told to fail.
type fakes struct {
	mu        sync.Mutex
	input     bgpplan.Input
	readErr   error
	cordoned  bool
	endpoints []addressbook.Endpoint
	stays     map[string]bool // by pod; one that is missing is an error
	asked     int
	plans     []bgpplan.Plan
	slow      bool // Apply gets no answer
	changed   chan struct{}
	status    speaker.Status
	states    []State
	events    []string
	learned   int // how often the datapath was told of learned routes
	whole     int // how often it was told of anything else
	processes int
	// unknown says that the objects are not known until learn is called.
	unknown    bool
	known      <-chan struct{}
	learn      func()
	ran        bool // an earlier agent left a speaker
	peerRoutes []plan.PeerRoute
}

func (f *fakes) locked(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakes) Read(context.Context) (bgpplan.Input, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.input, f.readErr
}

func (f *fakes) Wait() {}

func (f *fakes) Cordoned(context.Context) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cordoned
}

func (f *fakes) Endpoints() []addressbook.Endpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.endpoints
}

func (f *fakes) StaysInDrain(_ context.Context, _, name string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	stays, known := f.stays[name]
	if !known {
		return false, errors.New("the API server is away")
	}
	return stays, nil
}

func (f *fakes) Run(ctx context.Context)   { <-ctx.Done() }
func (f *fakes) Adopt([]plan.LearnedRoute) {}
func (f *fakes) Changed() <-chan struct{}  { return f.changed }
func (f *fakes) Routes() speaker.Snapshot {
	return speaker.Snapshot{Routes: []plan.LearnedRoute{{Prefix: netip.MustParsePrefix("10.9.0.0/16")}}}
}
func (f *fakes) Changes() []plan.LearnedRoute { return nil }

func (f *fakes) Status() (speaker.Status, []speaker.Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status, nil
}

func (f *fakes) Apply(ctx context.Context, p bgpplan.Plan) ([]speaker.Failure, error) {
	f.locked(func() { f.plans = append(f.plans, p) })
	if f.slow {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, nil
}

func (f *fakes) ReportBGP(s State)         { f.locked(func() { f.states = append(f.states, s) }) }
func (f *fakes) Event(_, reason, _ string) { f.locked(func() { f.events = append(f.events, reason) }) }

// announced returns what the last plan announces.
func (f *fakes) announced() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.plans) == 0 {
		return nil
	}
	var out []string
	for _, a := range f.plans[len(f.plans)-1].Announcements {
		out = append(out, a.Prefix.String())
	}
	return out
}

// meshInput has two nodes in a mesh, and one block.
func meshInput() bgpplan.Input {
	in := bgpplan.Input{
		Node: "a", Configuration: &v1alpha1.BGPConfiguration{},
		Pools:  []bgpplan.Pool{{Name: "pods", CIDR: netip.MustParsePrefix("10.211.0.0/16"), Export: true}},
		Blocks: []bgpplan.Block{{CIDR: netip.MustParsePrefix("10.211.0.0/26"), Pool: "pods"}},
	}
	in.Configuration.Spec.NodeToNodeMesh.Enabled = true
	for i, name := range []string{"a", "b"} {
		n := v1alpha1.NodeNetwork{}
		n.Name = name
		n.Status.Addresses = []v1alpha1.NodeAddress{{Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}).String(), Subnet: "10.0.0.0/24"}}
		in.NodeNetworks = append(in.NodeNetworks, n)
	}
	return in
}

func endpoint(pod, address string) addressbook.Endpoint {
	return addressbook.Endpoint{Interface: "cw" + pod, Namespace: "default", Pod: pod, Addresses: []netip.Addr{netip.MustParseAddr(address)}, Pools: []string{"pods"}}
}

// run runs a loop with fakes in a bubble of synctest.
func run(t *testing.T, f *fakes, test func(l *Loop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f.changed = make(chan struct{}, 1)
		known := make(chan struct{})
		f.known = known
		if !f.unknown {
			close(known)
		} else {
			f.locked(func() { f.learn = func() { close(known) } })
		}
		l := New(Options{
			Node: "a", Objects: f, Book: f, Pods: f, Speaker: f, Reporter: f, Log: logr.Discard(),
			KeepProcess: func(ctx context.Context) { f.locked(func() { f.processes++ }); <-ctx.Done() },
			AwaitObjects: func(ctx context.Context) bool {
				select {
				case <-f.known:
					return true
				case <-ctx.Done():
					return false
				}
			},
			SpeakerRan: f.ran, PeerRoutes: f.peerRoutes,
			LearnedChanged: func() { f.locked(func() { f.learned++ }) }, PlanChanged: func() { f.locked(func() { f.whole++ }) },
			Links: func() ([]bgpplan.Link, error) { return nil, nil },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		defer func() { // also after t.Fatal
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		settled()
		test(l)
	})
}

// settled lets the loop do what it has to do now.
func settled() {
	time.Sleep(2 * settle)
	synctest.Wait()
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v are announced, not %v", what, got, want)
	}
}

func TestLearnedRoutesPassASlowSpeaker(t *testing.T) {
	f := &fakes{input: meshInput(), slow: true}
	run(t, f, func(*Loop) {
		if len(f.plans) != 1 {
			t.Fatalf("%d plans were sent", len(f.plans))
		}
		before := f.learned
		f.changed <- struct{}{}
		synctest.Wait() // no time passes: the speaker still thinks about the plan
		if f.learned != before+1 {
			t.Errorf("the datapath was told %d times of a learned route", f.learned-before)
		}
	})
}

func TestPlanFollowsObjectsThatCouldNotBeRead(t *testing.T) {
	f := &fakes{input: meshInput(), readErr: errors.New("no cache")}
	run(t, f, func(l *Loop) {
		if len(f.plans) != 0 || f.processes != 0 {
			t.Fatalf("%d plans of nothing, %d processes", len(f.plans), f.processes)
		}
		f.locked(func() { f.readErr = nil })
		time.Sleep(failureRetry)
		settled()
		expect(t, "after the retry", f.announced(), "10.211.0.0/26")
		f.locked(func() { f.readErr = errors.New("no cache again") })
		l.Wake()
		settled()
		if len(f.plans) != 1 {
			t.Error("a failed pass sent a plan")
		}
	})
}

func TestSessionsGoOnWithoutObjects(t *testing.T) {
	route := plan.PeerRoute{Peer: netip.MustParseAddr("10.0.9.9"), Via: netip.MustParseAddr("10.0.0.254")}
	f := &fakes{input: meshInput(), unknown: true, ran: true, peerRoutes: []plan.PeerRoute{route}}
	run(t, f, func(l *Loop) {
		f.changed <- struct{}{}
		settled()
		f.locked(func() {
			if f.processes != 1 || f.learned != 1 || len(f.plans) != 0 {
				t.Errorf("without objects: %d speakers kept, %d changes passed on, %d plans", f.processes, f.learned, len(f.plans))
			}
		})
		if got := l.PeerRoutes(); !l.Active() || !slices.Equal(got, []plan.PeerRoute{route}) {
			t.Errorf("the earlier agent's peer routes are %v", got)
		}
		f.learn()
		settled()
		expect(t, "once the objects are known", f.announced(), "10.211.0.0/26")
		if got := l.PeerRoutes(); len(got) != 0 {
			t.Errorf("peer routes of an old plan stay: %v", got)
		}
	})
}

func TestNoSpeakerWithoutSessions(t *testing.T) {
	f := &fakes{input: bgpplan.Input{Node: "a"}}
	run(t, f, func(l *Loop) {
		if f.processes != 0 || len(f.plans) != 0 || l.Active() || l.Learned() != nil || f.whole != 1 {
			t.Errorf("%d processes, %d plans, active %v, the datapath was told %d times", f.processes, len(f.plans), l.Active(), f.whole)
		}
		f.locked(func() { f.input = meshInput() })
		l.Wake()
		settled()
		if f.processes != 1 || len(f.plans) != 1 || !l.Active() || len(l.Learned()) != 1 {
			t.Errorf("with a mesh: %d processes, %d plans, active %v", f.processes, len(f.plans), l.Active())
		}
	})
}

func TestAddressOutsideItsBlockIsAnnouncedAtOnce(t *testing.T) {
	f := &fakes{input: meshInput(), endpoints: []addressbook.Endpoint{endpoint("one", "10.211.0.5")}}
	run(t, f, func(l *Loop) {
		expect(t, "at first", f.announced(), "10.211.0.0/26")
		f.locked(func() { f.endpoints = append(f.endpoints, endpoint("two", "10.211.0.6")) })
		l.PodsChanged()
		settled()
		if len(f.plans) != 1 {
			t.Error("a pod inside the block made a plan")
		}
		f.locked(func() { f.endpoints = append(f.endpoints, endpoint("moved", "10.211.7.7")) })
		l.PodsChanged()
		settled()
		expect(t, "a pod outside", f.announced(), "10.211.0.0/26", "10.211.7.7/32")
		f.locked(func() { f.endpoints = f.endpoints[:2] })
		l.PodsChanged()
		settled()
		expect(t, "it is gone", f.announced(), "10.211.0.0/26")
	})
}

func TestDrainedNodeWithdraws(t *testing.T) {
	f := &fakes{
		input: meshInput(), stays: map[string]bool{"daemon": true},
		endpoints: []addressbook.Endpoint{endpoint("daemon", "10.211.0.5"), endpoint("web", "10.211.0.6")},
	}
	run(t, f, func(l *Loop) {
		if f.asked != 0 {
			t.Error("pods are asked about on a node that is not cordoned")
		}
		f.locked(func() { f.cordoned = true })
		l.PodsChanged()
		settled()
		expect(t, "the API server does not answer", f.announced(), "10.211.0.0/26")
		f.locked(func() { f.stays["web"] = false })
		time.Sleep(drainRetry)
		settled()
		expect(t, "a pod has to leave", f.announced(), "10.211.0.0/26")
		asked := f.asked
		l.PodsChanged()
		settled()
		if f.asked != asked {
			t.Error("the same pods are asked about again")
		}
		f.locked(func() { f.endpoints = f.endpoints[:1] })
		l.PodsChanged()
		settled()
		expect(t, "only a DaemonSet's pod is left", f.announced())
		f.locked(func() { f.cordoned = false })
		l.PodsChanged()
		settled()
		expect(t, "uncordoned", f.announced(), "10.211.0.0/26")
	})
}

// TestDrainedFromTheStart restarts the agent of a drained node: it must not announce for a moment.
func TestDrainedFromTheStart(t *testing.T) {
	f := &fakes{input: meshInput(), cordoned: true}
	run(t, f, func(*Loop) {
		if len(f.plans) != 1 || len(f.plans[0].Announcements) != 0 || len(f.plans[0].Sessions) != 1 {
			t.Errorf("plans: %+v", f.plans)
		}
	})
}

func TestTheWindowHidesPasswords(t *testing.T) {
	f := &fakes{input: meshInput()}
	f.input.Configuration.Spec.NodeToNodeMesh.Password = &v1alpha1.BGPPassword{}
	f.input.Configuration.Spec.NodeToNodeMesh.Password.SecretKeyRef.Name = "mesh"
	f.input.Configuration.Spec.NodeToNodeMesh.Password.SecretKeyRef.Key = "password"
	f.input.Passwords = bgpplan.Passwords{"mesh": {"password": "open sesame"}}
	run(t, f, func(l *Loop) {
		w := l.Window()
		if len(w.Plan.Sessions) != 1 || w.Plan.Sessions[0].Password != "open sesame" {
			t.Fatalf("the plan has no password: %+v", w.Plan)
		}
		raw, err := json.Marshal(w)
		text := w.String()
		if err != nil || strings.Contains(string(raw)+text, "sesame") {
			t.Errorf("%v, shown %s\n%s", err, raw, text)
		}
		if !strings.Contains(text, "session 10.0.0.2 AS 64512 (NodeToNodeMesh): Idle") || !strings.Contains(text, "announce 10.211.0.0/26 (Block)") {
			t.Errorf("the window shows\n%s", text)
		}
	})
}

func TestSessionsAreReported(t *testing.T) {
	f := &fakes{input: meshInput()}
	run(t, f, func(*Loop) {
		peer := netip.MustParseAddr("10.0.0.2")
		for _, state := range []string{"Established", "Established", "Active"} {
			f.locked(func() {
				f.status = speaker.Status{Sessions: []speaker.SessionStatus{{Peer: peer, State: state, Received: 3, LastError: "It closed."}}}
			})
			f.changed <- struct{}{}
			time.Sleep(2 * reportEvery)
			synctest.Wait()
		}
		if want := []string{"BGPSessionEstablished", "BGPSessionDown"}; !slices.Equal(f.events, want) {
			t.Errorf("events are %v, not %v", f.events, want)
		}
		last := f.states[len(f.states)-1]
		if s := last.Sessions; !last.Active || last.Learned != 3 || len(s) != 1 || s[0].State != "Active" || s[0].LastError != "It closed." {
			t.Errorf("the last report is %+v", last)
		}
	})
}
