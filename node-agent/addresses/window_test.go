package addresses

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/ipam/addressbook"
)

func TestTheWindowShowsEveryAddress(t *testing.T) {
	book := addressbook.New(addressbook.Options{Now: func() time.Time { return time.Unix(0, 0) }, Reserve: 1, Linger: time.Minute, DemandChanged: func() {}})
	if got := Window(book.Describe(), nil).String(); got != "This node has no block yet.\n" {
		t.Errorf("an empty book is shown as %q", got)
	}
	book.SetPools([]addressbook.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/16"), Usable: true, BlockCapacity: 7}})
	book.SetBlocks([]addressbook.Block{
		{CIDR: netip.MustParsePrefix("10.0.0.0/29"), Pool: "p"}, {CIDR: netip.MustParsePrefix("10.0.1.0/30"), Pool: "p", Terminating: true},
	})
	for _, name := range []string{"a", "b", "c"} {
		e := addressbook.Endpoint{Interface: "cw" + name, Namespace: "default", Pod: name, ContainerInterface: "eth0"}
		if _, err := book.Reserve(context.Background(), addressbook.Request{Endpoint: e, Candidates: [][]string{{"p"}}}); err != nil {
			t.Fatal(err)
		}
	}
	book.SetState("cwa", addressbook.Ready)
	book.SetState("cwb", addressbook.Releasing)
	book.Adopt(addressbook.Endpoint{Interface: "cwx", Namespace: "default", Pod: "x", ContainerInterface: "eth0", Addresses: []netip.Addr{netip.MustParseAddr("10.0.9.9")}, State: addressbook.Ready})
	w := Window(book.Describe(), func(name string) string {
		if name == "cwb" {
			return "its WorkloadEndpoint is to be removed"
		}
		return ""
	})
	want := `block 10.0.0.0/29 of pool p: 4 of 7 free, serves new pods
  10.0.0.0                         kept for the node's tunnels
  10.0.0.1                         held by default/a eth0 (cwa) since 1970-01-01T00:00:00Z
  10.0.0.2                         in transition by default/b eth0 (cwb) since 1970-01-01T00:00:00Z: its WorkloadEndpoint is to be removed
  10.0.0.3                         starting by default/c eth0 (cwc) since 1970-01-01T00:00:00Z: its ADD is under way
  10.0.0.4 - 10.0.0.7              free
block 10.0.1.0/30 of pool p: 3 of 3 free, terminating; serves no new pods
  10.0.1.0                         kept for the node's tunnels
  10.0.1.1 - 10.0.1.3              free
in no block of this node:
  10.0.9.9                         held by default/x eth0 (cwx) since 1970-01-01T00:00:00Z
`
	if got := w.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	raw, err := json.Marshal(w)
	if err != nil || !strings.Contains(string(raw), `{"address":"10.0.0.4","to":"10.0.0.7","state":"free"}`) {
		t.Errorf("JSON %s, %v", raw, err)
	}
}
