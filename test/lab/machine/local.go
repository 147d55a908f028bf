package machine

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Local keeps its nodes on this machine.
type Local struct {
	holder string // the lab-node binary

	mu      sync.Mutex
	holders map[string]*exec.Cmd
}

// NewLocal returns a machine without nodes. labNode is the path of the lab-node binary.
func NewLocal(labNode string) *Local {
	return &Local{holder: labNode, holders: map[string]*exec.Cmd{}}
}

// Bridge makes an underlay segment with the given addresses on this side, and plugs links into it. Its MAC is given, since it
// would change with each node that is added, and the others would send to the old one until they ask again.
func Bridge(ctx context.Context, name string, addresses, links []string) error {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 0}
	_, _ = rand.Read(mac[1:]) // It never fails (crypto/rand).
	lines := []string{"link add " + name + " address " + mac.String() + " type bridge", "link set " + name + " up"}
	for _, a := range addresses {
		lines = append(lines, "addr add "+a+nodad(a)+" dev "+name)
	}
	for _, l := range links {
		lines = append(lines, "link set "+l+" master "+name, "link set "+l+" up")
	}
	return ipBatch(ctx, nil, lines)
}

// AddNode makes a node. It is there until RemoveNode, or until this process ends.
func (m *Local) AddNode(ctx context.Context, n Node) error {
	holder, err := m.hold(n.Name)
	if err != nil {
		return fmt.Errorf("make node %s: %w", n.Name, err)
	}
	m.mu.Lock()
	m.holders[n.Name] = holder
	m.mu.Unlock()
	port, pid := "p-"+n.Name, strconv.Itoa(holder.Process.Pid)
	if err := ipBatch(ctx, nil, []string{
		"link add " + port + " type veth peer name eth0 netns " + pid,
		"link set " + port + " master " + n.Bridge,
		"link set " + port + " up",
	}); err != nil {
		return fmt.Errorf("plug in node %s: %w", n.Name, err)
	}
	lines := []string{"link set lo up", "link set eth0 up"}
	for _, a := range n.Addresses {
		lines = append(lines, "addr add "+a+nodad(a)+" dev eth0")
	}
	for _, r := range n.Routes {
		lines = append(lines, "route add "+r)
	}
	if err := ipBatch(ctx, enter(pid, ""), lines); err != nil {
		return fmt.Errorf("configure node %s: %w", n.Name, err)
	}
	return nil
}

// RemoveNode takes a node away, with its links. Processes on it must have ended.
func (m *Local) RemoveNode(ctx context.Context, name string) error {
	m.mu.Lock()
	holder := m.holders[name]
	delete(m.holders, name)
	m.mu.Unlock()
	if holder == nil {
		return fmt.Errorf("there is no node %s", name)
	}
	// The port goes first: a namespace's own end is deleted whenever the kernel finds time.
	err := ipBatch(ctx, nil, []string{"link del p-" + name})
	_ = holder.Process.Kill() // It may have died with the machine.
	_ = holder.Wait()         // Killed.
	return err
}

// Close takes all nodes away.
func (m *Local) Close(ctx context.Context) error {
	m.mu.Lock()
	var names []string
	for name := range m.holders {
		names = append(names, name)
	}
	m.mu.Unlock()
	var errs []error
	for _, name := range names {
		errs = append(errs, m.RemoveNode(ctx, name))
	}
	return errors.Join(errs...)
}

// Start starts a command.
func (m *Local) Start(ctx context.Context, s Spec, std Stdio) (Process, error) {
	var prefix []string
	if s.Node != "" {
		m.mu.Lock()
		holder := m.holders[s.Node]
		m.mu.Unlock()
		if holder == nil {
			return nil, fmt.Errorf("there is no node %s", s.Node)
		}
		prefix = enter(strconv.Itoa(holder.Process.Pid), s.Netns)
	}
	argv := append(prefix, s.Argv...)
	if len(argv) == 0 {
		return nil, errors.New("no command given")
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Dir = s.Dir
	cmd.WaitDelay = 2 * time.Second
	cmd.Stdin, cmd.Stdout, cmd.Stderr = std.In, std.Out, std.Err
	// A group of its own: a signal for the lab's terminal is not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &localProcess{cmd: cmd}
	if s.TTY {
		return p, p.startOnTerminal(s, std)
	}
	if std.In != nil {
		if err := p.feed(std.In); err != nil {
			return nil, err
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Argv[0], err)
	}
	return p, nil
}

type localProcess struct {
	cmd      *exec.Cmd
	terminal *os.File
	copied   chan struct{}
}

// feed copies the input by a pipe of ours: Wait must not wait for a reader that has nothing more to say.
func (p *localProcess) feed(in io.Reader) error {
	p.cmd.Stdin = nil
	w, err := p.cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	go func() {
		_, _ = io.Copy(w, in) // The command may end before its input does.
		_ = w.Close()
	}()
	return nil
}

func (p *localProcess) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

func (p *localProcess) Wait() (int, error) {
	err := p.cmd.Wait()
	if p.terminal != nil {
		<-p.copied
		_ = p.terminal.Close()
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	// A child that keeps the output open after its parent's end is not the parent's failure.
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return -1, fmt.Errorf("wait for %s: %w", p.cmd.Args[0], err)
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

// hold starts the process that keeps a node's namespaces, and waits until they are ready.
func (m *Local) hold(name string) (*exec.Cmd, error) {
	cmd := exec.Command(m.holder, "hold", name)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS, Setpgid: true,
	}
	ready, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer ready.Close()
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	_ = w.Close() // The child has its own.
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", m.holder, err)
	}
	said, err := io.ReadAll(ready)
	if err != nil || len(said) > 0 {
		_ = cmd.Process.Kill() // It is of no use.
		_ = cmd.Wait()         // Killed.
		return nil, errors.Join(fmt.Errorf("prepare its namespaces: %s", said), err)
	}
	return cmd, nil
}

// enter returns the command prefix that runs something in a node's namespaces, and in a pod's network namespace if one is named.
func enter(pid, netns string) []string {
	net := "--net=/proc/" + pid + "/ns/net"
	if netns != "" {
		net = "--net=/proc/" + pid + "/root/run/netns/" + netns
	}
	return []string{"nsenter", "--target=" + pid, "--mount", "--uts", net, "--"}
}

func nodad(address string) string {
	if strings.Contains(address, ":") {
		return " nodad"
	}
	return ""
}

// IPBatch runs lines of ip(8) here. The error has what ip said, and the lines.
func IPBatch(ctx context.Context, lines ...string) error { return ipBatch(ctx, nil, lines) }

func ipBatch(ctx context.Context, prefix, lines []string) error {
	argv := append(append([]string{}, prefix...), "ip", "-batch", "-")
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ip -batch: %w: %s(the batch was: %s)", err, out.String(), strings.Join(lines, "; "))
	}
	return nil
}
