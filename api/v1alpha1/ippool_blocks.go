package v1alpha1

import (
	"fmt"
	"math"
	"net/netip"
)

// Prefix lengths of blocks where blockSize is not set.
const (
	DefaultBlockBitsV4 = 26
	DefaultBlockBitsV6 = 122
)

// Prefix returns the pool's range of addresses.
func (s *IPPoolSpec) Prefix() (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s.CIDR)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("read the pool's cidr: %w", err)
	}
	return p.Masked(), nil
}

// BlockBits returns the prefix length of the pool's blocks, never less than that of the pool itself.
func (s *IPPoolSpec) BlockBits() int {
	p, err := s.Prefix()
	if err != nil {
		return DefaultBlockBitsV4
	}
	bits := DefaultBlockBitsV4
	if p.Addr().Is6() {
		bits = DefaultBlockBitsV6
	}
	if s.BlockSize != nil {
		bits = int(*s.BlockSize)
	}
	return min(max(bits, p.Bits()), p.Addr().BitLen())
}

// Blocks returns how many blocks the pool has. It stops at 2^63-1.
func (s *IPPoolSpec) Blocks() int64 {
	p, err := s.Prefix()
	if err != nil {
		return 0
	}
	return powerOfTwo(s.BlockBits() - p.Bits())
}

// Capacity returns how many addresses of the pool pods can have. It stops at 2^63-1.
func (s *IPPoolSpec) Capacity() int64 {
	p, err := s.Prefix()
	if err != nil {
		return 0
	}
	blocks := s.Blocks()
	perBlock := UsableAddresses(netip.PrefixFrom(p.Addr(), s.BlockBits()))
	if perBlock == 0 {
		return 0
	}
	if blocks > math.MaxInt64/perBlock {
		return math.MaxInt64
	}
	return blocks * perBlock
}

// UsableAddresses returns how many addresses of a block pods can have: all but the first, which is kept for the
// node's tunnels, or the only one. It stops at 2^63-1.
func UsableAddresses(block netip.Prefix) int64 {
	if !block.IsValid() {
		return 0
	}
	n := powerOfTwo(block.Addr().BitLen() - block.Bits())
	if n == 1 || n == math.MaxInt64 {
		return n
	}
	return n - 1
}

func powerOfTwo(n int) int64 {
	if n >= 63 {
		return math.MaxInt64
	}
	return 1 << n
}
