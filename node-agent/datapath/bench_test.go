package datapath

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/node-agent/datapath/memory"
	"github.com/causeway-net/causeway/node-agent/datapath/plan"
)

// settledLoop is a loop of a node with 30 pods that has planned all.
func settledLoop(b testing.TB, blocks int) (*fakes, *Loop) {
	b.Helper()
	f := manyBlocks(blocks, v1alpha1.EncapsulationVXLAN)
	for i := range 30 {
		device, address := fmt.Sprintf("cw%011x", i+2), netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 2)}).String()
		f.endpoints = append(f.endpoints, testEndpoint(device, address))
		f.kernel.Wire(device)
	}
	l := f.loop()
	for range 3 {
		if err := l.pass(context.Background(), demand{observe: true}); err != nil {
			b.Fatal(err)
		}
	}
	return f, l
}

func pass(b testing.TB, l *Loop) {
	if err := l.pass(context.Background(), demand{}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPass10000Blocks is a pass in a cluster of 10,000 blocks.
func BenchmarkPass10000Blocks(b *testing.B) {
	const blocks = 10000
	b.Run("nothing changed", func(b *testing.B) {
		_, l := settledLoop(b, blocks)
		b.ReportAllocs()
		for b.Loop() {
			pass(b, l)
		}
	})
	b.Run("one block changed", func(b *testing.B) {
		f, l := settledLoop(b, blocks)
		changed := f.blocks[f.log[98]] // the first of its node: it says where the VTEP is
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			changed.NodeAddresses = []netip.Addr{netip.AddrFrom4([4]byte{172, 20, 0, byte(i % 2)})} // both are nodes'
			f.log = f.log[:len(f.blocks)]
			f.setBlock(changed)
			l.blocks = uint64(len(f.blocks)) + 1
			pass(b, l)
		}
	})
	b.Run("compared with the kernel as a whole", func(b *testing.B) {
		_, l := settledLoop(b, blocks)
		b.ReportAllocs()
		for b.Loop() {
			if err := l.pass(context.Background(), demand{observe: true, whole: true}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("all planned anew", func(b *testing.B) {
		f, l := settledLoop(b, blocks)
		b.ReportAllocs()
		for b.Loop() {
			f.pools[0].Route.NATOutgoing = !f.pools[0].Route.NATOutgoing
			pass(b, l)
		}
	})
}

// TestAPassCostsWhatHasChanged bounds the cost of passes at 10,000 blocks: the best of some, as the machine may be busy.
func TestAPassCostsWhatHasChanged(t *testing.T) {
	f, l := settledLoop(t, 10000)
	var calls memory.Calls
	best := func(prepare func(i int)) time.Duration {
		out := time.Hour
		for i := range 30 {
			prepare(i)
			calls = f.kernel.Calls()
			start := time.Now()
			pass(t, l)
			out = min(out, time.Since(start))
		}
		return out
	}
	if took := best(func(int) {}); took > time.Millisecond || f.kernel.Calls() != calls {
		t.Errorf("nothing has changed, but a pass takes %s and calls %+v, before %+v", took, f.kernel.Calls(), calls)
	}
	if garbage := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			pass(b, l)
		}
	}).AllocedBytesPerOp(); garbage > 100_000 {
		t.Errorf("nothing has changed, but a pass leaves %d bytes of garbage", garbage)
	}
	changed := f.blocks[f.log[98]] // the first of its node: it says where the VTEP is
	if took := best(func(i int) {
		changed.NodeAddresses = []netip.Addr{netip.AddrFrom4([4]byte{172, 20, 0, byte(i % 2)})}
		f.setBlock(changed)
	}); took > time.Millisecond || f.kernel.Calls().Changes != calls.Changes+1 || f.kernel.Calls().Applies != calls.Applies {
		t.Errorf("one block has changed: a pass takes %s and calls %+v, before %+v", took, f.kernel.Calls(), calls)
	}
	if want := plan.CountRoutes(l.planner.Plan().Routes); len(want) == 0 || want[len(want)-1].Count != 10001 {
		t.Errorf("planned %v", want)
	}
}

// TestMemoryAt10000Blocks bounds what the loop, its planner and the kernel in memory keep: the agent as a whole may have 60 MiB.
func TestMemoryAt10000Blocks(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	f, l := settledLoop(t, 10000)
	kept := float64(heap()-before) / (1 << 20)
	t.Logf("10,000 blocks: %.1f MiB", kept)
	if kept > 25 {
		t.Errorf("10,000 blocks keep %.1f MiB", kept)
	}
	runtime.KeepAlive(f)
	runtime.KeepAlive(l)
}
