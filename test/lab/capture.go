package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/causeway-net/causeway/test/lab/capture"
	"github.com/causeway-net/causeway/test/lab/machine"
	"github.com/causeway-net/causeway/test/resident"
)

// listening is what a capture says on standard error; standard output is for packets.
const listening = "listening on"

// Capture is a running tcpdump.
type Capture struct {
	cmd *Cmd
	out *machine.Buffer
}

// StartCapture starts tcpdump on an interface of a node or pod, and returns when it listens. The filter is pcap-filter(7).
func StartCapture(ctx context.Context, at Place, iface, filter string) (*Capture, error) {
	c := &Capture{out: &machine.Buffer{}}
	argv := []string{"tcpdump", "-i", iface, "-n", "-U", "--immediate-mode", "-s0", "-Z", "root", "-w", "-", filter}
	if inUserNamespace() {
		repo, err := resident.Repository()
		if err != nil {
			return nil, err
		}
		argv = []string{filepath.Join(repo, "bin", "lab-node"), "capture", iface, filter}
	}
	c.cmd = at.Command(ctx, argv...)
	c.cmd.Stdout = c.out
	if err := startAndWaitForLine(c.cmd, listening); err != nil {
		return nil, fmt.Errorf("start a capture on %s: %w", iface, err)
	}
	return c, nil
}

// Packets returns what was seen so far.
func (c *Capture) Packets() ([]capture.Packet, error) { return capture.Read([]byte(c.out.String())) }

// Stop ends the capture and returns everything seen.
func (c *Capture) Stop() ([]capture.Packet, error) {
	_ = c.cmd.Signal(syscall.SIGINT) // If it has ended, Wait says why.
	if err := c.cmd.Wait(); err != nil && !inUserNamespace() {
		return nil, fmt.Errorf("stop a capture: %w", err)
	}
	return c.Packets()
}

// inUserNamespace says whether only one user is known here.
func inUserNamespace() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !strings.Contains(string(text), "4294967295")
}
