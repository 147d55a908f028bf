package addresses

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/cluster"
)

func TestFixed(t *testing.T) {
	allowed := func(change func(*v1alpha1.IPPool)) func(*v1alpha1.IPPool) {
		return func(p *v1alpha1.IPPool) {
			p.Spec.FixedAddresses = v1alpha1.FixedAddressesAllowed
			if change != nil {
				change(p)
			}
		}
	}
	pools := NewPools(nil)
	pools.set(views(
		testPool("four", "10.0.0.0/16", 9, allowed(nil)), testPool("six", "fd00::/64", 5, allowed(nil)), testPool("no", "10.1.0.0/16", 1, nil),
		testPool("disabled", "10.2.0.0/16", 99, allowed(func(p *v1alpha1.IPPool) { p.Spec.Disabled = true })),
		testPool("overlapping", "10.0.0.0/17", 99, allowed(condition(v1alpha1.ConditionOverlapping))),
	), nil, cluster.Node{}, true)
	for addresses, err := range map[string]string{
		"10.0.0.5 fd00::5": "", "10.1.0.5": "IPPool no does not let pods ask for addresses", "10.9.0.5": "lies in no IPPool",
		"10.2.0.5": "IPPool disabled, which holds the address 10.2.0.5",
	} {
		var list []netip.Addr
		for _, text := range v1alpha1.SplitList(addresses) {
			list = append(list, netip.MustParseAddr(text))
		}
		got, failed := pools.Fixed(list)
		if err != "" {
			if failed == nil || !strings.Contains(failed.Error(), err) {
				t.Errorf("%s: got %v, want %q", addresses, failed, err)
			}
			continue
		}
		if failed != nil || !slices.Equal(got.V4, []string{"four"}) || !slices.Equal(got.V6, []string{"six"}) {
			t.Errorf("%s: got %+v, %v", addresses, got, failed)
		}
	}
}
