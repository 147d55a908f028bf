package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/causeway-net/causeway/test/lab/machine"
)

// place is a command and where in the lab it runs. No command is a shell.
type place struct {
	node, pod string
	argv      []string
}

func logCommand(name string) []string {
	return []string{"sh", "-c", `cat /mnt/lab-*/agent-"$1".log 2>/dev/null || cat /mnt/lab-*/"$1".log /mnt/lab-*/control-plane/"$1".log 2>/dev/null ||
{ echo "There is no log of $1." >&2; exit 1; }`, "sh", name}
}

// window prints a window into the agent of a node.
func window(node, name string, flags []string) place {
	return place{node: node, argv: append([]string{"causeway-agent", "debug", name}, flags...)}
}

// run runs a command in the lab as if it ran here: with this terminal, these streams, and its exit code as ours.
func run(ctx context.Context, p place) error {
	s, err := findState()
	if err != nil {
		return err
	}
	if _, err := os.Stat(s.socket()); err != nil {
		return fmt.Errorf("no lab is running: start one with `make lab`")
	}
	if len(p.argv) == 0 {
		p.argv = []string{"sh", "-c", `command -v bash >/dev/null && exec bash --norc; exec sh`}
	}
	spec := machine.Spec{Node: p.node, Netns: p.pod, Argv: p.argv, Env: []string{"TERM=" + os.Getenv("TERM"), "PS1=" + p.node + p.pod + `# `}}
	if dir, err := os.Getwd(); err == nil && p.node == "" && p.pod == "" {
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
	process, err := machine.NewClient("unix", s.socket()).Start(ctx, spec, machine.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
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
		return exitCodeError(code)
	}
	return err
}
