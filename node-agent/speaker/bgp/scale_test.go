package bgp_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgpplan"
	"github.com/causeway-net/causeway/test/routers"
)

// TestLargeFeed has one peer that announces 100,000 prefixes. BIRD takes the same feed for comparison.
func TestLargeFeed(t *testing.T) {
	const count = 100000
	n, feeder, other := newNode(t, "node"), routers.NewHost(t, "feeder"), routers.NewHost(t, "bird")
	routers.Connect(t, n.host, "10.0.0.2/24", feeder, "10.0.0.1/24")
	routers.Connect(t, other, "10.0.1.2/24", feeder, "10.0.1.1/24")
	var config strings.Builder
	config.WriteString("protocol static { ipv4;\n")
	for i := range count {
		fmt.Fprintf(&config, "route %d.%d.%d.0/24 blackhole;\n", 20+i>>16, i>>8&255, i&255)
	}
	config.WriteString("}\ntemplate bgp feed { local as 65001; passive on; graceful restart on; ipv4 { import none; export all; }; }\n")
	config.WriteString("protocol bgp node from feed { local 10.0.0.1; neighbor 10.0.0.2 as 64512; }\nprotocol bgp second from feed { local 10.0.1.1; neighbor 10.0.1.2 as 64513; }\n")
	routers.StartBird(t, feeder, "10.0.0.1", config.String())

	start := time.Now()
	b := routers.StartBird(t, other, "10.0.1.2", `protocol kernel { ipv4 { export all; import none; }; scan time 600; }
protocol bgp feed { local 10.0.1.2 as 64513; neighbor 10.0.1.1 as 65001; connect delay time 1; ipv4 { import all; export none; }; }`)
	routers.Eventually(t, 60*time.Second, func() error {
		if out := b.Ctl("show", "route", "count"); !strings.Contains(out, fmt.Sprint(count)) {
			return fmt.Errorf("BIRD has %s", out)
		}
		return nil
	})
	bird := time.Since(start)

	start = time.Now()
	n.apply(plan(64512, "10.0.0.2", []bgpplan.Session{to(65001, "10.0.0.2", "10.0.0.1")}))
	// BIRD sends the last messages of a long feed only when its loop wakes up by itself, 3 s later: count without them.
	routers.Eventually(t, 60*time.Second, func() error {
		if got := len(n.Routes().Routes); got < count*99/100 {
			return fmt.Errorf("%d routes", got)
		}
		return nil
	})
	most := time.Since(start)
	routers.Eventually(t, 60*time.Second, func() error {
		if got := len(n.Routes().Routes); got != count {
			return fmt.Errorf("%d routes", got)
		}
		return nil
	})
	ours := time.Since(start)
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	rss := ""
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "VmHWM") {
			rss += " " + strings.Join(strings.Fields(line), " ")
		}
	}
	t.Logf("%d prefixes: %s from the plan to the agent's snapshot, 99 in 100 after %s; BIRD, from its start, with a connect delay of 1 s, into its kernel: %s; the speaker's %s",
		count, ours.Round(time.Millisecond), most.Round(time.Millisecond), bird.Round(time.Millisecond), rss)
	if ours > 10*time.Second {
		t.Errorf("it took %s", ours)
	}
	start = time.Now()
	snapshot := n.Routes()
	n.apply(plan(64512, "10.0.0.2", nil))
	routers.Eventually(t, 20*time.Second, func() error {
		if got := n.Routes(); len(got.Routes) > 0 || got.Version == snapshot.Version {
			return fmt.Errorf("%d routes", len(got.Routes))
		}
		return nil
	})
	t.Logf("all gone %s after the session", time.Since(start).Round(time.Millisecond))
}

// TestMesh has a full mesh of speakers. They share a host and its loopback: the kernel's neighbour table, which all network
// namespaces share, has no room for the neighbours of 50 hosts.
func TestMesh(t *testing.T) {
	const count = 50
	host := routers.NewHost(t, "mesh")
	var nodes []*node
	address := func(i int) string { return fmt.Sprintf("10.0.0.%d", i+1) }
	block := func(i int) string { return fmt.Sprintf("10.211.%d.0/26", i) }
	for i := range count {
		host.IP("addr", "add", address(i)+"/32", "dev", "lo")
		nodes = append(nodes, onHost(t, host))
	}
	meshPlan := func(i int, prefixes ...string) bgpplan.Plan {
		var sessions []bgpplan.Session
		for j := range count {
			if i != j {
				s := to(64512, address(i), address(j))
				s.DialLater, s.Source = j < i, "NodeToNodeMesh"
				sessions = append(sessions, s)
			}
		}
		return plan(64512, address(i), sessions, prefixes...)
	}
	start := time.Now()
	for i, n := range nodes {
		n.apply(meshPlan(i, block(i)))
	}
	for i, n := range nodes {
		for j := range nodes {
			if i != j {
				n.waitRoute(20*time.Second, block(j), address(j))
			}
		}
	}
	took := time.Since(start)
	t.Logf("%d speakers in a full mesh converge in %s", count, took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Error("that is longer than 10 s")
	}
	start = time.Now()
	nodes[0].apply(meshPlan(0))
	for _, n := range nodes[1:] {
		n.waitRoute(time.Second, block(0), "")
	}
	t.Logf("a withdrawal reaches all others in %s", time.Since(start).Round(time.Millisecond))
}
