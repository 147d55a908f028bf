package modes_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/test/lab"
)

const pingsBefore, pingsAfter = 500 * time.Millisecond, 1500 * time.Millisecond

// stop ends a command that would run on.
func stop(t *testing.T, c *lab.Cmd) {
	t.Helper()
	_ = c.Signal(syscall.SIGTERM) // It ends with the test's context too.
	_ = c.Wait()                  // It was told to.
}

// live changes the pool from every mode to every other one, but among the first ones, while a pod on each node pings each
// other pod, and a TCP connection between each two lasts through all changes. No node may lose a ping.
func (c *cluster) live(t *testing.T, modes []mode, first int) {
	c.change(t, modes[0].encapsulation, true)
	c.startPods(t, "live")
	pods := []*lab.Pod{c.a1, c.b, c.c}
	streams := c.streams(t, pods)
	least := modes[0].mtu
	for _, to := range tour(modes, first) {
		from := c.encapsulation(t)
		least = min(least, to.mtu)
		t.Run(fmt.Sprintf("%s to %s", from, to.encapsulation), func(t *testing.T) {
			pings := c.StartTraffic(t, pods)
			pings.More(t, pingsBefore)
			took := c.change(t, to.encapsulation, true)
			pings.More(t, pingsAfter) // Old tunnels go after Ready.
			pings.Judge(t, fmt.Sprintf("Ready after %.2f s", took.Seconds()))
			for _, p := range pods {
				if err := matches(c.run(t, p, "ip", "link", "show", "dev", "eth0"), fmt.Sprintf(` mtu %d `, least)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for name, s := range streams {
		report, err := s.Stop()
		if err != nil || report.Broken != "" || report.Messages < 100 {
			t.Errorf("TCP %s: %v %+v", name, err, report)
		}
		t.Logf("TCP %s: %d messages, longest stall %d ms", name, report.Messages, report.LongestStallMilliseconds)
	}
}

// tour begins at the first mode and goes from each to each other once, but among the first ones: a round for each mode,
// to and from all before it, that ends where it began.
func tour(modes []mode, first int) []mode {
	var out []mode
	for i := max(first, 1); i < len(modes); i++ {
		for j := 1; j < i; j++ {
			out = append(out, modes[i], modes[j])
		}
		out = append(out, modes[i], modes[0])
	}
	return out
}

// TestTour visits every change once: those of a plain kernel, and those that need IPIP.
func TestTour(t *testing.T) {
	seen := map[string]int{}
	for _, walk := range [][]mode{tour(plainKernel, 0), tour(slices.Concat(plainKernel, needIPIP), len(plainKernel))} {
		at := plainKernel[0]
		for _, to := range walk {
			seen[string(at.encapsulation+">"+to.encapsulation)]++
			at = to
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d changes: %v", len(seen), seen)
	}
	for name, times := range seen {
		if times != 1 {
			t.Errorf("%s: %d times", name, times)
		}
	}
}

// streams starts a TCP connection between each two pods.
func (c *cluster) streams(t *testing.T, pods []*lab.Pod) map[string]*lab.Stream {
	t.Helper()
	streams := map[string]*lab.Stream{}
	for i, from := range pods {
		server, err := c.ServeStreams(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stop(t, server) })
		for _, to := range pods[:i] {
			s, err := c.StartStream(t.Context(), from, to.V4(), "--pause="+c.PingInterval().String())
			if err != nil {
				t.Fatal(err)
			}
			streams[from.Node.Name+">"+to.Node.Name] = s
		}
	}
	return streams
}
