// Package machine makes nodes out of namespaces on one Linux machine and runs commands in them, here or in a virtual
// machine at the other end of a connection. It takes descriptions of nodes and command lines in, hands processes out,
// and knows nothing of Kubernetes.
package machine

import (
	"context"
	"io"
	"syscall"
)

// Node describes one node: a network namespace with eth0 on a bridge, and a mount namespace with a /run and an /etc of its own.
type Node struct {
	Name string `json:"name"`
	// Bridge is the underlay segment that eth0 is plugged into.
	Bridge string `json:"bridge"`
	// Addresses of eth0, with prefix lengths.
	Addresses []string `json:"addresses"`
	// Routes are arguments of ip-route(8) add.
	Routes []string `json:"routes"`
}

// Spec is a command to run.
type Spec struct {
	// Node to run on; empty is the lab itself.
	Node string `json:"node,omitempty"`
	// Netns is the name of a pod's network namespace on the node; empty is the node's own.
	Netns string   `json:"netns,omitempty"`
	Argv  []string `json:"argv"`
	// Env is added to the environment.
	Env []string `json:"env,omitempty"`
	Dir string   `json:"dir,omitempty"`
	// TTY asks for a terminal of that many rows and columns; standard error is part of standard output then.
	TTY  bool   `json:"tty,omitempty"`
	Rows uint16 `json:"rows,omitempty"`
	Cols uint16 `json:"cols,omitempty"`
}

// Stdio is what a command reads and writes; nil is nothing.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Process is a started command.
type Process interface {
	Signal(sig syscall.Signal) error
	// Wait returns the exit code, 128 + n after signal n, when the output is complete. Call it once.
	Wait() (int, error)
}

// Runner starts commands on nodes. A command ends when its context does.
type Runner interface {
	AddNode(ctx context.Context, n Node) error
	RemoveNode(ctx context.Context, name string) error
	Start(ctx context.Context, s Spec, io Stdio) (Process, error)
}
