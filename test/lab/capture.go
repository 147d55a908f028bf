package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/test/lab/capture"
	"github.com/causeway-net/causeway/test/lab/machine"
	"github.com/causeway-net/causeway/test/resident"
	"github.com/causeway-net/causeway/test/retry"
)

// listening is what a capture says on standard error; standard output is for packets.
const listening = "listening on"

// caughtUpLimit is how long Stop waits for tcpdump to read what the kernel holds for it.
const caughtUpLimit = 10 * time.Second

// idleAnswers is how many answers in a row with the same number of packets read say that tcpdump has nothing left to read.
// Between two answers it looks at what the kernel holds for it.
const idleAnswers = 5

// countsLine is what tcpdump answers to SIGUSR1 (tcpdump(1)).
var countsLine = regexp.MustCompile(`(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped`)

// Capture is a running tcpdump.
type Capture struct {
	cmd       *Cmd
	out, errs *machine.Buffer
}

// StartCapture starts tcpdump on an interface of a node or pod, and returns when it listens. The filter is pcap-filter(7).
func StartCapture(ctx context.Context, at Place, iface, filter string) (*Capture, error) {
	c := &Capture{out: &machine.Buffer{}, errs: &machine.Buffer{}}
	argv := []string{"tcpdump", "-i", iface, "-n", "-U", "--immediate-mode", "-s0", "-Z", "root", "-w", "-", filter}
	if inUserNamespace() {
		repo, err := resident.Repository()
		if err != nil {
			return nil, err
		}
		argv = []string{filepath.Join(repo, "bin", "lab-node"), "capture", iface, filter}
	}
	c.cmd = at.Command(ctx, argv...)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.errs
	if err := startAndWaitForLine(c.cmd, listening); err != nil {
		return nil, fmt.Errorf("start a capture on %s: %w: %s", iface, err, c.errs.String())
	}
	return c, nil
}

// Packets returns what was seen so far.
func (c *Capture) Packets() ([]capture.Packet, error) { return capture.Read([]byte(c.out.String())) }

// Stop ends the capture and returns everything seen. tcpdump ends at SIGINT without a look at what the kernel still holds
// for it, so it is asked first whether it has read everything; lab-node's capture reads on by itself.
func (c *Capture) Stop() ([]capture.Packet, error) {
	if !inUserNamespace() {
		if err := retry.Until(context.Background(), caughtUpLimit, c.caughtUp); err != nil {
			return nil, fmt.Errorf("stop a capture: %w", err)
		}
	}
	_ = c.cmd.Signal(syscall.SIGINT) // If it has ended, Wait says why.
	if err := c.cmd.Wait(); err != nil {
		return nil, fmt.Errorf("stop a capture: %w", err)
	}
	return c.Packets()
}

// caughtUp asks tcpdump for its counts, and is nil when the answers so far say that it has written each packet of its filter
// that the kernel had for it when it was first asked.
func (c *Capture) caughtUp() error {
	if err := c.cmd.Signal(syscall.SIGUSR1); err != nil || !c.cmd.Running() {
		return nil // Wait says why it has ended.
	}
	return caughtUp(c.errs.String())
}

// caughtUp judges what tcpdump has answered, which stands on its standard error.
func caughtUp(errs string) error {
	answers := countsLine.FindAllStringSubmatch(errs, -1)
	if len(answers) == 0 {
		return errors.New("tcpdump does not say how many packets it has read")
	}
	first, last := answers[0], answers[len(answers)-1]
	held, err := strconv.Atoi(first[2])
	read, err2 := strconv.Atoi(last[1])
	dropped, err3 := strconv.Atoi(last[3])
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	if read+dropped >= held {
		return nil
	}
	// The kernel also counts packets that came before tcpdump had set its filter. tcpdump leaves them out, so on a busy link
	// it never gets to the kernel's number.
	if n := len(answers); n >= idleAnswers && answers[n-idleAnswers][1] == last[1] {
		return nil
	}
	return fmt.Errorf("tcpdump has read %d of %d packets", read, held)
}

// inUserNamespace says whether only one user is known here.
func inUserNamespace() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !strings.Contains(string(text), "4294967295")
}
