package addresses

import (
	"net/netip"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/ipam/addressbook"
	"github.com/causeway-net/causeway/internal/ipam/sticky"
	"github.com/causeway-net/causeway/node-agent/cluster"
)

// TestRemembered: a pod gets back what it had in sticky pools that may serve it now.
func TestRemembered(t *testing.T) {
	remembers := func(p *v1alpha1.IPPool) { p.Spec.Sticky = v1alpha1.StickyStatefulSet }
	pools := NewPools(nil)
	pools.set(views(testPool("four", "10.0.0.0/16", 9, remembers), testPool("six", "fd00::/64", 5, remembers), testPool("no", "10.1.0.0/16", 1, nil)), nil, cluster.Node{}, true)
	of := func(text, pool string) sticky.Address {
		return sticky.Address{Addr: netip.MustParseAddr(text), Pool: pool}
	}
	all := map[types.NamespacedName][]sticky.Address{
		{Namespace: "shop", Name: "db-0"}: {of("10.0.0.5", "four"), of("fd00::5", "six")},
		{Namespace: "shop", Name: "db-1"}: {of("10.1.0.5", "no"), of("10.2.0.5", "four"), of("10.3.0.5", "gone")},
	}
	book := pools.remember(all)
	want := addressbook.Pod{Namespace: "shop", Name: "db-0"}
	if len(book) != 2 || book[netip.MustParseAddr("10.0.0.5")] != want || book[netip.MustParseAddr("fd00::5")] != want {
		t.Errorf("the book is to know %v", book)
	}
	both := [][]string{{"no", "four"}, {"six"}}
	for name, c := range map[string]struct {
		pod        string
		candidates [][]string
		want       []string
	}{
		"both families":                 {"db-0", both, []string{"10.0.0.5", "fd00::5"}},
		"one pool does not serve now":   {"db-0", [][]string{{"no"}, {"six"}}, []string{"fd00::5"}},
		"another pod":                   {"db-2", both, nil},
		"pools that remember no longer": {"db-1", both, nil},
	} {
		var got []string
		for _, a := range pools.Remembered("shop", c.pod, c.candidates) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := pools.Remembered("other", "db-0", both); got != nil {
		t.Errorf("a pod of that name in another namespace gets %v", got)
	}
}

// TestRememberedAddressesReachTheBook: what the view shows is kept from other pods.
func TestRememberedAddressesReachTheBook(t *testing.T) {
	n := &neighbours{blocks: []cluster.Block{block("10.0.0.0/30")}}
	runLedger(t, n, func(_ *Ledger, book *addressbook.Book) {
		if b := book.Blocks()[0]; len(b.Remembered) != 1 || b.Remembered[0].First != netip.MustParseAddr("10.0.0.3") {
			t.Errorf("the book has %+v", b)
		}
	})
}
