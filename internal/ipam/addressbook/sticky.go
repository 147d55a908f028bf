package addressbook

import (
	"fmt"
	"maps"
	"net/netip"
)

// Pod names a pod.
type Pod struct{ Namespace, Name string }

func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// RememberedError says that the address that a pod asks for is remembered for another pod.
type RememberedError struct {
	Address netip.Addr
	Pool    string
	Pod     Pod
}

func (e *RememberedError) Error() string {
	return fmt.Sprintf("address %s of IPPool %s is remembered for pod %s", e.Address, e.Pool, e.Pod)
}

// SetRemembered replaces the addresses that are remembered for pods: each is given to no other one. The caller must not change the map
// afterwards.
func (b *Book) SetRemembered(remembered map[netip.Addr]Pod) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if maps.Equal(b.remembered, remembered) {
		return
	}
	b.remembered = remembered
	for _, known := range b.blocks {
		known.setRemembered(remembered)
	}
	b.wake()
}

// setRemembered notes which addresses of the block only certain pods get.
func (b *block) setRemembered(remembered map[netip.Addr]Pod) {
	b.remembered = nil
	for a := range remembered {
		if !b.cidr.Contains(a) {
			continue
		}
		if b.remembered == nil {
			b.remembered = make([]uint64, len(b.used))
		}
		i := min(indexOf(b.cidr.Addr(), a), b.size-1)
		b.remembered[i/64] |= 1 << (i % 64)
	}
}

// expected is one word of the addresses that are remembered for a pod and that no pod has.
func (b *block) expected(word int) uint64 {
	if b.remembered == nil {
		return 0
	}
	return b.remembered[word] &^ b.used[word]
}
