package routers

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/test/retry"
)

var counter atomic.Int64

// Host is a network namespace.
type Host struct {
	Name string
	t    testing.TB
}

// NewHost makes a host with a loopback only.
func NewHost(t testing.TB, name string) *Host {
	t.Helper()
	h := &Host{Name: fmt.Sprintf("%s-%d", name, counter.Add(1)), t: t}
	run(t, "ip", "netns", "add", h.Name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", h.Name).Run() })
	h.IP("link", "set", "lo", "up")
	h.Run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.default.accept_dad=0",
		"net.ipv6.conf.all.accept_dad=0", "net.ipv4.tcp_l3mdev_accept=0")
	return h
}

// Command prepares a command that runs on the host.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + h.Name, name}, args...)...)
}

// Run runs a command on the host and returns what it says. A failure ends the test.
func (h *Host) Run(name string, args ...string) string {
	h.t.Helper()
	out, err := h.Command(name, args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s: %s %s: %v\n%s", h.Name, name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// IP runs ip(8) on the host.
func (h *Host) IP(args ...string) string {
	h.t.Helper()
	return h.Run("ip", args...)
}

// Start starts a daemon on the host; it ends with the test. Its output goes to the returned file.
func (h *Host) Start(env []string, name string, args ...string) (*exec.Cmd, string) {
	h.t.Helper()
	log, err := os.CreateTemp(h.t.TempDir(), "log")
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := h.Command(name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		h.t.Fatalf("%s: start %s: %v", h.Name, name, err)
	}
	_ = log.Close()
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if h.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			h.t.Logf("%s: output of %s:\n%s", h.Name, name, tail(string(text), 4000))
		}
	})
	return cmd, log.Name()
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}

// Connect makes a cable between two hosts. The addresses have prefix lengths; those of one end are split by blanks.
func Connect(t testing.TB, a *Host, addrsA string, b *Host, addrsB string) {
	t.Helper()
	n := counter.Add(1)
	nameA, nameB := fmt.Sprintf("e%da", n), fmt.Sprintf("e%db", n)
	run(t, "ip", "link", "add", nameA, "netns", a.Name, "type", "veth", "peer", "name", nameB, "netns", b.Name)
	a.up(nameA, addrsA)
	b.up(nameB, addrsB)
}

// Switch is an Ethernet segment.
type Switch struct {
	host *Host
	t    testing.TB
}

// NewSwitch makes a segment.
func NewSwitch(t testing.TB) *Switch {
	t.Helper()
	s := &Switch{host: NewHost(t, "switch"), t: t}
	s.host.IP("link", "add", "br0", "type", "bridge")
	s.host.IP("link", "set", "br0", "up")
	return s
}

// Plug connects a host to the segment.
func (s *Switch) Plug(h *Host, addrs string) {
	s.t.Helper()
	n := counter.Add(1)
	port, nic := fmt.Sprintf("p%d", n), fmt.Sprintf("e%d", n)
	run(s.t, "ip", "link", "add", port, "netns", s.host.Name, "type", "veth", "peer", "name", nic, "netns", h.Name)
	s.host.IP("link", "set", port, "master", "br0", "up")
	h.up(nic, addrs)
}

func (h *Host) up(nic, addrs string) {
	h.t.Helper()
	h.IP("link", "set", nic, "up")
	for _, a := range strings.Fields(addrs) {
		args := []string{"addr", "add", a, "dev", nic}
		if strings.Contains(a, ":") {
			args = append(args, "nodad")
		}
		h.IP(args...)
	}
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// Eventually waits until a condition holds. When the limit passes, the test ends with what the condition last said.
func Eventually(t testing.TB, limit time.Duration, condition func() error) {
	t.Helper()
	if err := retry.Until(t.Context(), limit, condition); err != nil {
		t.Fatalf("not within %s: %v", limit, err)
	}
}
