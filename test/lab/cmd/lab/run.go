package main

import (
	"context"

	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/lab/machine"
	"github.com/causeway-net/causeway/test/resident"
	"strconv"
)

const thing = "lab"

func up(ctx context.Context, o lab.Options) error {
	s, err := resident.Find(thing)
	if err != nil {
		return err
	}
	return s.Up(ctx, "serve", "--nodes="+strconv.Itoa(o.Nodes), "--subnets="+strconv.Itoa(o.Subnets), "--kernel="+o.Kernel)
}

func down() error {
	s, err := resident.Find(thing)
	if err != nil {
		return err
	}
	return s.Down()
}

func logCommand(name string) []string {
	return []string{"sh", "-c", `cat /mnt/lab-*/agent-"$1".log 2>/dev/null || cat /mnt/lab-*/"$1".log /mnt/lab-*/control-plane/"$1".log 2>/dev/null ||
{ echo "There is no log of $1." >&2; exit 1; }`, "sh", name}
}

// window prints a window into the agent of a node.
func window(node, name string, flags []string) machine.Spec {
	return machine.Spec{Node: node, Argv: append([]string{"causeway-agent", "debug", name}, flags...)}
}

// run runs a command in the lab.
func run(ctx context.Context, spec machine.Spec) error {
	s, err := resident.Find(thing)
	if err != nil {
		return err
	}
	return s.Run(ctx, spec)
}
