package modes_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/test/lab"
)

const (
	forgedLength  = 200
	genuineLength = 201
)

// forged sends packets in a tunnel's manner from where no node is. The same packet from a node gets through.
func (c *cluster) forged(t *testing.T, w way) {
	t.Run("by the outside", func(t *testing.T) { c.dropped(t, w, c.Outside, c.a1, true) })
	// Its node's address would be lent to it by natOutgoing.
	t.Run("by a pod", func(t *testing.T) { c.dropped(t, w, c.a1, c.b, false) })
}

// dropped sends a packet to a pod, in the name of pod c, around which is a packet to the pod's node.
func (c *cluster) dropped(t *testing.T, w way, from lab.Place, victim *lab.Pod, reachesNode bool) {
	nic, err := lab.StartCapture(t.Context(), victim.Node, "eth0", "ip proto 4 or udp port 4789")
	if err != nil {
		t.Fatal(err)
	}
	pod, err := lab.StartCapture(t.Context(), victim.Node, c.hostEnds[victim], "icmp[icmptype] == icmp-echoreply")
	if err != nil {
		t.Fatal(err)
	}
	program := c.thisProgram(t)
	arrived := func(at *lab.Capture, length int) error {
		packets, err := at.Packets()
		if err == nil && len(byLength(packets)[length]) == 0 {
			err = fmt.Errorf("no packet of %d bytes in %v", length, packets)
		}
		return err
	}
	send := func(from lab.Place, length int) {
		c.run(t, from, program, forgeVerb, string(w), victim.Node.V4.String(), vtep(victim.Node), c.c.V4().String(), victim.V4().String(), strconv.Itoa(length))
	}
	send(from, forgedLength)
	if reachesNode {
		c.Eventually(t, lab.Settle, "the packet is at the node", func() error { return arrived(nic, forgedLength) })
	}
	c.Eventually(t, lab.Settle, "a node's packet is at the pod", func() error {
		send(c.Nodes[2], genuineLength)
		return arrived(pod, genuineLength)
	})
	if arrived(pod, forgedLength) == nil {
		t.Error("the packet reached the pod")
	}
	if !reachesNode && arrived(nic, forgedLength) == nil {
		t.Error("the packet left its node")
	}
	for _, running := range []*lab.Capture{nic, pod} {
		if _, err := running.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// thisProgram is where nodes find this test's program, wherever they are.
func (c *cluster) thisProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(c.Dir, "forge")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	here, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(here)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// forge is what this program does when a test runs it somewhere in the lab: it sends one ICMP echo reply inside a
// tunnel's packet. Arguments: the way, the node, its VTEP's MAC, the inner source and destination, and the inner length.
func forge(args []string) int {
	if err := sendForged(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

const forgeVerb = "forge"

func sendForged(args []string) error {
	if len(args) != 6 {
		return fmt.Errorf("want 6 arguments, not %d", len(args))
	}
	mac, macErr := net.ParseMAC(args[2])
	from, fromErr := netip.ParseAddr(args[3])
	to, toErr := netip.ParseAddr(args[4])
	length, lengthErr := strconv.Atoi(args[5])
	if err := errors.Join(macErr, fromErr, toErr, lengthErr); err != nil {
		return err
	}
	payload := innerPacket(from, to, length)
	network, target := "ip4:4", args[1]
	if way(args[0]) == vxlan {
		// RFC 7348 section 5: flags, VNI, then the frame.
		header := []byte{8, 0, 0, 0, byte(names.DefaultVXLANVNI >> 16), byte(names.DefaultVXLANVNI >> 8), byte(names.DefaultVXLANVNI & 0xff), 0}
		frame := append(append(append(header, mac...), 2, 0, 0, 0, 0, 1), 8, 0)
		payload = append(frame, payload...)
		network, target = "udp4", net.JoinHostPort(args[1], strconv.Itoa(names.DefaultVXLANPort))
	}
	conn, err := net.Dial(network, target)
	if err != nil {
		return err
	}
	_, err = conn.Write(payload)
	return errors.Join(err, conn.Close())
}

// innerPacket is an ICMP echo reply, which nobody answers.
func innerPacket(from, to netip.Addr, length int) []byte {
	p := make([]byte, length)
	p[0], p[2], p[3], p[8], p[9] = 0x45, byte(length>>8), byte(length), 64, 1
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	checksum(p[:20], 10)
	checksum(p[20:], 2)
	return p
}

// checksum is RFC 1071's.
func checksum(b []byte, at int) {
	sum := 0
	for i, x := range b {
		sum += int(x) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	b[at], b[at+1] = byte(^sum>>8), byte(^sum)
}
