package modes_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/test/lab"
)

const (
	icmpHeaders = 28
	attempts    = 3 // of a single packet
)

// large sends the largest packets that pass, and ones that are a byte too long.
func (c *cluster) large(t *testing.T, m mode) {
	for _, to := range []*lab.Pod{c.a2, c.b, c.c} {
		t.Run("ping to "+to.Name, func(t *testing.T) {
			if out, err := sendDF(t, c.a1, to.V4(), m.mtu); err != nil {
				t.Errorf("%d bytes don't pass: %v", m.mtu, err)
			} else if strings.Contains(out, "rag needed") {
				t.Error(out)
			}
			if out, err := sendDF(t, c.a1, to.V4(), m.mtu+1); err == nil || !strings.Contains(out, "essage too long") {
				t.Errorf("%d bytes: %v: %s", m.mtu+1, err, out)
			}
		})
		t.Run("stream to "+to.Name, func(t *testing.T) { c.fullSegments(t, m, to) })
	}
	t.Run("fragmentation needed", func(t *testing.T) { c.tooLong(t, m) })
}

// sendDF pings with a packet of a length that must not be fragmented, again if neither the packet was answered nor an error
// came: the machine of the lab may lose a packet.
func sendDF(t *testing.T, from lab.Place, to netip.Addr, length int) (out string, err error) {
	for range attempts {
		out, err = from.Command(t.Context(), "ping", "-n", "-c1", "-W5", "-Mdo", "-s"+strconv.Itoa(length-icmpHeaders), to.String()).CombinedOutput()
		if err == nil || strings.Contains(out, "rag needed") || strings.Contains(out, "essage too long") {
			return out, err
		}
	}
	return out, err
}

// fullSegments runs a TCP stream whose packets are as long as the pods' MTU when they leave the pod, and are not handed
// on as larger ones to be cut later, as offloading would. (Further on, a NIC may join some again.)
func (c *cluster) fullSegments(t *testing.T, m mode, to *lab.Pod) {
	for _, p := range []*lab.Pod{c.a1, to} {
		c.run(t, p, "ip", "link", "set", "dev", "eth0", "gso_max_segs", "1")
	}
	server, err := c.ServeStreams(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, server)
	captured, err := lab.StartCapture(t.Context(), c.a1.Node, c.hostEnds[c.a1], "tcp and src host "+c.a1.V4().String())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.StartStream(t.Context(), c.a1, to.V4(), "--block=65536", "--pause=1ms")
	if err != nil {
		t.Fatal(err)
	}
	c.Eventually(t, lab.Settle, "full-size segments leave the pod", func() error {
		packets, err := captured.Packets()
		if err != nil {
			return err
		}
		full := 0
		for _, p := range packets {
			switch {
			case p.Length > m.mtu:
				return fmt.Errorf("a packet of %d bytes: %s", p.Length, p)
			case p.Length == m.mtu:
				full++
			}
		}
		if full < 100 {
			return fmt.Errorf("%d of %d packets have %d bytes", full, len(packets), m.mtu)
		}
		return nil
	})
	if report, err := stream.Stop(); err != nil || report.Broken != "" || report.Messages == 0 {
		t.Errorf("stream: %v %+v", err, report)
	}
	if _, err := captured.Stop(); err != nil {
		t.Error(err)
	}
}

// tooLong lets a pod send a byte more than its MTU, so that a node has to say that it is too much: its own for the
// tunnel or the NIC, or, where the NIC can carry it, the other pod's node.
func (c *cluster) tooLong(t *testing.T, m mode) {
	for _, to := range []*lab.Pod{c.b, c.c} {
		// A veth takes four bytes more than its MTU, for a VLAN tag (__is_skb_forwardable).
		c.run(t, c.a1, "ip", "link", "set", "dev", "eth0", "mtu", strconv.Itoa(m.mtu+1))
		out, err := sendDF(t, c.a1, to.V4(), m.mtu+1)
		c.run(t, c.a1, "ip", "link", "set", "dev", "eth0", "mtu", strconv.Itoa(m.mtu))
		if want := fmt.Sprintf("Frag needed and DF set (mtu = %d)", m.mtu); err == nil || !strings.Contains(out, want) {
			t.Errorf("to %s: no %q: %v: %s", to.Name, want, err, out)
		}
	}
}
