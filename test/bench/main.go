// Command bench measures Causeway on a lab with the real control plane, side by side with the reference plugins ptp and
// host-local in the same run, and prints a table of targets and measured values. Timing is not a test: it fails only
// when something can't be run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/namespaces"
)

// options are the sizes of the measurements.
type options struct {
	pairs, rounds, parallel, pods, blocks int
	verbose                               bool
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) > 0 && args[0] == insideVerb {
		return report(inside(args[1:]))
	}
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.pairs, "pairs", 200, "calls of each kind, one after the other")
	f.IntVar(&o.rounds, "rounds", 6, "rounds of calls at once")
	f.IntVar(&o.parallel, "parallel", 32, "calls at once")
	f.IntVar(&o.pods, "pods", 100, "pods at once on a node without a block")
	f.IntVar(&o.blocks, "blocks", 1000, "blocks of other nodes")
	f.BoolVar(&o.verbose, "v", false, "show progress")
	if err := f.Parse(args); err != nil {
		return 2
	}
	if !namespaces.Inside() {
		return namespaces.Enter(args)
	}
	if err := lab.Prepare(); err != nil {
		return report(fmt.Errorf("prepare the lab's namespaces: %w", err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return report(measure(ctx, o))
}

func report(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}
