package scale_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
)

// limit only catches what hangs: machines differ.
const limit = 2 * time.Minute

// TestFullMesh has 50 nodes that all peer with each other.
func TestFullMesh(t *testing.T) {
	f := newFleet(t, 50)
	sessions := make([][]bgpplan.Session, len(f.members))
	for i, m := range f.members {
		for _, peer := range f.members {
			if peer != m {
				sessions[i] = append(sessions[i], session(m, peer))
			}
		}
	}
	report(t, "full mesh of 50 nodes: all routes in all kernels after %s", f.converge(sessions))

	// Withdrawals, one after the other.
	const count = 50
	var took []time.Duration
	for i := range count {
		m := f.members[i]
		begin := time.Now()
		f.apply(m, sessions[i], false)
		took = append(took, f.await(limit, false, m).Sub(begin))
		f.apply(m, sessions[i], true)
		f.await(limit, true, m)
	}
	slices.Sort(took)
	report(t, "withdrawal of one block, until it is gone from all 49 other kernels: p50 %s, p99 %s", took[count/2], took[count-1])
}

// TestReflectors has 200 nodes, two of them route reflectors for all.
func TestReflectors(t *testing.T) {
	f := newFleet(t, 200)
	sessions := make([][]bgpplan.Session, len(f.members))
	for i, m := range f.members {
		for j, peer := range f.members {
			if i == j || i > 1 && j > 1 {
				continue
			}
			s := session(m, peer)
			s.Source, s.Reflector = "BGPPeer/reflectors", i < 2
			if i < 2 && j > 1 {
				s.ClusterID = netip.MustParseAddr("224.0.0.1")
			}
			sessions[i] = append(sessions[i], s)
		}
	}
	report(t, "200 nodes with 2 route reflectors: all routes in all kernels after %s", f.converge(sessions))
}

// converge starts all sessions, and returns the time until every kernel has the routes to all other nodes' blocks.
func (f *fleet) converge(sessions [][]bgpplan.Session) time.Duration {
	f.t.Helper()
	begin := time.Now()
	for i, m := range f.members {
		f.apply(m, sessions[i], true)
	}
	return f.await(limit, true, f.members...).Sub(begin)
}

func report(t *testing.T, format string, times ...time.Duration) {
	t.Helper()
	values := make([]any, len(times))
	for i, d := range times {
		values[i] = d.Round(time.Millisecond)
	}
	t.Logf(format, values...)
	fmt.Printf(format+"\n", values...)
}
