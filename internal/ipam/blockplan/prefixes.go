package blockplan

import (
	"cmp"
	"net/netip"
	"slices"
)

// prefixes is a set of prefixes that can be walked in order. One that is added twice must be removed twice.
type prefixes struct {
	count  map[netip.Prefix]int
	sorted []netip.Prefix // nil until somebody walks it
}

func newPrefixes() prefixes { return prefixes{count: map[netip.Prefix]int{}} }

func (p *prefixes) add(prefix netip.Prefix) {
	p.count[prefix]++
	if p.count[prefix] > 1 || p.sorted == nil {
		return
	}
	at, _ := slices.BinarySearchFunc(p.sorted, prefix, ComparePrefixes)
	p.sorted = slices.Insert(p.sorted, at, prefix)
}

func (p *prefixes) remove(prefix netip.Prefix) {
	if p.count[prefix] > 1 {
		p.count[prefix]--
		return
	}
	delete(p.count, prefix)
	if at, found := slices.BinarySearchFunc(p.sorted, prefix, ComparePrefixes); found {
		p.sorted = slices.Delete(p.sorted, at, at+1)
	}
}

// walk returns all prefixes in order. The result must not be changed, and is valid until the next change.
func (p *prefixes) walk() []netip.Prefix {
	if p.sorted == nil {
		p.sorted = make([]netip.Prefix, 0, len(p.count))
		for prefix := range p.count {
			p.sorted = append(p.sorted, prefix)
		}
		SortPrefixes(p.sorted)
	}
	return p.sorted
}

// with returns the prefixes in order, with some more.
func (p *prefixes) with(more []netip.Prefix) []netip.Prefix {
	if len(more) == 0 {
		return p.walk()
	}
	all := append(slices.Clone(p.walk()), more...)
	SortPrefixes(all)
	return all
}

// ComparePrefixes orders by first address, the larger prefix first.
func ComparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// SortPrefixes sorts masked prefixes for FindGaps.
func SortPrefixes(p []netip.Prefix) { slices.SortFunc(p, ComparePrefixes) }
