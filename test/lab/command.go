package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/test/lab/machine"
)

// Cmd is a command on a node or in a pod, much like exec.Cmd.
type Cmd struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            []string

	ctx    context.Context
	runner machine.Runner
	spec   machine.Spec
	closer io.Closer

	process machine.Process
	done    chan struct{}
	code    int
	err     error
}

// ExitError says that a command ended with a code other than 0.
type ExitError struct {
	Command string
	Code    int
	Output  string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: exit code %d: %s", e.Command, e.Code, strings.TrimSpace(e.Output))
}

// Command prepares a command in the node's namespaces.
func (n *Node) Command(ctx context.Context, argv ...string) *Cmd {
	return &Cmd{ctx: ctx, runner: n.runner, spec: machine.Spec{Node: n.Name, Argv: argv}}
}

// Run runs a command on the node and returns what it printed, errors included.
func (n *Node) Run(ctx context.Context, argv ...string) (string, error) {
	return n.Command(ctx, argv...).CombinedOutput()
}

// WriteFile writes a file on the node, and the folders that lead to it.
func (n *Node) WriteFile(ctx context.Context, path, text string) error {
	c := n.Command(ctx, "sh", "-c", `mkdir -p "$(dirname "$1")" && cat >"$1"`, "sh", path)
	c.Stdin = strings.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s on %s: %w: %s", path, n.Name, err, out)
	}
	return nil
}

// Start starts the command.
func (c *Cmd) Start() error {
	c.spec.Env = c.Env
	p, err := c.runner.Start(c.ctx, c.spec, machine.Stdio{In: c.Stdin, Out: c.Stdout, Err: c.Stderr})
	if err != nil {
		return fmt.Errorf("%s: %w", c.where(), err)
	}
	c.process, c.done = p, make(chan struct{})
	go func() {
		c.code, c.err = p.Wait()
		if c.closer != nil {
			_ = c.closer.Close() // A log file.
		}
		close(c.done)
	}()
	return nil
}

// Wait returns nil after exit code 0, an ExitError after another one.
func (c *Cmd) Wait() error {
	if c.done == nil {
		return errNoCommand
	}
	<-c.done
	if c.err != nil {
		return fmt.Errorf("%s: %w", c.where(), c.err)
	}
	if c.code != 0 {
		return &ExitError{Command: c.where(), Code: c.code}
	}
	return nil
}

// Run is Start and Wait.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and returns its standard output. An ExitError carries standard error.
func (c *Cmd) Output() (string, error) {
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if exit := (*ExitError)(nil); errors.As(err, &exit) {
		exit.Output = errs.String()
	}
	return out.String(), err
}

// CombinedOutput runs the command and returns everything it printed. An ExitError carries it too.
func (c *Cmd) CombinedOutput() (string, error) {
	out := &machine.Buffer{}
	c.Stdout, c.Stderr = out, out
	err := c.Run()
	if exit := (*ExitError)(nil); errors.As(err, &exit) {
		exit.Output = out.String()
	}
	return out.String(), err
}

// Signal sends a signal.
func (c *Cmd) Signal(sig syscall.Signal) error {
	if c.process == nil {
		return errNoCommand
	}
	return c.process.Signal(sig)
}

// Running says whether the command was started and has not ended.
func (c *Cmd) Running() bool {
	if c.done == nil {
		return false
	}
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// end sends a signal and waits; what does not end within 10 s is killed.
func (c *Cmd) end(sig syscall.Signal) {
	if c.done == nil {
		return
	}
	_ = c.Signal(sig) // It may have ended.
	select {
	case <-c.done:
	case <-time.After(10 * time.Second):
		_ = c.Signal(syscall.SIGKILL) // It may have ended.
		<-c.done
	}
}

func (c *Cmd) where() string {
	at := c.spec.Node
	if at == "" {
		at = "lab"
	}
	return at + ": " + strings.Join(c.spec.Argv, " ")
}

func environment(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// Command prepares a command in the lab's own namespaces, where the router and the API server are.
func (l *Lab) Command(ctx context.Context, argv ...string) *Cmd {
	return &Cmd{ctx: ctx, runner: l.local, spec: machine.Spec{Argv: argv}}
}
