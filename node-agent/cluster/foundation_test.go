package cluster

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/causeway-net/causeway/test/retry"
)

// listing is a client that can't stream lists.
type listing struct{ client.WithWatch }

func (listing) IsWatchListSemanticsUnSupported() bool { return true }

func TestFoundationFollowsTheAPIServer(t *testing.T) {
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	slice := func(name, service, address string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{address}}},
		}
	}
	ranges := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/16"}}}
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(slice("kubernetes", "kubernetes", "172.30.0.2"), slice("web", "web", "10.0.0.9"), ranges).Build()
	connected := []netip.Addr{netip.MustParseAddr("172.30.0.9")}
	changes := make(chan struct{}, 100)
	f := NewFoundation(&Connection{Client: listing{api}, Dialer: newDialer()}, func() { changes <- struct{}{} })
	f.servers = func() []netip.Addr { return connected }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	expect := func(want ...string) {
		t.Helper()
		if err := retry.Until(t.Context(), 20*time.Second, func() error {
			var have []string
			for _, n := range f.Networks() {
				have = append(have, n.What())
			}
			if !slices.Equal(have, want) {
				return errors.New(have[0])
			}
			return nil
		}); err != nil {
			t.Fatalf("%v; not %q but %+v", err, want, f.Networks())
		}
	}
	expect("the Service range 10.96.0.0/16", "the address 172.30.0.2 of the API server", "the address 172.30.0.9 of the API server")
	connected = nil // a connection that is gone protects its address on
	if err := api.Create(ctx, slice("kubernetes-2", "kubernetes", "172.30.0.3")); err != nil {
		t.Fatal(err)
	}
	if err := api.Delete(ctx, ranges); err != nil {
		t.Fatal(err)
	}
	expect("the address 172.30.0.2 of the API server", "the address 172.30.0.3 of the API server", "the address 172.30.0.9 of the API server")
	if len(changes) < 4 {
		t.Errorf("told of %d changes", len(changes))
	}
}
