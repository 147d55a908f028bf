package cniserver

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/cni-plugin/protocol"
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
