package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/test/lab"
)

// part is something to measure. All parts of one node count share a lab, in this order.
type part struct {
	name  string
	nodes int
	run   func(*bench, context.Context) error
}

var parts = []part{
	{"add", 1, (*bench).oneByOne},
	{"requests", 1, (*bench).countRequests},
	{"once", 1, (*bench).atOnce},
	{"churn", 1, (*bench).churning},
	{"idle", 1, (*bench).idleAgent},
	{"cold", 1, (*bench).cold},
	{"blocks", 1, (*bench).far}, // the last: it stops the controller
	{"slow", 2, (*bench).slowAPI},
	{"traffic", 2, (*bench).trafficOfAllModes},
}

func partNames() (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// choose returns the parts that a list with commas names, all of them if it is empty.
func choose(only string) ([]part, error) {
	if only == "" {
		return parts, nil
	}
	asked := strings.Split(only, ",")
	for _, name := range asked {
		if !slices.Contains(partNames(), name) {
			return nil, fmt.Errorf("there is no part %q; choose from %s", name, strings.Join(partNames(), ", "))
		}
	}
	var chosen []part
	for _, p := range parts {
		if slices.Contains(asked, p.name) {
			chosen = append(chosen, p)
		}
	}
	return chosen, nil
}

// measure runs the chosen parts and prints the table.
func measure(ctx context.Context, o options) error {
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	b := &bench{options: o, self: self}
	for _, nodes := range []int{1, 2} {
		mine := slices.DeleteFunc(slices.Clone(chosen), func(p part) bool { return p.nodes != nodes })
		if len(mine) > 0 {
			err = errors.Join(err, b.onLab(ctx, nodes, mine))
		}
	}
	err = errors.Join(err, b.table.print(os.Stdout))
	for _, note := range b.notes {
		fmt.Println(note)
	}
	return err
}

// onLab starts a lab and runs parts on it.
func (b *bench) onLab(ctx context.Context, nodes int, parts []part) error {
	var log io.Writer = io.Discard
	if b.verbose {
		log = os.Stderr
	}
	l, err := lab.New(ctx, lab.Options{Nodes: nodes, Subnets: 1, Kernel: lab.KernelHost, Log: log})
	if err != nil {
		return err
	}
	defer l.Stop()
	b.Lab, b.node = l, l.Nodes[0]
	if err := b.makePools(ctx); err != nil {
		return err
	}
	for _, p := range parts {
		if err := p.run(b, ctx); err != nil {
			l.Dump(ctx, os.Stderr) // to explain the error that follows
			return fmt.Errorf("measure %s: %w", p.name, err)
		}
	}
	return nil
}
