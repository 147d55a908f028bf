package resident

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/causeway-net/causeway/test/lab/machine"
)

// ExitCodeError is the code of a command that Run has run.
type ExitCodeError int

func (c ExitCodeError) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// Run runs a command over there as if it ran here: with this terminal, these streams, and its exit code as ours. Without
// a command it is a shell.
func (s State) Run(ctx context.Context, spec machine.Spec) error {
	if _, err := os.Stat(s.Socket()); err != nil {
		return fmt.Errorf("no %s is running: start one with `make %s`", s.Thing, s.Thing)
	}
	if len(spec.Argv) == 0 {
		spec.Argv = []string{"sh", "-c", `command -v bash >/dev/null && exec bash --norc; exec sh`}
	}
	spec.Env = append(spec.Env, "TERM="+os.Getenv("TERM"), "PS1="+spec.Node+spec.Netns+`# `)
	if dir, err := os.Getwd(); err == nil && spec.Node == "" && spec.Netns == "" {
		spec.Dir = dir
	}
	in, out := int(os.Stdin.Fd()), int(os.Stdout.Fd())
	if term.IsTerminal(in) && term.IsTerminal(out) {
		spec.TTY = true
		if width, height, err := term.GetSize(out); err == nil {
			spec.Cols, spec.Rows = uint16(width), uint16(height)
		}
		before, err := term.MakeRaw(in)
		if err != nil {
			return fmt.Errorf("prepare the terminal: %w", err)
		}
		defer func() { _ = term.Restore(in, before) }() // Nothing can be done about it.
	}
	process, err := machine.NewClient("unix", s.Socket()).Start(ctx, spec, machine.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for sig := range signals {
			_ = process.Signal(sig.(syscall.Signal)) // It may have ended.
		}
	}()
	code, err := process.Wait()
	if err == nil && code != 0 {
		return ExitCodeError(code)
	}
	return err
}
