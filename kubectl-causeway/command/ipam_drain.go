package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/kubectl-causeway/drain"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

func (a *app) ipamDrain() *cobra.Command {
	var o drain.Options
	var pace string
	var timeout time.Duration
	c := &cobra.Command{
		Use: "drain POOL", Short: "Move all pods away from a pool, so that it can be deleted", Args: cobra.ExactArgs(1),
		Long: "Disable a pool and evict the pods that have its addresses, at a chosen pace. PodDisruptionBudgets are respected: what they protect is\n" +
			"tried again until they let it go. Pods that nothing makes again, pods of DaemonSets and static pods are named and left alone, and\n" +
			"the exit code is 1. It can be stopped at any time; a second run goes on where a first has stopped.",
		ValidArgsFunction: a.poolNames,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if o.Every, err = drain.ParsePace(pace); err != nil {
				return err
			}
			connection, err := a.connect()
			if err != nil {
				return err
			}
			ctx := c.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			o.Pool, o.Say = args[0], func(sentence string) { fmt.Fprintln(a.o.Streams.Out, sentence) }
			if err := drain.Run(ctx, connection, o); !errors.Is(err, drain.ErrKept) {
				return err
			}
			return errTrouble
		},
	}
	c.Flags().StringVar(&pace, "pace", "60/min", "how many pods to evict: a number and s, min or h")
	c.Flags().BoolVar(&o.Wait, "wait", false, "wait until the last address and block have come back")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "only say which pods would be evicted")
	c.Flags().BoolVar(&o.Unmanaged, "unmanaged", false, "evict pods without a controller too; nothing makes them again")
	c.Flags().BoolVar(&o.DaemonSets, "daemonsets", false, "evict pods of DaemonSets too")
	c.Flags().BoolVar(&o.WithoutReplacement, "without-replacement", false, "go on although no other pool gives out addresses of this family")
	c.Flags().DurationVar(&timeout, "timeout", 0, "give up after this time (default: never)")
	return c
}

// poolNames completes the name of a pool.
func (a *app) poolNames(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cluster, err := a.look(c.Context(), objects.IPPools)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []cobra.Completion
	for i := range cluster.Pools.Items {
		out = append(out, cluster.Pools.Items[i].Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
