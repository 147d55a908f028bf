package modes_test

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/lab/capture"
)

// path is one ping, and what it must show.
type path struct {
	name string
	from lab.Place
	to   netip.Addr
	want expectation
}

// trace pings along all paths and compares what was captured at every point.
func (c *cluster) trace(t *testing.T, m mode) {
	for _, p := range c.pods() {
		c.macs[p.Key()] = c.mac(t, p, "eth0")
	}
	t.Run("masqueraded", func(t *testing.T) { c.follow(t, m, c.masqueraded) })
	c.change(t, m.encapsulation, false)
	t.Run("as it is", func(t *testing.T) { c.follow(t, m, c.paths) })
	c.change(t, m.encapsulation, true)
}

// follow captures at all points while it pings along paths; each has packets of a length of its own.
func (c *cluster) follow(t *testing.T, m mode, paths func(m mode, length func() int) []path) {
	length := 100
	list := paths(m, func() int { length++; return length })
	seen, err := c.captured(t, m, list)
	for range attempts - 1 {
		if err == nil {
			break
		}
		t.Logf("all pings again, since the machine of the lab may lose a packet: %v", err)
		seen, err = c.captured(t, m, list)
	}
	if err != nil {
		t.Error(err)
	}
	for i, p := range list {
		t.Run(p.name, func(t *testing.T) {
			for at, packets := range seen {
				if have, want := packets[101+i], p.want[at]; !slices.Equal(have, want) {
					t.Errorf("%s of %s shows\n  %s\nand not\n  %s", at.link, at.node.Name, strings.Join(have, "\n  "), strings.Join(want, "\n  "))
				}
			}
		})
	}
}

// captured pings along each path once, and returns what was captured at every point, by the packets' length.
func (c *cluster) captured(t *testing.T, m mode, list []path) (map[point]map[int][]string, error) {
	t.Helper()
	captures := c.captureAll(t, m, "icmp or ip proto 4 or udp port 4789")
	var errs []error
	for i, p := range list {
		_, err := p.from.Command(t.Context(), "ping", "-n", "-c1", "-W5", "-s"+strconv.Itoa(101+i-icmpHeaders), p.to.String()).CombinedOutput()
		errs = append(errs, err)
	}
	seen := map[point]map[int][]string{}
	for at, running := range captures {
		packets, err := running.Stop()
		if err != nil {
			t.Fatal(err)
		}
		seen[at] = byLength(packets)
	}
	return seen, errors.Join(errs...)
}

// captureAll starts a capture on every NIC, every tunnel that is there, and every pod's host end.
func (c *cluster) captureAll(t *testing.T, m mode, filter string) map[point]*lab.Capture {
	t.Helper()
	var points []point
	for _, n := range c.Nodes {
		points = append(points, point{n, "eth0"})
		for _, w := range []way{ipip, vxlan} {
			if m.uses(w) {
				points = append(points, point{n, w.device()})
			}
		}
	}
	for _, p := range c.pods() {
		points = append(points, point{p.Node, c.hostEnds[p]})
	}
	captures := map[point]*lab.Capture{}
	var mu sync.Mutex
	var started sync.WaitGroup
	for _, at := range points {
		started.Go(func() {
			running, err := lab.StartCapture(t.Context(), at.node, at.link, filter)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			captures[at] = running
		})
	}
	started.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return captures
}

var sourcePort = regexp.MustCompile(`ports \d+ >`)

// byLength sorts packets by the length of what they carry.
func byLength(packets []capture.Packet) map[int][]string {
	out := map[int][]string{}
	for _, p := range packets {
		inner := &p
		for inner.Inner != nil {
			inner = inner.Inner
		}
		// The source port of VXLAN is a hash of the inner packet (RFC 7348 section 5).
		out[inner.Length] = append(out[inner.Length], sourcePort.ReplaceAllString(p.String(), "ports * >"))
	}
	return out
}

// paths are those of a pool without natOutgoing. TTLs: 64 from a pod, 63 after its node, 62 after the other node; one
// less where a router between subnets handles the packet itself and not one around it.
func (c *cluster) paths(m mode, length func() int) []path {
	node1, node2 := c.Nodes[0], c.Nodes[1]
	out := []path{c.sameNode(length()), c.ownNode(length())}
	for _, to := range []*lab.Pod{c.b, c.c} {
		out = append(out, c.podToPod(m, to, length()), c.hostToPod(m, to, length()))
	}
	// A pod to another node: there as it is, back by the way to the pod's block.
	there, back, x := c.echoes(c.a1.V4(), node2.V4, length())
	c.leaves(x, c.a1, there, 64)
	c.crosses(x, plain, node1, node2, there, 63)
	c.arrives(x, c.a1, back, c.crosses(x, m.between(node2, node1), node2, node1, back, 64)-1)
	return append(out, path{"pod to other node", c.a1, node2.V4, x})
}

// masqueraded are the paths that natOutgoing changes: all that leave the pools. Inside nothing changes.
func (c *cluster) masqueraded(m mode, length func() int) []path {
	node1, node2 := c.Nodes[0], c.Nodes[1]
	out := []path{c.podToPod(m, c.b, length()), c.podToPod(m, c.c, length())}

	there, back, x := c.echoes(c.a1.V4(), node2.V4, length())
	nat1, nat2, _ := c.echoes(node1.V4, node2.V4, there.length)
	c.leaves(x, c.a1, there, 64)
	c.crosses(x, plain, node1, node2, nat1, 63)
	c.arrives(x, c.a1, back, c.crosses(x, plain, node2, node1, nat2, 64)-1)
	out = append(out, path{"pod to other node", c.a1, node2.V4, x})

	there, back, x = c.echoes(c.a1.V4(), c.Outside.V4, length())
	nat1, nat2, _ = c.echoes(node1.V4, c.Outside.V4, there.length)
	c.leaves(x, c.a1, there, 64)
	nic := point{node1, "eth0"}
	x.add(nic, "%s > %s %s", c.macs[node1.Name], c.macs["router1"], nat1.at(63))
	x.add(nic, "%s > %s %s", c.macs["router1"], c.macs[node1.Name], nat2.at(63))
	c.arrives(x, c.a1, back, 62)
	return append(out, path{"pod to outside", c.a1, c.Outside.V4, x})
}

func (c *cluster) echoes(from, to netip.Addr, length int) (echo, echo, expectation) {
	return echo{from, to, false, length}, echo{to, from, true, length}, expectation{}
}

func (c *cluster) sameNode(length int) path {
	there, back, x := c.echoes(c.a1.V4(), c.a2.V4(), length)
	c.leaves(x, c.a1, there, 64)
	c.arrives(x, c.a2, there, 63)
	c.leaves(x, c.a2, back, 64)
	c.arrives(x, c.a1, back, 63)
	return path{"pod to pod on the same node", c.a1, c.a2.V4(), x}
}

func (c *cluster) ownNode(length int) path {
	there, back, x := c.echoes(c.a1.V4(), c.a1.Node.V4, length)
	c.leaves(x, c.a1, there, 64)
	c.arrives(x, c.a1, back, 64)
	return path{"pod to own node", c.a1, c.a1.Node.V4, x}
}

func (c *cluster) podToPod(m mode, to *lab.Pod, length int) path {
	from := c.a1
	w := m.between(from.Node, to.Node)
	there, back, x := c.echoes(from.V4(), to.V4(), length)
	c.leaves(x, from, there, 64)
	c.arrives(x, to, there, c.crosses(x, w, from.Node, to.Node, there, 63)-1)
	c.leaves(x, to, back, 64)
	c.arrives(x, from, back, c.crosses(x, w, to.Node, from.Node, back, 63)-1)
	return path{fmt.Sprintf("pod to pod on %s by %s", to.Node.Name, w), from, to.V4(), x}
}

// hostToPod comes from the tunnel's address where a tunnel is the way, so that the answer takes it too.
func (c *cluster) hostToPod(m mode, to *lab.Pod, length int) path {
	from := c.Nodes[0]
	w := m.between(from, to.Node)
	source := from.V4
	if w != plain {
		source = c.tunnelAddress(from)
	}
	there, back, x := c.echoes(source, to.V4(), length)
	c.arrives(x, to, there, c.crosses(x, w, from, to.Node, there, 64)-1)
	c.leaves(x, to, back, 64)
	c.crosses(x, w, to.Node, from, back, 63)
	return path{fmt.Sprintf("host to pod on %s by %s", to.Node.Name, w), from, to.V4(), x}
}
