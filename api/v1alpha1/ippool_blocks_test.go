package v1alpha1

import (
	"math"
	"net/netip"
	"testing"
)

func TestPoolArithmetic(t *testing.T) {
	size := func(n int32) *int32 { return &n }
	for _, c := range []struct {
		cidr     string
		size     *int32
		bits     int
		blocks   int64
		capacity int64
	}{
		{"10.211.0.0/16", nil, 26, 1024, 1024 * 63},
		{"10.0.0.0/8", size(26), 26, 1 << 18, (1 << 18) * 63},
		{"10.0.0.0/30", size(32), 32, 4, 4},
		{"10.0.0.0/30", size(30), 30, 1, 3},
		{"0.0.0.0/0", size(20), 20, 1 << 20, (1 << 20) * 4095},
		{"fd00:10:211::/48", nil, 122, math.MaxInt64, math.MaxInt64},
		{"fd00:10:211::/64", size(122), 122, 1 << 58, math.MaxInt64},
		{"fd00:10:211::/112", nil, 122, 1024, 1024 * 63},
		{"fd00::/128", size(128), 128, 1, 1},
		{"nonsense", nil, 26, 0, 0},
	} {
		s := IPPoolSpec{CIDR: c.cidr, BlockSize: c.size}
		if s.BlockBits() != c.bits || s.Blocks() != c.blocks || s.Capacity() != c.capacity {
			t.Errorf("%s: bits %d blocks %d capacity %d, want %d %d %d", c.cidr, s.BlockBits(), s.Blocks(), s.Capacity(), c.bits, c.blocks, c.capacity)
		}
	}
}

func FuzzPoolArithmetic(f *testing.F) {
	f.Add("10.0.0.0/8", int32(26))
	f.Add("::/0", int32(128))
	f.Add("x", int32(-5))
	f.Fuzz(func(t *testing.T, cidr string, size int32) {
		s := IPPoolSpec{CIDR: cidr, BlockSize: &size}
		if s.Capacity() < 0 || s.Blocks() < 0 {
			t.Fatalf("negative count for %q %d", cidr, size)
		}
		if p, err := s.Prefix(); err == nil {
			if b := s.BlockBits(); b < p.Bits() || b > p.Addr().BitLen() {
				t.Fatalf("block bits %d out of range for %s", b, p)
			}
		}
	})
}

func TestUsableAddressesOfNothing(t *testing.T) {
	if UsableAddresses(netip.Prefix{}) != 0 {
		t.Fatal("an invalid prefix has no addresses")
	}
}
