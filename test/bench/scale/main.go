// Command scale measures what many nodes cost: requests and watch events at the real API server, the real controller's
// memory and speed, and the API server's processor time. Some nodes run the agent's real code over a kernel in memory;
// beyond those, light nodes speak only its protocol. It prints a table of measured values and targets, and ends with an
// error where something can't be run; a missed target is a row that says so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/test/namespaces"
)

// options choose what is measured, and how much of it.
type options struct {
	parts []string
	// nodes run the agent's code; light ones join them in the part traffic.
	nodes []int
	light int
	// idle is how long a quiet cluster is listened to.
	idle time.Duration
	// rest is how long nodes must be quiet before the next measurement, so that no counter of the last one comes late.
	rest time.Duration
	// claimants and endpoints are the size of the part controller.
	claimants, endpoints int
	// renewal is how often light nodes renew their leases, which run out after four times that.
	renewal time.Duration
	// watchers are the sizes of the part boot.
	watchers []int
	// blocks is the size of the parts memory and plan.
	blocks  int
	verbose bool
}

// part is one thing to measure, on a control plane of its own.
type part struct {
	name, what string
	run        func(*bench, context.Context) error
}

var parts = []part{
	{"traffic", "requests and watch events of nodes", (*bench).partTraffic},
	{"controller", "the controller with many nodes and endpoints", (*bench).partController},
	{"boot", "the API server with many watchers of IPBlock", (*bench).partBoot},
	{"memory", "the agent's memory with many blocks", (*bench).partMemory},
	{"plan", "the agent's plan with 10,000 blocks", (*bench).partPlan},
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	if !namespaces.Inside() {
		return namespaces.Enter(args)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := errors.Join(namespaces.Prepare(), prepareHost(ctx)); err != nil {
		return exitCode(err)
	}
	return exitCode(measure(ctx, o))
}

func exitCode(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-scale:", err)
		return 1
	}
	return 0
}

func parse(args []string) (options, error) {
	o := options{rest: settle}
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	f := flag.NewFlagSet("bench-scale", flag.ContinueOnError)
	chosen := f.String("parts", strings.Join(names, ","), "what to measure")
	nodes := f.String("nodes", "100", "sizes of the part traffic: nodes that run the agent's code")
	f.IntVar(&o.light, "light", 200, "light nodes that join them")
	f.DurationVar(&o.idle, "idle", 30*time.Second, "how long a quiet cluster is listened to")
	f.IntVar(&o.claimants, "claimants", 1000, "nodes of the part controller")
	f.IntVar(&o.endpoints, "endpoints", 30000, "WorkloadEndpoints of the part controller")
	f.DurationVar(&o.renewal, "renewal", renewal, "how often light nodes renew their leases, at most 75s")
	watchers := f.String("watchers", "250,1000", "sizes of the part boot")
	f.IntVar(&o.blocks, "blocks", 10000, "blocks of the part memory")
	f.BoolVar(&o.verbose, "v", false, "show progress")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.parts = strings.Split(*chosen, ",")
	for _, name := range o.parts {
		if !slices.Contains(names, name) {
			err := fmt.Errorf("there is no part %q, only %s", name, strings.Join(names, ", "))
			fmt.Fprintln(os.Stderr, "bench-scale:", err)
			return o, err
		}
	}
	for _, list := range []struct {
		text string
		into *[]int
	}{{*nodes, &o.nodes}, {*watchers, &o.watchers}} {
		for text := range strings.SplitSeq(list.text, ",") {
			var n int
			if _, err := fmt.Sscanf(text, "%d", &n); err != nil || n < 1 {
				err := fmt.Errorf("%q is no size", text)
				fmt.Fprintln(os.Stderr, "bench-scale:", err)
				return o, err
			}
			*list.into = append(*list.into, n)
		}
	}
	return o, nil
}

// measure runs the parts and prints the table, also of what was measured before something failed.
func measure(ctx context.Context, o options) error {
	var t table
	var errs []error
	for _, p := range parts {
		if !slices.Contains(o.parts, p.name) || ctx.Err() != nil {
			continue
		}
		b := &bench{options: o, table: &t}
		b.logf("part %s: %s", p.name, p.what)
		if err := p.run(b, ctx); err != nil {
			errs = append(errs, fmt.Errorf("part %s: %w", p.name, err))
		}
		b.close()
		if o.verbose {
			_ = t.print(os.Stderr) // progress only
		}
	}
	return errors.Join(append(errs, t.print(os.Stdout))...)
}
