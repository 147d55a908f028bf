package blockplan

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"go4.org/netipx"
)

func listed(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func take(g *Gaps, n int) []netip.Prefix {
	var out []netip.Prefix
	for range n {
		p, ok := g.Next()
		if !ok {
			break
		}
		out = append(out, p)
	}
	return out
}

func TestGaps(t *testing.T) {
	for _, c := range []struct {
		name, pool string
		bits       int
		used, want []netip.Prefix
	}{
		{"empty pool", "10.0.0.0/24", 26, nil, listed("10.0.0.0/26", "10.0.0.64/26", "10.0.0.128/26")},
		{"hole", "10.0.0.0/24", 26, listed("10.0.0.0/26", "10.0.0.128/26"), listed("10.0.0.64/26", "10.0.0.192/26")},
		{"full", "10.0.0.0/25", 26, listed("10.0.0.0/26", "10.0.0.64/26"), nil},
		{"larger block of another pool", "10.0.0.0/24", 26, listed("10.0.0.0/25"), listed("10.0.0.128/26", "10.0.0.192/26")},
		{"smaller blocks of another pool", "10.0.0.0/25", 26, listed("10.0.0.3/32", "10.0.0.4/30"), listed("10.0.0.64/26")},
		{"nested", "10.0.0.0/24", 26, listed("10.0.0.0/25", "10.0.0.8/30", "10.0.0.64/26"), listed("10.0.0.128/26", "10.0.0.192/26")},
		{"covers the pool", "10.0.0.0/24", 26, listed("10.0.0.0/8"), nil},
		{"outside", "10.0.1.0/25", 26, listed("10.0.0.0/26", "10.0.2.0/26"), listed("10.0.1.0/26", "10.0.1.64/26")},
		{"end of the address space", "255.255.255.128/25", 26, listed("255.255.255.192/26"), listed("255.255.255.128/26")},
		{"single addresses", "10.0.0.0/30", 32, listed("10.0.0.1/32"), listed("10.0.0.0/32", "10.0.0.2/32", "10.0.0.3/32")},
		{"huge", "fd00:10:211::/48", 122, listed("fd00:10:211::/122"), listed("fd00:10:211::40/122", "fd00:10:211::80/122", "fd00:10:211::c0/122")},
		{"other family", "fd00::/121", 122, listed("10.0.0.0/8"), listed("fd00::/122", "fd00::40/122")},
		{"end of IPv6", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff80/121", 122, nil, listed("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff80/122", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffc0/122")},
	} {
		SortPrefixes(c.used)
		if got := take(FindGaps(netip.MustParsePrefix(c.pool), c.bits, c.used), 3); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestGapsAgreeWithASet compares the walk with the obvious way to do it, on pools small enough for that.
func TestGapsAgreeWithASet(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		pool := netip.MustParsePrefix([]string{"10.0.0.0/24", "255.255.255.0/24", "fd00::/120"}[random.IntN(3)])
		extra := 2 + random.IntN(4)
		bits := pool.Bits() + extra
		var used []netip.Prefix
		var set netipx.IPSetBuilder
		for range random.IntN(12) {
			raw := pool.Addr().AsSlice()
			raw[len(raw)-1] = byte(random.IntN(256))
			addr, _ := netip.AddrFromSlice(raw)
			p := netip.PrefixFrom(addr, pool.Bits()+1+random.IntN(addr.BitLen()-pool.Bits())).Masked()
			used = append(used, p)
			set.AddPrefix(p)
		}
		taken, err := set.IPSet()
		if err != nil {
			t.Fatal(err)
		}
		var want []netip.Prefix
		for block := netip.PrefixFrom(pool.Addr(), bits); block.IsValid() && pool.Overlaps(block); block = netip.PrefixFrom(netipx.PrefixLastIP(block).Next(), bits) {
			if !taken.OverlapsPrefix(block) {
				want = append(want, block)
			}
		}
		SortPrefixes(used)
		if got := take(FindGaps(pool, bits, used), 1<<extra+1); !slices.Equal(got, want) {
			t.Fatalf("pool %s bits %d used %v: %v, want %v", pool, bits, used, got, want)
		}
	}
}

func FuzzGaps(f *testing.F) {
	f.Add("10.0.0.0/8", 26, "10.0.0.0/26", "10.0.0.64/32")
	f.Add("::/0", 122, "::/1", "8000::/1")
	f.Fuzz(func(t *testing.T, poolText string, bits int, a, b string) {
		pool, err := netip.ParsePrefix(poolText)
		if err != nil {
			return
		}
		var used []netip.Prefix
		for _, text := range []string{a, b} {
			if p, err := netip.ParsePrefix(text); err == nil {
				used = append(used, p.Masked())
			}
		}
		SortPrefixes(used)
		var previous netip.Addr
		for _, got := range take(FindGaps(pool, bits, used), 5) {
			if got != got.Masked() || got.Bits() != bits || !pool.Contains(got.Addr()) || (previous.IsValid() && !previous.Less(got.Addr())) {
				t.Fatalf("bad block %s in %s", got, pool)
			}
			previous = got.Addr()
			for _, u := range used {
				if u.Overlaps(got) {
					t.Fatalf("%s overlaps used %s", got, u)
				}
			}
		}
	})
}

func BenchmarkGapsInAFullTen(b *testing.B) {
	var used []netip.Prefix
	g := FindGaps(netip.MustParsePrefix("10.0.0.0/8"), 26, nil)
	used = take(g, 50_000)
	for b.Loop() {
		if _, ok := FindGaps(netip.MustParsePrefix("10.0.0.0/8"), 26, used).Next(); !ok {
			b.Fatal("no gap")
		}
	}
}
