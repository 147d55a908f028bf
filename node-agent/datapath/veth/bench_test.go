package veth_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/veth"
)

// BenchmarkWire is the kernel's share of an ADD.
func BenchmarkWire(b *testing.B) {
	w, err := veth.NewWirer()
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		id := fmt.Sprint("bench", i)
		s := veth.Spec{
			HostInterface: names.HostInterface(id, "eth0"), ContainerInterface: "eth0", NetworkNamespace: podNamespace(b), MTU: 1500,
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 8, byte(i >> 8), byte(i)})},
		}
		b.StartTimer()
		if err := w.Wire(s); err != nil {
			b.Fatal(err)
		}
	}
}
