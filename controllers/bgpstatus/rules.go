package bgpstatus

import (
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// neverMatches says why no route can match a rule of a family with prefixes of up to this many bits, or nothing.
func neverMatches(r *v1alpha1.BGPFilterRule, bits int32) string {
	low, high := int32(0), bits
	if l := r.PrefixLength; l != nil {
		if l.Min != nil {
			low = *l.Min
		}
		if l.Max != nil {
			high = min(high, *l.Max)
		}
	}
	if low > high {
		return fmt.Sprintf("no prefix length is from %d to %d", low, high)
	}
	if r.CIDR == "" {
		return ""
	}
	p, err := netip.ParsePrefix(r.CIDR)
	if err != nil {
		return fmt.Sprintf("%q is not a CIDR", r.CIDR)
	}
	length := int32(p.Bits())
	switch {
	case int32(p.Addr().BitLen()) != bits:
		return fmt.Sprintf("%s is of the other address family", p)
	case r.MatchOperator == v1alpha1.CIDREqual && (length < low || length > high):
		return fmt.Sprintf("the length of %s is not from %d to %d", p, low, high)
	case r.MatchOperator == v1alpha1.CIDRIn && high < length:
		return fmt.Sprintf("prefixes in %s are longer than %d", p, high)
	case r.MatchOperator == v1alpha1.CIDRNotIn && length == 0:
		return fmt.Sprintf("every prefix is in %s", p)
	}
	return ""
}

// matchesAll says whether a rule has no conditions.
func matchesAll(r *v1alpha1.BGPFilterRule) bool {
	return r.CIDR == "" && r.PrefixLength == nil && len(r.Communities) == 0 && len(r.ASPathPrefix) == 0 && r.Interface == "" && r.Source == ""
}
