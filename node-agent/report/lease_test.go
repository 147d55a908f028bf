package report

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// calls counts the calls of a client, and makes them fail.
type calls struct {
	mu           sync.Mutex
	gets, writes int
	events       []*corev1.Event
	down         error
}

func (c *calls) note(n *int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
	return c.down
}

func (c *calls) client() client.Client {
	return interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme.Scheme).Build(), interceptor.Funcs{
		Get: func(ctx context.Context, under client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if err := c.note(&c.gets); err != nil {
				return err
			}
			return under.Get(ctx, key, o, opts...)
		},
		Create: func(ctx context.Context, under client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := c.note(&c.writes); err != nil {
				return err
			}
			if e, ok := o.(*corev1.Event); ok {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.events = append(c.events, e)
				return nil
			}
			return under.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, under client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if err := c.note(&c.writes); err != nil {
				return err
			}
			return under.Update(ctx, o, opts...)
		},
	})
}

func leaseOf(t *testing.T, c client.Client) *coordinationv1.Lease {
	t.Helper()
	var l coordinationv1.Lease
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.AgentLeasePrefix + "n"}, &l); err != nil {
		t.Fatal(err)
	}
	return &l
}

func TestALeaseIsOnePutInTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c calls
		api := c.client()
		l := NewLease(Settings{Client: api, Node: "n", Log: logr.Discard()}, func() error { return nil })
		run(t, func(_ context.Context, t *testing.T) {
			pass(10 * time.Minute)
			if c.gets != 1 || c.writes < 57 || c.writes > 61 {
				t.Errorf("%d reads and %d writes in ten minutes, want 1 and about 60", c.gets, c.writes)
			}
			if since := time.Since(leaseOf(t, api).Spec.RenewTime.Time); since > leaseRenewal+leaseRenewal/20 {
				t.Errorf("the lease was renewed %s ago", since)
			}
			other := leaseOf(t, api) // somebody else touches it
			other.Labels = map[string]string{"a": "b"}
			if err := api.Update(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
			if got := leaseOf(t, api); time.Since(got.Spec.RenewTime.Time) > leaseRenewal+leaseRenewal/20 || got.Labels["a"] != "b" {
				t.Errorf("after a foreign change the lease is %+v", got)
			}
			if err := api.Delete(t.Context(), leaseOf(t, api)); err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
			leaseOf(t, api)
		}, l.Run)
	})
}

func TestAHungAgentsLeaseRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c calls
		var mu sync.Mutex
		var hung error
		l := NewLease(Settings{Client: c.client(), Node: "n", Log: logr.Discard()}, func() error {
			mu.Lock()
			defer mu.Unlock()
			return hung
		})
		run(t, func(_ context.Context, t *testing.T) {
			pass(time.Minute)
			mu.Lock()
			hung = errors.New("the datapath's loop has hung for 2m0s")
			mu.Unlock()
			before := c.writes
			pass(time.Minute)
			if c.writes != before {
				t.Errorf("a hung agent renewed its lease %d times", c.writes-before)
			}
		}, l.Run)
	})
}

func TestEventsAreFewAndNeverBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c calls
		s := Settings{Client: c.client(), Node: "n", Log: logr.Discard()}
		nets := networkStore()
		n := network(nets)
		n.Observe(nets.copyOf(nets.object))
		e := NewEvents(s, n)
		for range 1000 {
			e.Event(corev1.EventTypeWarning, "BGPSessionDown", "The BGP session with 192.168.0.254 is down.")
		}
		run(t, func(_ context.Context, t *testing.T) {
			pass(time.Second)
			if got := len(c.events); got < 5 || got > 11 {
				t.Errorf("%d events in a second", got)
			}
			pass(time.Minute)
			if got := len(c.events); got != eventQueue {
				t.Errorf("%d events of a storm of 1000, want %d", got, eventQueue)
			}
			if got := c.events[0].InvolvedObject; got.Name != "n" || got.UID != "u" || got.Kind != "NodeNetwork" {
				t.Errorf("the event is about %+v", got)
			}
		}, e.Run)
	})
}
