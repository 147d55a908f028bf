package bgpplan

import (
	"net/netip"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/bgpcheck"
)

// prefixRanges returns what cidr and prefixLength of a valid rule match. No range holds a prefix that two of them match,
// and for every prefix the longest of them that covers it decides: GoBGP looks at no other.
func prefixRanges(r *v1alpha1.BGPFilterRule, bits int) []PrefixRange {
	low, high := bgpcheck.Lengths(r, bits)
	high = min(high, bits)
	if r.CIDR == "" {
		zero := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if bits == 128 {
			zero = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		return []PrefixRange{{Prefix: zero, Min: uint8(low), Max: uint8(high)}}
	}
	cidr, _ := netip.ParsePrefix(r.CIDR)
	cidr = cidr.Masked()
	switch r.MatchOperator {
	case v1alpha1.CIDREqual:
		return within(nil, cidr, cidr.Bits(), cidr.Bits(), low, high)
	case v1alpha1.CIDRIn:
		return within(nil, cidr, cidr.Bits(), bits, low, high)
	case v1alpha1.CIDRNotEqual:
		return within(outside(cidr, low, high), cidr, cidr.Bits()+1, bits, low, high)
	default: // NotIn
		return outside(cidr, low, high)
	}
}

// within appends the prefixes inside p that have from..to bits and lo..hi bits, if there are any.
func within(ranges []PrefixRange, p netip.Prefix, from, to, lo, hi int) []PrefixRange {
	if from, to = max(from, lo), min(to, hi); from > to {
		return ranges
	}
	return append(ranges, PrefixRange{Prefix: p, Min: uint8(from), Max: uint8(to)})
}

// outside returns the prefixes of lo..hi bits that are neither p nor inside it: those that cover p, and for each bit of
// p the half of the address space that the bit turns away from.
func outside(p netip.Prefix, lo, hi int) (ranges []PrefixRange) {
	bits := p.Addr().BitLen()
	for n := range p.Bits() {
		ancestor := netip.PrefixFrom(p.Addr(), n).Masked()
		ranges = within(ranges, ancestor, n, n, lo, hi)
		sibling := netip.PrefixFrom(flip(p.Addr(), n), n+1).Masked()
		ranges = within(ranges, sibling, n+1, bits, lo, hi)
	}
	return ranges
}

// flip returns a with one bit, counted from the left, turned over.
func flip(a netip.Addr, bit int) netip.Addr {
	b := a.AsSlice()
	b[bit/8] ^= 0x80 >> (bit % 8)
	flipped, _ := netip.AddrFromSlice(b)
	return flipped
}

func exactly(p netip.Prefix) PrefixRange {
	return PrefixRange{Prefix: p, Min: uint8(p.Bits()), Max: uint8(p.Bits())}
}

// anyCovers says whether one of the ranges matches a prefix.
func anyCovers(ranges []PrefixRange, p netip.Prefix) bool {
	for _, r := range ranges {
		if contains(r.Prefix, p) && int(r.Min) <= p.Bits() && p.Bits() <= int(r.Max) {
			return true
		}
	}
	return false
}
