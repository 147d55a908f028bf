package bgpplan

import (
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

// prefixRanges returns what a rule's cidr and prefixLength match. No range holds a prefix that two of them match, and
// for every prefix the longest of them that covers it decides: GoBGP looks at no other.
func prefixRanges(r *v1alpha1.BGPFilterRule, bits int) ([]PrefixRange, error) {
	lo, hi := 0, bits
	if l := r.PrefixLength; l != nil {
		if l.Min != nil {
			lo = int(*l.Min)
		}
		if l.Max != nil {
			hi = int(*l.Max)
		}
	}
	if lo < 0 || hi < lo {
		return nil, fmt.Errorf("has a prefixLength from %d to %d, which matches nothing; swap or remove them", lo, hi)
	}
	if hi = min(hi, bits); lo > hi {
		return nil, fmt.Errorf("wants prefixes of at least %d bits, but the longest have %d; correct prefixLength", lo, bits)
	}
	if r.CIDR == "" {
		zero := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if bits == 128 {
			zero = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		return []PrefixRange{{Prefix: zero, Min: uint8(lo), Max: uint8(hi)}}, nil
	}
	cidr, err := netip.ParsePrefix(r.CIDR)
	if err != nil || cidr.Addr().BitLen() != bits {
		return nil, fmt.Errorf("has the cidr %s; write one of the rule's family", quote(r.CIDR))
	}
	cidr = cidr.Masked()
	var ranges []PrefixRange
	switch r.MatchOperator {
	case v1alpha1.CIDREqual:
		ranges = within(nil, cidr, cidr.Bits(), cidr.Bits(), lo, hi)
	case v1alpha1.CIDRIn:
		ranges = within(nil, cidr, cidr.Bits(), bits, lo, hi)
	case v1alpha1.CIDRNotEqual:
		ranges = within(outside(cidr, lo, hi), cidr, cidr.Bits()+1, bits, lo, hi)
	case v1alpha1.CIDRNotIn:
		ranges = outside(cidr, lo, hi)
	default:
		return nil, fmt.Errorf("has the matchOperator %s; use Equal, NotEqual, In or NotIn", quote(string(r.MatchOperator)))
	}
	if len(ranges) == 0 {
		return nil, fmt.Errorf("matches nothing: no prefix is %s %s and has %d to %d bits; correct cidr, matchOperator or prefixLength",
			r.MatchOperator, cidr, lo, hi)
	}
	return ranges, nil
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
