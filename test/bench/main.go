// Command bench measures Causeway on a lab with the real control plane, side by side with the reference plugins (ptp and
// bridge, with host-local) and with routes and tunnels made by hand, in the same run, and prints a table of targets and
// measured values. Timing is not a test: it fails only when something can't be run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/namespaces"
)

// options are what is measured, and how much of it.
type options struct {
	only                                         string
	pairs, rounds, parallel, pods, churn, blocks int
	pause, idle, traffic                         time.Duration
	verbose                                      bool
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) > 0 && args[0] == insideVerb {
		return report(inside(args[1:]))
	}
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.only, "only", "", "parts to measure, with commas: "+strings.Join(partNames(), ", ")+"; all of them if empty")
	f.IntVar(&o.pairs, "pairs", 200, "calls of each kind, one after the other")
	f.DurationVar(&o.pause, "pause", 30*time.Millisecond, "time between calls that are made with pauses")
	f.IntVar(&o.rounds, "rounds", 6, "rounds of calls at once")
	f.IntVar(&o.parallel, "parallel", 32, "calls at once")
	f.IntVar(&o.pods, "pods", 100, "pods at once on a node without a block")
	f.IntVar(&o.churn, "churn", 300, "pods that are added and deleted, so many at once as -parallel says")
	f.IntVar(&o.blocks, "blocks", 1000, "blocks of other nodes")
	f.DurationVar(&o.idle, "idle", time.Minute, "time for which the agent is left idle")
	f.DurationVar(&o.traffic, "traffic", 2*time.Second, "length of one measurement of traffic; each is made five times")
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
