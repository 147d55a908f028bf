package bgp_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/test/lab"
)

const (
	feedPrefixes = 100_000
	// feedLimit only catches what hangs: machines differ.
	feedLimit = 60 * time.Second
	// agentMemory is the most that an agent may need with the feed, in kB.
	agentMemory = 400_000
)

// feed is a BIRD with the feed, for one other machine. Passive, so that it begins when the other one asks.
func feed(neighbour string, on bool) string {
	routes := &strings.Builder{}
	if on {
		for i := range feedPrefixes {
			fmt.Fprintf(routes, "route 20.%d.%d.%d/28 blackhole;\n", i>>12, i>>4&0xff, i&0xf<<4)
		}
	}
	return fmt.Sprintf(`
protocol static feed { ipv4; %s }
protocol bgp taker { local as 65001; neighbor %s as 64512; passive on; multihop 3; ipv4 { import none; export where source = RTS_STATIC; }; }
`, routes, neighbour)
}

// TestFeed has one router announce 100,000 prefixes to a node, and then to a BIRD on another machine.
func TestFeed(t *testing.T) {
	l := lab.Start(t, lab.Options{Nodes: 1, Subnets: 1})
	n := l.Nodes[0]
	l.Create(t, configuration())
	hops := int32(3)
	p := peer("feed", "172.30.1.1", 65001, nil)
	p.Spec.EBGPMultihop = &hops
	l.Create(t, p)
	b := startBird(t, l, l.Command, "172.30.0.1", feed(n.V4.String(), false))
	awaitSessions(t, l, "BGPPeer/feed", 1)

	begin := time.Now()
	b.reconfigure(t, feed(n.V4.String(), true))
	ours := awaitFeed(t, l, n, "203", feedPrefixes, begin)
	l.Eventually(t, lab.Settle, "the metrics count the prefixes", func() error {
		const want = `causeway_bgp_session_prefixes{direction="received",peer="172.30.1.1"} 100000`
		out, err := metrics(t, n)
		if err == nil && !strings.Contains(out, want+"\n") {
			err = fmt.Errorf("they lack %s", want)
		}
		return err
	})
	agent, speaker := memory(t, "causeway-agent"), memory(t, "causeway-speake") // 15 letters, comm of proc(5)
	if agent+speaker > agentMemory {
		t.Errorf("agent and speaker need %d + %d kB", agent, speaker)
	}
	begin = time.Now()
	b.reconfigure(t, feed(n.V4.String(), false))
	withdrawn := awaitFeed(t, l, n, "203", 0, begin)

	o := l.Outside
	taker := startBird(t, l, o.Command, "172.30.9.2", `
protocol kernel { ipv4 { import none; export all; }; }
protocol bgp feed { local as 64512; neighbor 172.30.1.1 as 65001; multihop 3; connect delay time 1; ipv4 { import all; export none; }; }
`)
	b.reconfigure(t, feed(o.V4.String(), false))
	l.Eventually(t, lab.Settle, "the BIRDs talk", func() error { _, err := taker.established(netip.MustParseAddr("172.30.1.1")); return err })
	begin = time.Now()
	b.reconfigure(t, feed(o.V4.String(), true))
	theirs := awaitFeed(t, l, o, "bird", feedPrefixes, begin)
	begin = time.Now()
	b.reconfigure(t, feed(o.V4.String(), false))
	theirsWithdrawn := awaitFeed(t, l, o, "bird", 0, begin)

	report := fmt.Sprintf("%d prefixes from BIRD to the kernel: Causeway %s (withdrawn in %s; agent %d MB, speaker %d MB), BIRD %s (withdrawn in %s)",
		feedPrefixes, seconds(ours), seconds(withdrawn), agent/1000, speaker/1000, seconds(theirs), seconds(theirsWithdrawn))
	t.Log(report)
	fmt.Println(report)
}

// awaitFeed waits until a kernel has so many routes of a protocol, and returns how long it took.
func awaitFeed(t *testing.T, l *lab.Lab, n *lab.Node, protocol string, want int, begin time.Time) time.Duration {
	t.Helper()
	var took time.Duration
	l.Eventually(t, feedLimit, fmt.Sprintf("%s has %d routes of protocol %s", n.Name, want, protocol), func() error {
		// The number costs little; the list only confirms it.
		out, err := n.Run(t.Context(), "awk", "/Prefixes:/ && $2 > n {n = $2} END {print n}", "/proc/net/fib_triestat")
		took = time.Since(begin)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if sum, err := strconv.Atoi(strings.TrimSpace(out)); err != nil || sum < want || sum > want+feedPrefixes/2 {
			return fmt.Errorf("it has %s routes in all", out)
		}
		out, err = n.Run(t.Context(), "sh", "-c", "ip route show proto "+protocol+" | wc -l")
		if got, _ := strconv.Atoi(strings.TrimSpace(out)); err != nil || got != want {
			return fmt.Errorf("it has %s (%v)", out, err)
		}
		return nil
	})
	return took
}

// memory returns the most that a process of this name has resident, in kB. One node runs, in this test's process namespace.
func memory(t *testing.T, name string) int {
	t.Helper()
	most := 0
	files, _ := filepath.Glob("/proc/[0-9]*/status") // the pattern is right
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(text), "Name:\t"+name+"\n") {
			continue // ended, or another one
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
				kb, _ := strconv.Atoi(f[1]) // the kernel writes numbers
				most = max(most, kb)
			}
		}
	}
	if most == 0 {
		t.Fatalf("no process is called %s", name)
	}
	return most
}
