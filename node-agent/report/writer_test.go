package report

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

var resource = schema.GroupResource{Group: "causeway.dev", Resource: "things"}

// store is an API server with one object. It counts calls.
type store[T client.Object] struct {
	mu      sync.Mutex
	copyOf  func(T) T
	status  func(to, from T) // copies the status
	object  T
	exists  bool
	version int
	gets    int
	writes  []time.Time // Create, Patch and PatchStatus
	refuse  error       // the answer to every write
	down    error       // the answer to every call
}

func (s *store[T]) Get(context.Context) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	var none T
	if s.down != nil {
		return none, s.down
	}
	if !s.exists {
		return none, apierrors.NewNotFound(resource, "n")
	}
	return s.copyOf(s.object), nil
}

func (s *store[T]) Create(_ context.Context, in T) (T, error) {
	return s.write(in, func() (T, error) {
		if s.exists {
			return in, apierrors.NewAlreadyExists(resource, "n")
		}
		next := s.copyOf(in)
		next.SetUID(types.UID("uid" + strconv.Itoa(s.version)))
		s.exists = true
		return next, nil
	})
}

func (s *store[T]) Patch(_ context.Context, stored, next T) (T, error) {
	return s.write(next, func() (T, error) {
		if err := s.check(stored); err != nil {
			return next, err
		}
		out := s.copyOf(next)
		s.status(out, s.object)
		return out, nil
	})
}

func (s *store[T]) PatchStatus(_ context.Context, stored, next T) (T, error) {
	return s.write(next, func() (T, error) {
		if err := s.check(stored); err != nil {
			return next, err
		}
		out := s.copyOf(s.object)
		s.status(out, next)
		return out, nil
	})
}

func (s *store[T]) check(stored T) error {
	if !s.exists {
		return apierrors.NewNotFound(resource, "n")
	}
	if stored.GetResourceVersion() != s.object.GetResourceVersion() {
		return apierrors.NewConflict(resource, "n", errors.New("the object has been modified"))
	}
	return nil
}

func (s *store[T]) write(in T, do func() (T, error)) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, time.Now())
	if s.down != nil {
		return in, s.down
	}
	if s.refuse != nil {
		return in, s.refuse
	}
	next, err := do()
	if err != nil {
		return in, err
	}
	s.put(next)
	return s.copyOf(s.object), nil
}

func (s *store[T]) put(object T) {
	s.version++
	object.SetResourceVersion(strconv.Itoa(s.version))
	s.object = object
}

// elsewhere changes the object as another client does.
func (s *store[T]) elsewhere(change func(T)) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.copyOf(s.object)
	change(next)
	s.exists = true
	s.put(next)
	return s.copyOf(next)
}

func (s *store[T]) written() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.writes)
}

func (s *store[T]) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func networkStore() *store[*v1alpha1.NodeNetwork] {
	s := &store[*v1alpha1.NodeNetwork]{
		copyOf: func(o *v1alpha1.NodeNetwork) *v1alpha1.NodeNetwork { return o.DeepCopy() },
		status: func(to, from *v1alpha1.NodeNetwork) { from.Status.DeepCopyInto(&to.Status) },
		object: &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u"}}, exists: true,
	}
	s.put(s.object)
	return s
}

func claimStore() *store[*v1alpha1.BlockClaim] {
	return &store[*v1alpha1.BlockClaim]{
		copyOf: func(o *v1alpha1.BlockClaim) *v1alpha1.BlockClaim { return o.DeepCopy() },
		status: func(to, from *v1alpha1.BlockClaim) { from.Status.DeepCopyInto(&to.Status) },
	}
}

func bgpStore() *store[*v1alpha1.BGPNodeState] {
	return &store[*v1alpha1.BGPNodeState]{
		copyOf: func(o *v1alpha1.BGPNodeState) *v1alpha1.BGPNodeState { return o.DeepCopy() },
		status: func(to, from *v1alpha1.BGPNodeState) { from.Status.DeepCopyInto(&to.Status) },
	}
}

var testSettings = Settings{Node: "n", Log: logr.Discard()}

// run runs a writer in a bubble until the test's function returns.
func run(t *testing.T, f func(context.Context, *testing.T), loop func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); loop(ctx) }()
	f(ctx, t)
	cancel()
	<-done
}

// pass lets time go by and everybody finish.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func network(s *store[*v1alpha1.NodeNetwork]) *Network {
	n := NewNetwork(testSettings)
	n.writer.o.API = s
	return n
}

func claim(s *store[*v1alpha1.BlockClaim]) *Claim {
	c := NewClaim(testSettings)
	c.writer.o.API = s
	return c
}

func TestConflictsWhileTheCacheLagsAreNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := networkStore()
		n := network(s)
		run(t, func(_ context.Context, t *testing.T) {
			n.Observe(s.copyOf(s.object))
			n.SetFacts(Facts{MTU: 1500})
			pass(time.Second)
			// From here on the watch hangs, and the controller writes.
			s.elsewhere(func(o *v1alpha1.NodeNetwork) { o.Labels = map[string]string{"zone": "a"} })
			before := s.written()
			n.SetFacts(Facts{MTU: 1400})
			pass(time.Minute)
			if got := s.written() - before; got != 2 {
				t.Errorf("one change over one conflict took %d writes, want the refused one and the right one", got)
			}
			if s.object.Status.MTU != 1400 || s.object.Labels["zone"] != "a" {
				t.Errorf("stored: MTU %d, labels %v", s.object.Status.MTU, s.object.Labels)
			}
		}, n.Run)
	})
}

func TestLateNewsOfTheWatchDoNotBringOldWritesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := networkStore()
		n := network(s)
		old := s.copyOf(s.object)
		run(t, func(_ context.Context, t *testing.T) {
			n.Observe(old)
			n.SetFacts(Facts{MTU: 1500})
			pass(time.Second)
			before := s.written()
			for range 100 {
				n.Observe(old)
				pass(time.Second)
			}
			if got := s.written() - before; got != 0 {
				t.Errorf("an old version that the watch shows late caused %d writes", got)
			}
		}, n.Run)
	})
}

func TestSomebodyElsesConstantWritesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := networkStore()
		n := network(s)
		run(t, func(_ context.Context, t *testing.T) {
			n.Observe(s.copyOf(s.object))
			n.SetFacts(Facts{MTU: 1500})
			for range 600 { // for a minute, a second agent of the same name says otherwise ten times a second
				pass(100 * time.Millisecond)
				n.Observe(s.elsewhere(func(o *v1alpha1.NodeNetwork) { o.Status.MTU = 9000 }))
			}
			most := networkLimits.Burst + int(time.Minute/networkLimits.Refill) + 1
			if got := s.written(); got > most {
				t.Errorf("%d writes in a minute, want at most %d", got, most)
			}
		}, n.Run)
	})
}

func TestRefusalsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := claimStore()
		s.refuse = apierrors.NewForbidden(resource, "n", errors.New("no"))
		c := claim(s)
		run(t, func(_ context.Context, t *testing.T) {
			for i := range 600 { // pods come all the time
				c.SetShares([]addressbook.Share{{Pool: "p", Waiting: i + 1, Wanted: i + 17}})
				pass(time.Second)
			}
			if got := s.written(); got > 16 {
				t.Errorf("%d refused writes in ten minutes", got)
			}
			s.set(func() { s.refuse = nil })
			pass(2 * lastRetry)
			if !s.exists || s.object.Spec.Pools[0].Waiting != 600 {
				t.Errorf("after the refusals are over, the claim is %+v", s.object)
			}
		}, c.Run)
	})
}

func TestAnAPIServerThatIsAwayIsAskedAFewTimesAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := claimStore()
		s.down = errors.New("connection refused")
		c := claim(s)
		run(t, func(_ context.Context, t *testing.T) {
			c.SetShares([]addressbook.Share{{Pool: "p", Waiting: 1, Wanted: 17}})
			pass(10 * time.Minute)
			if got := s.gets + s.written(); got > 75 {
				t.Errorf("%d calls in ten minutes", got)
			}
			s.set(func() { s.down = nil })
			pass(lastAwayRetry + lastAwayRetry/2)
			if !s.exists || len(s.object.Spec.Pools) != 1 {
				t.Errorf("the claim is not there when the API server is back: %+v", s.object)
			}
		}, c.Run)
	})
}

func TestAQuietAgentWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nets, claims, states := networkStore(), claimStore(), bgpStore()
		n, c, b := network(nets), claim(claims), NewBGPState(testSettings)
		b.writer.o.API = states
		both := func(ctx context.Context) {
			var all sync.WaitGroup
			all.Go(func() { n.Run(ctx) })
			all.Go(func() { c.Run(ctx) })
			all.Go(func() { b.Run(ctx) })
			all.Wait()
		}
		run(t, func(_ context.Context, t *testing.T) {
			say := func() {
				n.SetFacts(Facts{MTU: 1500, Addresses: []v1alpha1.NodeAddress{{Address: "192.168.0.1"}}})
				n.SetCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, "PlanApplied", "The kernel shows the plan.")
				c.SetShares([]addressbook.Share{{Pool: "p", Free: 63, Wanted: 16, Held: prefixes("10.0.0.0/26")}})
				c.SetRendered(map[string]Rendered{"p": {UID: "u", Generation: 1, Sending: v1alpha1.EncapsulationNone}})
				b.Set(v1alpha1.BGPNodeStateStatus{SessionCounts: "0/0"})
			}
			n.Observe(nets.copyOf(nets.object))
			say()
			pass(time.Minute)
			if states.exists {
				t.Error("a node without BGP has a BGPNodeState")
			}
			before := nets.written() + claims.written() + states.written()
			if before != 3 { // the facts; the claim and its status
				t.Errorf("the first report took %d writes, want 3", before)
			}
			for range 3600 {
				say()
				pass(time.Second)
			}
			if got := nets.written() + claims.written() + states.written() - before; got != 0 {
				t.Errorf("an hour in which nothing changed took %d writes", got)
			}
		}, both)
	})
}

func TestAFailingFirstPassKeepsTheStoredFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := networkStore()
		s.elsewhere(func(o *v1alpha1.NodeNetwork) {
			o.Status.Addresses, o.Status.MTU = []v1alpha1.NodeAddress{{Address: "192.168.0.1"}}, 1500
		})
		n := network(s)
		run(t, func(_ context.Context, t *testing.T) {
			n.Observe(s.copyOf(s.object))
			n.SetCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, "ApplyFailed", "The kernel does not show the plan: no.")
			pass(time.Minute)
			n.SetFacts(Facts{MTU: 1500}) // a pass that found no address
			pass(time.Minute)
			if len(s.object.Status.Addresses) != 1 || s.object.Status.MTU != 1500 {
				t.Errorf("stored facts are gone: %+v", s.object.Status)
			}
			if !meta.IsStatusConditionFalse(s.object.Status.Conditions, v1alpha1.ConditionReady) {
				t.Errorf("the failure is not reported: %+v", s.object.Status.Conditions)
			}
		}, n.Run)
	})
}

func TestConditionsOfTheControllerStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := networkStore()
		s.elsewhere(func(o *v1alpha1.NodeNetwork) {
			meta.SetStatusCondition(&o.Status.Conditions, metav1.Condition{Type: "Other", Status: metav1.ConditionTrue, Reason: "R"})
		})
		n := network(s)
		run(t, func(_ context.Context, t *testing.T) {
			n.Observe(s.copyOf(s.object))
			n.SetCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, "PlanApplied", "The kernel shows the plan.")
			pass(time.Minute)
			if len(s.object.Status.Conditions) != 2 {
				t.Errorf("conditions: %+v", s.object.Status.Conditions)
			}
		}, n.Run)
	})
}

func TestWaitingPodsAreReportedAtOnceAndCountersLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := claimStore()
		c := claim(s)
		run(t, func(_ context.Context, t *testing.T) {
			share := addressbook.Share{Pool: "p", Free: 63, Wanted: 16}
			c.SetRendered(map[string]Rendered{"p": {UID: "u", Generation: 1}})
			c.SetShares([]addressbook.Share{share})
			pass(time.Minute)
			before := s.written()
			for range 30 { // pods that find a free address
				share.Free--
				c.SetShares([]addressbook.Share{share})
				pass(100 * time.Millisecond)
			}
			if got := s.written() - before; got != 0 {
				t.Errorf("30 pods with a free address caused %d writes at once", got)
			}
			pass(claimLimits.LazyAfter)
			if got := s.written() - before; got != 1 || s.object.Status.Pools[0].Free != 33 {
				t.Errorf("%d writes, free %d; want 1 write of 33", got, s.object.Status.Pools[0].Free)
			}
			before = s.written()
			share.Waiting, share.Wanted = 1, 17
			c.SetShares([]addressbook.Share{share})
			pass(50 * time.Millisecond)
			if got := s.written() - before; got != 1 || s.object.Spec.Pools[0].Waiting != 1 {
				t.Errorf("a pod waits: %d writes, claim %+v", got, s.object.Spec)
			}
			share.Waiting, share.Wanted, share.Held = 0, 16, prefixes("10.0.0.0/26")
			c.SetShares([]addressbook.Share{share})
			pass(time.Second)
			if got := s.written() - before; got != 1 {
				t.Errorf("the pod has its address: %d more writes at once", got-1)
			}
			pass(claimLimits.LazyAfter + time.Second)
			if got := s.object.Spec.Pools[0]; got.Waiting != 0 || !slices.Equal(got.Held, []string{"10.0.0.0/26"}) {
				t.Errorf("after a while the claim is %+v", got)
			}
		}, c.Run)
	})
}

func TestAHundredPodsAtOnceAreAFewWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := claimStore()
		c := claim(s)
		run(t, func(_ context.Context, t *testing.T) {
			for i := range 100 {
				c.SetShares([]addressbook.Share{{Pool: "p", Waiting: i + 1, Wanted: i + 17}})
				pass(time.Millisecond)
			}
			pass(100 * time.Millisecond)
			if got := s.written(); got > 8 || s.object.Spec.Pools[0].Waiting != 100 {
				t.Errorf("%d writes, waiting %d", got, s.object.Spec.Pools[0].Waiting)
			}
		}, c.Run)
	})
}

func TestAClaimStartsFromWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := claimStore()
		s.object = &v1alpha1.BlockClaim{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u"}}
		s.elsewhere(func(o *v1alpha1.BlockClaim) {
			o.Spec.Pools = []v1alpha1.PoolClaim{{Pool: "p", Wanted: 16, Released: []v1alpha1.ReleasedBlock{{CIDR: "10.0.0.64/26", UID: "1"}}}}
			o.Status.Pools = []v1alpha1.PoolReport{{Pool: "p", PoolUID: "u", ObservedGeneration: 3, Encapsulation: v1alpha1.EncapsulationVXLAN, Free: 5}}
		})
		c := claim(s)
		run(t, func(_ context.Context, t *testing.T) {
			pass(time.Minute)
			c.SetShares([]addressbook.Share{{Pool: "p", Free: 5, Wanted: 16, Released: []addressbook.Released{{CIDR: netip.MustParsePrefix("10.0.0.64/26"), UID: "1"}}}})
			pass(time.Minute)
			if got := s.written(); got != 0 {
				t.Errorf("an agent that finds all as it was writes %d times: %+v", got, s.object)
			}
			c.SetShares(nil) // the pool is gone
			pass(time.Minute)
			if len(s.object.Spec.Pools)+len(s.object.Status.Pools) != 0 {
				t.Errorf("a pool that is gone is still claimed: %+v", s.object)
			}
		}, c.Run)
	})
}

func TestADeletedClaimComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := claimStore()
		c := claim(s)
		run(t, func(_ context.Context, t *testing.T) {
			c.SetShares([]addressbook.Share{{Pool: "p", Wanted: 16}})
			pass(time.Second)
			s.set(func() { s.exists = false })
			pass(2 * verifyEvery)
			if !s.exists {
				t.Error("a claim that somebody deleted is still missing")
			}
			s.set(func() { s.exists = false })
			c.SetShares([]addressbook.Share{{Pool: "p", Wanted: 17, Waiting: 1}})
			pass(time.Second)
			if !s.exists {
				t.Error("a pod waits, and the claim is missing")
			}
		}, c.Run)
	})
}

func TestBGPSessionsThatFlapAreOneWriteInTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bgpStore()
		b := NewBGPState(testSettings)
		b.writer.o.API = s
		run(t, func(_ context.Context, t *testing.T) {
			for i := range 600 {
				b.Set(v1alpha1.BGPNodeStateStatus{Expected: 1, Established: int32(i % 2), RoutesLearned: int64(i)})
				pass(100 * time.Millisecond)
			}
			s.set(func() {
				for i := 2; i < len(s.writes); i++ { // the first two are Create and its status
					if gap := s.writes[i].Sub(s.writes[i-1]); gap < 2*time.Second {
						t.Errorf("writes %d and %d are %s apart", i-1, i, gap)
					}
				}
			})
			b.Set(v1alpha1.BGPNodeStateStatus{Expected: 1, Established: 1})
			pass(time.Minute)
			before := s.written()
			for i := range 300 {
				b.Set(v1alpha1.BGPNodeStateStatus{Expected: 1, Established: 1, RoutesLearned: int64(i + 1)})
				pass(time.Second)
			}
			if got := s.written() - before; got < 4 || got > 5 {
				t.Errorf("counters that change every second took %d writes in five minutes, want one a minute", got)
			}
			b.Set(v1alpha1.BGPNodeStateStatus{})
			pass(time.Minute)
			if s.object.Status.Expected != 0 {
				t.Errorf("the node has no BGP to do any more: %+v", s.object.Status)
			}
		}, b.Run)
	})
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}
