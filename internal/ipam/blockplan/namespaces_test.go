package blockplan

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

func TestAtLimit(t *testing.T) {
	s := New()
	pool := aPool("p", "10.0.0.0/24", 28, func(p *v1alpha1.IPPool) {
		p.Spec.NamespaceLimits = []v1alpha1.NamespaceLimit{{Namespace: "a", Addresses: 2}, {Namespace: v1alpha1.OtherNamespaces, Addresses: 1}}
	})
	one := func(namespace, node, address, pool string) Endpoint {
		return NewEndpoint(namespace, node, []netip.Addr{netip.MustParseAddr(address)}, []string{pool})
	}
	wants := func(what string, want ...NamespaceUse) {
		t.Helper()
		if got := s.AtLimit(&pool); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	first, second := readBlock(aBlock("10.0.0.0/28", "p", "n1")), readBlock(aBlock("10.0.0.16/28", "p", "n2"))
	s.SetBlock(first)
	a1, b1, b2 := one("a", "n1", "10.0.0.1", "p"), one("b", "n1", "10.0.0.2", "p"), one("b", "n2", "10.0.0.17", "p")
	s.AddEndpoint(a1)
	s.AddEndpoint(one("a", "n1", "10.1.0.1", "other"))
	s.AddEndpoint(b1)
	wants("one of two, and one of one", NamespaceUse{"b", 1, 1})
	s.AddEndpoint(b2)
	wants("its block is not known yet", NamespaceUse{"b", 1, 1})
	s.SetBlock(second)
	s.SetBlock(second)
	wants("now it is", NamespaceUse{"b", 2, 1})
	lie := one("a", "n1", "10.0.0.18", "p")
	s.AddEndpoint(lie)
	wants("an address of another node's block counts for nothing", NamespaceUse{"b", 2, 1})
	again := one("a", "n2", "10.0.0.18", "p")
	s.AddEndpoint(again)
	wants("that of the node itself counts", NamespaceUse{"a", 2, 2}, NamespaceUse{"b", 2, 1})
	s.DropEndpoint(lie)
	wants("and goes on to", NamespaceUse{"a", 2, 2}, NamespaceUse{"b", 2, 1})
	s.DropEndpoint(b1)
	s.DropEndpoint(a1)
	wants("two have gone", NamespaceUse{"b", 1, 1})
	s.DropBlock(second.Prefix, epoch.Add(time.Minute))
	wants("a block has gone")
	s.DropEndpoint(b2)
	s.DropEndpoint(again)
	if len(s.census) != 0 {
		t.Errorf("nobody has anything, and the census is %v", s.census)
	}
}
