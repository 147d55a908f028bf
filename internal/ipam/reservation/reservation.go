// Package reservation reads lists of addresses that no pod may get: from an IPPool's reserved, and from IPReservations. A
// list of texts comes in; a set of addresses and what is wrong with the list go out. It does no I/O.
package reservation

import (
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
)

// Set is a set of reserved addresses. The zero value and nil are empty. It does not change.
type Set struct {
	ranges []netipx.IPRange // sorted, disjoint
}

// Problem says what is wrong with one entry of a list.
type Problem struct {
	// Entry is the entry as it was written.
	Entry string
	// Message says what is wrong and what becomes of the entry, in a sentence.
	Message string
	// Ignored entries reserve nothing.
	Ignored bool
}

// Parse reads a list: addresses (10.0.0.1), ranges (10.0.0.1-10.0.0.9, both ends included) and CIDRs (10.0.0.0/28). An entry
// that can't be read is a problem and reserves nothing; the others count all the same. Two entries that share addresses are
// a problem too, though both count. within is the range that the entries are meant for; the zero value is any.
func Parse(entries []string, within netip.Prefix) (*Set, []Problem) {
	var problems []Problem
	var builder netipx.IPSetBuilder
	type read struct {
		text string
		is   netipx.IPRange
	}
	var before []read
	for _, text := range entries {
		r, err := parse(text)
		if err != nil {
			problems = append(problems, Problem{Entry: text, Ignored: true,
				Message: fmt.Sprintf("%q %v; write an address, a range like 10.0.0.1-10.0.0.9, or a CIDR. It is ignored.", text, err)})
			continue
		}
		if within.IsValid() && !r.Overlaps(netipx.RangeOfPrefix(within)) {
			problems = append(problems, Problem{Entry: text, Ignored: true,
				Message: fmt.Sprintf("%s lies outside the pool, which is %s, so it reserves nothing; remove or correct it.", text, within)})
			continue
		}
		if i := slices.IndexFunc(before, func(b read) bool { return b.is.Overlaps(r) }); i >= 0 {
			problems = append(problems, Problem{Entry: text,
				Message: fmt.Sprintf("%s and %s overlap; the addresses of both are reserved, but one of the two may be a mistake.", before[i].text, text)})
		}
		before = append(before, read{text, r})
		builder.AddRange(r)
	}
	set, err := builder.IPSet()
	if err != nil || set == nil {
		return &Set{}, problems
	}
	return &Set{ranges: set.Ranges()}, problems
}

func parse(text string) (netipx.IPRange, error) {
	switch {
	case strings.Contains(text, "/"):
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return netipx.IPRange{}, fmt.Errorf("is no CIDR")
		}
		if p != p.Masked() {
			return netipx.IPRange{}, fmt.Errorf("has host bits set")
		}
		return netipx.RangeOfPrefix(p), nil
	case strings.Contains(text, "-"):
		r, err := netipx.ParseIPRange(text)
		if err != nil || !r.IsValid() {
			return netipx.IPRange{}, fmt.Errorf("is no range of one family whose first address is the lower one")
		}
		return r, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netipx.IPRange{}, fmt.Errorf("is no address")
	}
	a = a.Unmap()
	return netipx.IPRangeFrom(a, a), nil
}

// Union returns what is in any of some sets.
func Union(sets ...*Set) *Set {
	var builder netipx.IPSetBuilder
	for _, s := range sets {
		if s == nil {
			continue
		}
		for _, r := range s.ranges {
			builder.AddRange(r)
		}
	}
	out, err := builder.IPSet()
	if err != nil || out == nil {
		return &Set{}
	}
	return &Set{ranges: out.Ranges()}
}

// Empty reports whether nothing is reserved.
func (s *Set) Empty() bool { return s == nil || len(s.ranges) == 0 }

// Equal reports whether two sets have the same addresses.
func (s *Set) Equal(o *Set) bool {
	if s.Empty() || o.Empty() {
		return s.Empty() == o.Empty()
	}
	return slices.Equal(s.ranges, o.ranges)
}

// Contains reports whether an address is reserved.
func (s *Set) Contains(a netip.Addr) bool {
	if s.Empty() {
		return false
	}
	a = a.Unmap()
	i, found := slices.BinarySearchFunc(s.ranges, a, func(r netipx.IPRange, a netip.Addr) int {
		switch {
		case r.To().Less(a):
			return -1
		case a.Less(r.From()):
			return 1
		}
		return 0
	})
	return found && i < len(s.ranges)
}

// Texts returns the set as entries that Parse reads.
func (s *Set) Texts() []string {
	if s.Empty() {
		return nil
	}
	out := make([]string, 0, len(s.ranges))
	for _, r := range s.ranges {
		out = append(out, r.String())
	}
	return out
}

// Usable returns how many addresses of a prefix pods can have, if it is cut into blocks with a prefix length of bits: all that
// are not reserved, but for the first of each block, which is the node's own where a block has more than one. It stops at 2^63-1.
func (s *Set) Usable(p netip.Prefix, bits int) int64 {
	if size := p.Addr().BitLen() - p.Bits(); s.Empty() && bits == p.Bits() && size > 0 && size < 63 {
		return 1<<size - 1 // one block, by far the most frequent question
	}
	hostBits := uint(p.Addr().BitLen() - bits)
	n := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
	if hostBits > 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(bits-p.Bits())))
	}
	for _, r := range s.In(p) {
		from, to := number(r.From()), number(r.To())
		n.Sub(n, new(big.Int).Add(new(big.Int).Sub(to, from), big.NewInt(1)))
		if hostBits > 0 { // first addresses of blocks were taken off before
			before := new(big.Int).Rsh(new(big.Int).Sub(from, big.NewInt(1)), hostBits)
			n.Add(n, new(big.Int).Sub(new(big.Int).Rsh(to, hostBits), before))
		}
	}
	if !n.IsInt64() {
		return math.MaxInt64
	}
	return n.Int64()
}

func number(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }

// Prefixes returns the largest prefixes that the parts of the set in p are made of.
func (s *Set) Prefixes(p netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range s.In(p) {
		out = r.AppendPrefixes(out)
	}
	return out
}

// In returns the parts of the set that lie in a prefix, sorted.
func (s *Set) In(p netip.Prefix) []netipx.IPRange {
	if s.Empty() {
		return nil
	}
	whole := netipx.RangeOfPrefix(p)
	var out []netipx.IPRange
	for _, r := range s.ranges {
		if !r.Overlaps(whole) {
			continue
		}
		from, to := r.From(), r.To()
		if from.Less(whole.From()) {
			from = whole.From()
		}
		if whole.To().Less(to) {
			to = whole.To()
		}
		out = append(out, netipx.IPRangeFrom(from, to))
	}
	return out
}
