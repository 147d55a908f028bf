package cniserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

func TestFixedAddressesOfAPod(t *testing.T) {
	for value, c := range map[string]struct{ want, err string }{
		"":                         {},
		"10.0.0.5":                 {want: "10.0.0.5"},
		"10.0.0.5, fd00::5":        {want: "10.0.0.5 fd00::5"},
		"10.0.0.5/32":              {err: "which is not an IP address"},
		"::ffff:10.0.0.5":          {err: "which is not an IP address"},
		"fe80::1%eth0":             {err: "which is not an IP address"},
		"fd00::5,10.0.0.5,fd00::6": {err: "two addresses of one family, fd00::5 and fd00::6"},
	} {
		r := request("ADD", "a")
		r.Config = annotated(value)
		parsed, bad := parse(r)
		if bad != nil {
			t.Fatal(bad)
		}
		got, err := parsed.fixed()
		var want []netip.Addr
		for _, text := range strings.Fields(c.want) {
			want = append(want, netip.MustParseAddr(text))
		}
		failed := (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err)
		if failed || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, %v; want %v, %q", value, got, err, want, c.err)
		}
	}
}

func annotated(ips string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"cniVersion":"1.1.0","name":"causeway","type":"causeway","runtimeConfig":{"io.kubernetes.cri.pod-annotations":{%q:%q}}}`, v1alpha1.AnnotationIPs, ips))
}

func TestWhoHasAnAddressIsSaid(t *testing.T) {
	book := addressbook.New(addressbook.Options{Now: time.Now, DemandChanged: func() {}})
	book.SetPools([]addressbook.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/16"), Usable: true, BlockCapacity: 63, BlockBits: 26, Travels: true}})
	for node, want := range map[string]string{
		"":      "No node's block holds it: this node may have as many blocks as maxBlocksPerNode of the IPPool allows, or the controller does not run.",
		"other": "It is with node other: a pod may have it there (kubectl causeway ipam show 10.0.0.5 names it), or the agent of that node or the controller does not run.",
		"n":     "It lies in a block of this node, and is on its way back from another one: a pod may still have it there (kubectl causeway ipam show 10.0.0.5).",
	} {
		w := newWorld()
		s := New(Options{
			Node: "n", Book: book, Records: w, Wiring: w, Pools: w, Health: w, Log: logr.Discard(), Observe: func(string, uint, time.Duration) {},
			NodeWith: func(netip.Addr) string { return node },
		})
		s.SetSynced()
		r := request("ADD", "a")
		r.Config = annotated("10.0.0.5")
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		bad := s.Handle(ctx, r).Error
		cancel()
		if bad == nil || bad.Code != protocol.CodeTryAgainLater || !strings.HasSuffix(bad.Message, "address 10.0.0.5 of IPPool p has not come to this node yet. "+want) {
			t.Errorf("with %q: %+v", node, bad)
		}
	}
}

func TestAFixedAddressIsGivenOrTheReasonIsSaid(t *testing.T) {
	s := newTestServer(t, newWorld())
	add := func(id, ips string) *protocol.Error {
		r := request("ADD", id)
		r.Config, r.PatienceMilliseconds = annotated(ips), 50
		return s.Handle(t.Context(), r).Error
	}
	if bad := add("a", "10.0.0.5"); bad != nil {
		t.Fatal(bad)
	}
	for ips, want := range map[string]protocol.Error{
		"10.0.0.5":  {Code: protocol.CodeTryAgainLater, Message: "is in use by pod default/web-0; it gets the address when that pod is gone."},
		"10.0.0.99": {Code: protocol.CodeTryAgainLater, Message: "lies in no block of this node"},
		"ten":       {Code: protocol.CodeNoPool, Message: "which is not an IP address."},
	} {
		if bad := add("b", ips); bad == nil || bad.Code != want.Code || !strings.Contains(bad.Message, want.Message) {
			t.Errorf("%s: got %+v, want %+v", ips, bad, want)
		}
	}
	s.must(t, request("DEL", "a"))
	s.reapAll(t)
	if bad := add("b", "10.0.0.5"); bad != nil {
		t.Error(bad)
	}
}

// TestAPodGetsBackWhatItHad: what is remembered is taken where the pod does not ask for something else, and for the interface that Kubernetes
// shows only.
func TestAPodGetsBackWhatItHad(t *testing.T) {
	w := newWorld()
	w.remembered = []netip.Addr{netip.MustParseAddr("10.0.0.40")}
	s := newTestServer(t, w)
	second := request("ADD", "a")
	second.Interface = "net1"
	for _, r := range []protocol.Request{second, request("ADD", "a")} {
		response := s.must(t, r)
		if got := strings.Contains(string(response.Result), "10.0.0.40/32"); got != (r.Interface == "eth0") {
			t.Errorf("%s has %s", r.Interface, response.Result)
		}
	}
	c := &call{Request: request("ADD", "b")}
	asked := []netip.Addr{netip.MustParseAddr("10.0.0.7")}
	if got := s.remembered(c, nil, asked); !slices.Equal(got, asked) {
		t.Errorf("a pod that asks for %v gets %v", asked, got)
	}
	w.remembered = append(w.remembered, netip.MustParseAddr("fd00::5"))
	if got := s.remembered(c, nil, asked); len(got) != 2 || !got[1].Is6() {
		t.Errorf("a pod that asks for one family gets %v", got)
	}
}

func TestAnAddressThatIsRememberedForAnotherPod(t *testing.T) {
	s := newTestServer(t, newWorld())
	c := &call{namespace: "default", pod: "web"}
	bad := s.asError(c, &addressbook.RememberedError{Address: netip.MustParseAddr("10.0.0.5"), Pool: "p", Pod: addressbook.Pod{Namespace: "shop", Name: "db-0"}})
	want := "Pod default/web can't have its address: address 10.0.0.5 of IPPool p is remembered for pod shop/db-0. Ask for another one, or delete that memory (kubectl -n shop delete stickyaddress db-0)."
	if bad.Code != protocol.CodeTryAgainLater || bad.Message != want {
		t.Errorf("%+v", bad)
	}
}
