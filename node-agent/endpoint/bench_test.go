package endpoint_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/node-agent/endpoint"
	"github.com/causeway-net/causeway/node-agent/marks"
)

// BenchmarkWire is the kernel's share of an ADD.
func BenchmarkWire(b *testing.B) {
	w, err := endpoint.NewWirer()
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		id := fmt.Sprint("bench", i)
		s := endpoint.Spec{
			HostInterface: marks.HostInterface(id, "eth0"), ContainerInterface: "eth0", NetworkNamespace: podNamespace(b), MTU: 1500,
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 8, byte(i >> 8), byte(i)})},
		}
		b.StartTimer()
		if err := w.Wire(s); err != nil {
			b.Fatal(err)
		}
	}
}
