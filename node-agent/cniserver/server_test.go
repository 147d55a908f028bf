package cniserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/wish"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
)

// world stands for records and kernel, so that every failure can be had at will. The real ones are tested together in
// node-agent/records, and end to end.
type world struct {
	server  *Server
	mu      sync.Mutex
	records map[string]addressbook.Endpoint
	pending map[string]bool
	links   map[string]bool
	marked  map[string]bool
	writes  int
	away    bool // the API server: records stay as they are
	refused error
	// remembered are the addresses that every pod had before.
	remembered []netip.Addr
	failWire   error
	slow       map[string]chan struct{} // host interface whose wiring waits
	reaping    func()                   // called while links are deleted
	gone       error
	// namespaces are those that are seen at a certain time only.
	namespaces map[string]time.Time
}

func newWorld() *world {
	return &world{records: map[string]addressbook.Endpoint{}, pending: map[string]bool{}, links: map[string]bool{}, marked: map[string]bool{}, slow: map[string]chan struct{}{}}
}

func (w *world) Write(e addressbook.Endpoint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	if w.pending[e.Interface] = w.away; !w.away {
		w.records[e.Interface] = e
	}
}

func (w *world) Rewrite(e addressbook.Endpoint) { w.Write(e) }

func (w *world) Remove(e addressbook.Endpoint) {
	w.mu.Lock()
	_, recorded := w.records[e.Interface]
	if recorded {
		w.writes++
	}
	if w.pending[e.Interface] = w.away && recorded; w.away && recorded {
		w.mu.Unlock()
		return
	}
	delete(w.records, e.Interface)
	w.mu.Unlock()
	w.server.RecordGone(e.Interface)
}

// back lets the removals through that waited for the API server.
func (w *world) back() {
	w.mu.Lock()
	w.away = false
	waiting := w.pending
	w.pending = map[string]bool{}
	w.mu.Unlock()
	for key := range waiting {
		delete(w.records, key)
		w.server.RecordGone(key)
	}
}

func (w *world) Pending(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pending[key]
}

func (w *world) Await(context.Context, string) error {
	if w.away {
		return errors.New("the API server does not answer")
	}
	return w.refused
}

func (w *world) Wire(s veth.Spec) error {
	w.mu.Lock()
	wait := w.slow[s.HostInterface]
	w.mu.Unlock()
	if wait != nil {
		<-wait
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failWire != nil {
		return w.failWire
	}
	w.links[s.HostInterface] = true
	delete(w.marked, s.HostInterface)
	return nil
}

func (w *world) Check(veth.Spec) error { return nil }

func (w *world) MarkDeleted(name string) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.links[name] {
		w.marked[name] = true
	}
	return w.links[name], nil
}

func (w *world) Reap(hostInterfaces []string) ([]string, error) {
	if w.reaping != nil {
		w.reaping()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range hostInterfaces {
		delete(w.links, name)
		delete(w.marked, name)
	}
	return hostInterfaces, nil
}

func (w *world) Candidates(namespace string, _ []wish.Wish) ([][]string, error) {
	if known, told := w.namespaces[namespace]; told && time.Now().Before(known) {
		return nil, addressbook.ErrUnknownNamespace
	}
	return [][]string{{"p"}}, nil
}
func (w *world) Fixed([]netip.Addr) (wish.Wish, error) {
	return wish.Wish{}, nil
}
func (w *world) Remembered(string, string, [][]string) []netip.Addr { return w.remembered }

func (w *world) MTU([]string) int            { return 1450 }
func (w *world) Fullness(pool string) string { return "IPPool " + pool + " is full: 63 of 63" }
func (w *world) Unavailable() error          { return w.gone }

func newTestServer(t *testing.T, w *world) *Server {
	t.Helper()
	book := addressbook.New(addressbook.Options{Now: time.Now, DemandChanged: func() {}})
	book.SetPools([]addressbook.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/16"), Usable: true, BlockCapacity: 63}})
	book.SetBlocks([]addressbook.Block{{CIDR: netip.MustParsePrefix("10.0.0.0/26"), Pool: "p"}})
	s := New(Options{Node: "n", Book: book, Records: w, Wiring: w, Pools: w, Health: w, Log: logr.Discard(), Observe: func(string, uint, time.Duration) {}})
	w.server = s
	s.SetSynced()
	return s
}

func request(verb, id string) protocol.Request {
	return protocol.Request{
		Command: verb, ContainerID: id, NetworkNamespace: "/run/netns/x", Interface: "eth0",
		Args:   "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;IgnoreUnknown=1",
		Config: json.RawMessage(`{"cniVersion":"1.1.0","name":"causeway","type":"causeway"}`),
	}
}

func (s *Server) must(t *testing.T, r protocol.Request) protocol.Response {
	t.Helper()
	response := s.Handle(t.Context(), r)
	if response.Error != nil {
		t.Fatalf("%s %s: %+v", r.Command, r.ContainerID, response.Error)
	}
	return response
}

func (s *Server) reapAll(t *testing.T) {
	t.Helper()
	for !s.reaper.pass() {
	}
}

func TestAddAndDelCostOneWriteEach(t *testing.T) {
	w := newWorld()
	s := newTestServer(t, w)
	s.must(t, request("ADD", "a"))
	if w.writes != 1 || len(w.records) != 1 {
		t.Fatalf("ADD: %d writes, %d records", w.writes, len(w.records))
	}
	s.must(t, request("DEL", "a"))
	if w.writes != 2 || len(w.records) != 0 {
		t.Fatalf("DEL: %d writes, %d records", w.writes, len(w.records))
	}
	s.must(t, request("DEL", "a"))
	s.must(t, request("DEL", "never-seen"))
	if w.writes != 2 {
		t.Fatalf("a second DEL and one of something unknown wrote %d times", w.writes-2)
	}
}

func TestAddTwiceGivesTheSameAddress(t *testing.T) {
	w := newWorld()
	s := newTestServer(t, w)
	first := s.must(t, request("ADD", "a"))
	second := s.must(t, request("ADD", "a"))
	if string(first.Result) != string(second.Result) || w.writes != 1 {
		t.Fatalf("%d writes\n%s\n%s", w.writes, first.Result, second.Result)
	}
}

func TestTwoContainersOfOnePodLiveApart(t *testing.T) {
	w := newWorld()
	s := newTestServer(t, w)
	s.must(t, request("ADD", "old"))
	s.must(t, request("ADD", "new"))
	s.must(t, request("DEL", "old"))
	s.reapAll(t)
	if !w.links[names.HostInterface("new", "eth0")] || len(w.records) != 1 {
		t.Fatalf("the late DEL of the old sandbox touched the new one: %v, %v", w.links, w.records)
	}
}

func TestAnAddressRestsUntilLinkAndRecordAreGone(t *testing.T) {
	w := newWorld()
	s := newTestServer(t, w)
	key := names.HostInterface("a", "eth0")
	s.must(t, request("ADD", "a"))
	w.away = true
	s.must(t, request("DEL", "a"))
	s.reapAll(t)
	if e, known := s.book.Get(key); !known || e.State != addressbook.Releasing || !w.links[key] || !w.marked[key] {
		t.Fatalf("with a record in the API the book says %+v (%t), link %t, marked %t", e, known, w.links[key], w.marked[key])
	}
	w.back()
	if _, known := s.book.Get(key); !known {
		t.Fatal("the book forgot the address while the link is there")
	}
	s.reapAll(t)
	if _, known := s.book.Get(key); known || w.links[key] {
		t.Fatal("neither link nor record is there, but the address is not free")
	}
}

// The runtime may repeat the ADD of a container whose DEL is not over; nobody waits for the API server.
func TestAddDuringDelKeepsTheAddress(t *testing.T) {
	w := newWorld()
	s := newTestServer(t, w)
	key := names.HostInterface("a", "eth0")
	first := s.must(t, request("ADD", "a"))
	w.away = true
	s.must(t, request("DEL", "a"))
	second := s.must(t, request("ADD", "a"))
	w.back()
	s.reapAll(t)
	if e, _ := s.book.Get(key); string(first.Result) != string(second.Result) || e.State != addressbook.Ready || !w.links[key] || w.marked[key] {
		t.Fatalf("the book says %+v, link %t, marked %t\n%s\n%s", e, w.links[key], w.marked[key], first.Result, second.Result)
	}
	other := request("ADD", "a")
	other.Config = json.RawMessage(`{"cniVersion":"1.1.0","name":"causeway","type":"causeway","runtimeConfig":{"ips":["10.0.0.40"]}}`)
	s.must(t, request("DEL", "a"))
	impatient, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if response := s.Handle(impatient, other); response.Error == nil {
		t.Fatalf("an ADD that asks for another address got %s while the DEL is under way", response.Result)
	}
	s.reapAll(t)
	if response := s.must(t, other); !strings.Contains(string(response.Result), "10.0.0.40") {
		t.Errorf("got %s", response.Result)
	}
}

// A pod whose name does not fit into the link's alias has its record before its ADD is answered.
func TestAPodWithALongNameWaitsForItsRecord(t *testing.T) {
	w := newWorld()
	s := newTestServer(t, w)
	r := request("ADD", "a")
	r.Args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + strings.Repeat("x", 240)
	w.away = true
	if response := s.Handle(t.Context(), r); response.Error == nil || response.Error.Code != protocol.CodeTryAgainLater {
		t.Fatalf("got %+v", response)
	}
	s.reapAll(t)
	if len(w.links)+len(s.book.Endpoints()) != 0 {
		t.Errorf("left: %v, %v", w.links, s.book.Endpoints())
	}
	w.back()
	s.must(t, r)
}

func TestLinksGoTogetherAndNobodyWaitsForARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := newTestServer(t, w)
		for _, id := range []string{"a", "b", "late"} {
			s.must(t, request("ADD", id))
		}
		passes := 0
		w.reaping = func() {
			if passes++; passes == 1 {
				s.must(t, request("DEL", "late"))
				time.Sleep(reapQuiet) // the kernel's wait
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go s.reaper.run(ctx)
		begin := time.Now()
		s.must(t, request("DEL", "a"))
		s.must(t, request("DEL", "b"))
		for len(s.book.Endpoints()) > 0 {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(begin); took > 4*reapQuiet || passes != 2 {
			t.Errorf("%d passes in %v", passes, took)
		}
		cancel()
	})
}

func TestAStreamOfDELsIsReapedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := newTestServer(t, w)
		passes := 0
		w.reaping = func() { passes++ }
		ctx, cancel := context.WithCancel(t.Context())
		go s.reaper.run(ctx)
		for i := range 110 {
			id := fmt.Sprint(i)
			s.must(t, request("ADD", id))
			s.must(t, request("DEL", id))
			time.Sleep(reapQuiet / 3)
		}
		if want := int(1100 * time.Millisecond / reapWithin); passes != want {
			t.Errorf("%d passes in 1.1 s, want %d", passes, want)
		}
		cancel()
	})
}

func TestCallsWaitForAnAgentThatStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := newTestServer(t, w)
		s.synced = make(chan struct{})
		w.gone = errors.New("the agent waits for the Kubernetes API server")
		begin := time.Now()
		for _, verb := range []string{"ADD", "DEL", "GC"} {
			response := s.Handle(t.Context(), request(verb, "early"))
			if response.Error == nil || response.Error.Code != protocol.CodeTryAgainLater || !strings.Contains(response.Error.Message, "API server") {
				t.Errorf("%s: %+v", verb, response.Error)
			}
		}
		if took := time.Since(begin); took != 3*startPatience {
			t.Errorf("three calls gave up after %v", took)
		}
		w.gone = nil
		time.AfterFunc(startPatience/2, s.SetSynced)
		s.must(t, request("ADD", "early"))
	})
}

// A node that has had its network since its start keeps it, whatever the agent waits for.
func TestStatusStaysOnceANodeHasServed(t *testing.T) {
	w := newWorld()
	s := newTestServer(t, w)
	s.served = filepath.Join(t.TempDir(), "agent.sock"+protocol.ServedSuffix)
	ask := func() *protocol.Error { return s.Handle(t.Context(), request("STATUS", "")).Error }
	w.gone = errors.New("the agent waits for the Kubernetes API server")
	if e := ask(); e == nil || e.Code != protocol.CodeNotAvailable || !strings.Contains(e.Message, "API server") {
		t.Errorf("before the first pod could be served: %+v", e)
	}
	w.gone = nil
	s.must(t, request("STATUS", ""))
	w.gone = errors.New("the kernel can't be read")
	s.must(t, request("STATUS", ""))
	if err := os.Remove(s.served); err != nil { // as a reboot does
		t.Fatal(err)
	}
	if e := ask(); e == nil {
		t.Error("a node that has restarted says that its network is there")
	}
}

func TestAnAddWaitsForAnAgentThatIsStillBlind(t *testing.T) {
	for name, c := range map[string]struct {
		reason error
		want   uint
		within time.Duration
	}{
		"it starts":        {fmt.Errorf("%w without a checkpoint", ErrStarting), 0, 5 * time.Second},
		"its Node is gone": {errors.New("the Node n does not exist"), protocol.CodeTryAgainLater, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.gone = c.reason
				s := newTestServer(t, w)
				begin := time.Now()
				time.AfterFunc(5*time.Second-time.Millisecond, func() {
					w.mu.Lock()
					defer w.mu.Unlock()
					w.gone = nil
				})
				response := s.Handle(t.Context(), request("ADD", "a"))
				code := uint(0)
				if response.Error != nil {
					code = response.Error.Code
				}
				if took := time.Since(begin); code != c.want || took > c.within {
					t.Errorf("after %s: %+v", took, response.Error)
				}
			})
		})
	}
}

func TestAPodOfANewNamespaceWaitsALittle(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		want  uint
	}{
		"seen at once":      {50 * time.Millisecond, 0},
		"not seen for long": {time.Minute, protocol.CodeTryAgainLater},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.namespaces = map[string]time.Time{"default": time.Now().Add(c.after)}
				s := newTestServer(t, w)
				response := s.Handle(t.Context(), request("ADD", "a"))
				code := uint(0)
				if response.Error != nil {
					code = response.Error.Code
				}
				if code != c.want {
					t.Errorf("got %+v, want code %d", response.Error, c.want)
				}
			})
		})
	}
}

func TestFailedAddLeavesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		wire error
		code uint
	}{
		"no namespace":  {veth.ErrNoNamespace, protocol.CodeNoNamespace},
		"name is taken": {veth.ErrInterfaceTaken, protocol.CodeInterfaceTaken},
		"kernel":        {errors.New("no memory"), protocol.CodeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.failWire = tc.wire
			s := newTestServer(t, w)
			response := s.Handle(t.Context(), request("ADD", "a"))
			if response.Error == nil || response.Error.Code != tc.code || !strings.HasSuffix(response.Error.Message, ".") {
				t.Fatalf("got %+v, want code %d and a sentence", response.Error, tc.code)
			}
			s.reapAll(t)
			if len(w.links)+len(w.records)+len(s.book.Endpoints())+w.writes != 0 {
				t.Errorf("left: %v, %v, %v, %d writes", w.links, w.records, s.book.Endpoints(), w.writes)
			}
		})
	}
}

func TestASlowAddBlocksNobodyElse(t *testing.T) {
	w := newWorld()
	s := newTestServer(t, w)
	gate := make(chan struct{})
	w.slow[names.HostInterface("slow", "eth0")] = gate
	slow := make(chan protocol.Response, 1)
	go func() { slow <- s.Handle(context.Background(), request("ADD", "slow")) }()
	s.must(t, request("ADD", "quick"))
	impatient, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	for {
		if _, known := s.book.Get(names.HostInterface("slow", "eth0")); known {
			break
		}
	}
	if response := s.Handle(impatient, request("DEL", "slow")); response.Error == nil || response.Error.Code != protocol.CodeTryAgainLater {
		t.Errorf("DEL during ADD: %+v", response)
	}
	close(gate)
	if response := <-slow; response.Error != nil {
		t.Errorf("the slow ADD: %+v", response.Error)
	}
	s.must(t, request("DEL", "slow"))
}

func TestGCRemovesWhatTheRuntimeDoesNotListInItsNetworkOnly(t *testing.T) {
	w := newWorld()
	s := newTestServer(t, w)
	s.must(t, request("ADD", "kept"))
	s.must(t, request("ADD", "stale"))
	other := request("ADD", "other")
	other.Config = json.RawMessage(`{"cniVersion":"1.1.0","name":"second","type":"causeway"}`)
	s.must(t, other)
	gc := protocol.Request{Command: "GC", Config: json.RawMessage(`{"cniVersion":"1.1.0","name":"causeway","type":"causeway","cni.dev/valid-attachments":[{"containerID":"kept","ifname":"eth0"}]}`)}
	s.must(t, gc)
	s.reapAll(t)
	var left []string
	for _, e := range s.book.Endpoints() {
		left = append(left, e.ContainerID)
	}
	slices.Sort(left)
	if !slices.Equal(left, []string{"kept", "other"}) {
		t.Fatalf("left: %v", left)
	}
}

func TestResultsForEveryVersion(t *testing.T) {
	w := newWorld()
	s := newTestServer(t, w)
	for _, version := range []string{"0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		r := request("ADD", "v"+version)
		r.Config = json.RawMessage(fmt.Sprintf(`{"cniVersion":%q,"name":"causeway","type":"causeway"}`, version))
		response := s.must(t, r)
		if !strings.Contains(string(response.Result), fmt.Sprintf(`"cniVersion":%q`, version)) {
			t.Errorf("version %s got %s", version, response.Result)
		}
		r.Command = "CHECK"
		r.Config = json.RawMessage(fmt.Sprintf(`{"cniVersion":%q,"name":"causeway","type":"causeway","prevResult":%s}`, version, response.Result))
		if response := s.Handle(t.Context(), r); version[:3] >= "0.4" { // CHECK came with it
			s.must(t, r)
		} else if response.Error == nil || response.Error.Code != protocol.CodeIncompatibleVersion {
			t.Errorf("CHECK of version %s got %+v", version, response)
		}
	}
}

func TestBadInputIsRefusedWithASentence(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, tc := range map[string]struct {
		change func(*protocol.Request)
		code   uint
	}{
		"no JSON":         {func(r *protocol.Request) { r.Config = json.RawMessage(`{`) }, protocol.CodeDecodingFailure},
		"JSON of no use":  {func(r *protocol.Request) { r.Config = json.RawMessage(`[1]`) }, protocol.CodeDecodingFailure},
		"container id":    {func(r *protocol.Request) { r.ContainerID = "../x" }, protocol.CodeInvalidEnvironment},
		"no container id": {func(r *protocol.Request) { r.ContainerID = "" }, protocol.CodeInvalidEnvironment},
		"interface":       {func(r *protocol.Request) { r.Interface = "sixteen-letters-" }, protocol.CodeInvalidEnvironment},
		"interface slash": {func(r *protocol.Request) { r.Interface = "a/b" }, protocol.CodeInvalidEnvironment},
		"arguments":       {func(r *protocol.Request) { r.Args = "K8S_POD_NAME" }, protocol.CodeInvalidEnvironment},
		"pod name":        {func(r *protocol.Request) { r.Args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=Web_0" }, protocol.CodeInvalidEnvironment},
		"long pod name":   {func(r *protocol.Request) { r.Args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + long }, protocol.CodeInvalidEnvironment},
		"no netns":        {func(r *protocol.Request) { r.NetworkNamespace = "" }, protocol.CodeInvalidEnvironment},
		"verb":            {func(r *protocol.Request) { r.Command = "MOVE" }, protocol.CodeInvalidEnvironment},
		"version":         {func(r *protocol.Request) { r.Config = json.RawMessage(`{"cniVersion":"9.9.9","name":"x"}`) }, protocol.CodeIncompatibleVersion},
		"no name":         {func(r *protocol.Request) { r.Config = json.RawMessage(`{"cniVersion":"1.1.0"}`) }, protocol.CodeInvalidConfig},
		"address not an IP": {func(r *protocol.Request) {
			r.Config = json.RawMessage(`{"cniVersion":"1.1.0","name":"x","runtimeConfig":{"ips":["ten"]}}`)
		}, protocol.CodeInternal},
		"address of no pool": {func(r *protocol.Request) {
			r.Config = json.RawMessage(`{"cniVersion":"1.1.0","name":"x","runtimeConfig":{"ips":["192.0.2.1"]}}`)
		}, protocol.CodeInvalidConfig},
		"network's name": {func(r *protocol.Request) { r.Config = json.RawMessage(`{"cniVersion":"1.1.0","name":"a b"}`) }, protocol.CodeInvalidConfig},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestServer(t, newWorld())
			r := request("ADD", "a")
			tc.change(&r)
			response := s.Handle(t.Context(), r)
			if response.Error == nil || response.Error.Code != tc.code || response.Error.Message == "" {
				t.Fatalf("got %+v, want code %d", response.Error, tc.code)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.1.0","name":"x"}`), "id", "eth0", "K8S_POD_NAME=a;K8S_POD_NAMESPACE=b")
	f.Add([]byte(`null`), "", "", ";;=")
	f.Fuzz(func(t *testing.T, conf []byte, id, ifname, args string) {
		c, bad := parse(protocol.Request{Command: "ADD", ContainerID: id, Interface: ifname, Args: args, Config: conf})
		if bad == nil && (len(c.key) != 13 || c.pod == "" || c.namespace == "") {
			t.Fatalf("accepted %+v", c)
		}
	})
}
