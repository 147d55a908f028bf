package command

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/addresses"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/text"
)

func (a *app) ipam() *cobra.Command {
	c := &cobra.Command{Use: "ipam", Short: "Show, check and mend who has which address, and move pods to another pool"}
	c.AddCommand(a.ipamShow(), a.ipamCheck(), a.ipamFree(), a.ipamDrain())
	return c
}

func (a *app) ipamShow() *cobra.Command {
	var format output
	c := &cobra.Command{
		Use: "show [ADDRESS]", Short: "Show pools and blocks, or whose an address is", Args: cobra.MaximumNArgs(1),
		Long: "Show how full pools are, and whose the blocks are; with -o wide also the pods of each block. With an address, say whose it is.",
		RunE: func(c *cobra.Command, args []string) error {
			cluster, err := a.look(c.Context(), append(addresses.ShowKinds, objects.NodeNetworks, objects.IPReservations, objects.StickyAddresses)...)
			if err != nil {
				return err
			}
			if err := wholly(cluster, addresses.ShowKinds...); err != nil {
				return err
			}
			if len(args) == 0 {
				pools := addresses.Show(cluster)
				return format.print(a.o.Streams.Out, pools, func(p *text.Page) { printPools(p, pools, format.wide()) })
			}
			address, err := netip.ParseAddr(args[0])
			if err != nil {
				return fmt.Errorf("%q is not an IP address", args[0])
			}
			answer := addresses.Find(cluster, address)
			return format.print(a.o.Streams.Out, answer, func(p *text.Page) { printAnswer(p, answer) })
		},
	}
	format.add(c)
	return c
}

func printPools(p *text.Page, pools []addresses.Pool, wide bool) {
	for i, pool := range pools {
		if i > 0 {
			p.Printf("\n")
		}
		p.Printf("%s %s\n%s %s: %d of %d addresses used, %d of %d blocks owned\n", p.Colour(text.Bold, pool.Name), pool.CIDR,
			text.Bar(pool.Used, pool.Capacity, 40), text.Percent(pool.Used, pool.Capacity), pool.Used, pool.Capacity, len(pool.Blocks), pool.MostBlocks)
		if pool.Remembered > 0 {
			p.Printf("%d more are remembered for pods of StatefulSets (kubectl get stickyaddresses -A)\n", pool.Remembered)
		}
		printAggregates(p, pool.Aggregates)
		var rows [][]text.Cell
		for _, b := range pool.Blocks {
			node := text.Cell{Text: b.Node}
			if b.Leaving {
				node = text.Cell{Text: b.Node + " (being released)", Colour: text.Yellow}
			}
			rows = append(rows, text.Row(b.CIDR, node, text.Bar(b.Used, b.Capacity, 20), fmt.Sprintf("%d of %d", b.Used, b.Capacity)))
			if !wide {
				continue
			}
			for _, h := range b.Holders {
				rows = append(rows, text.Row("  "+h.Address.String(), h.Node, h.Pod, " "))
			}
		}
		if len(rows) > 0 {
			p.Table([]string{"BLOCK", "NODE", "USED", "ADDRESSES"}, rows)
		}
	}
	if len(pools) == 0 {
		p.Printf("There is no IPPool.\n")
	}
}

// printAggregates lists the prefixes that routers can announce for racks.
func printAggregates(p *text.Page, aggregates []addresses.Aggregate) {
	var rows [][]text.Cell
	for _, a := range aggregates {
		group := a.Group
		if group == "" {
			group = "(without the label)"
		}
		rows = append(rows, text.Row(a.Prefix, group, fmt.Sprint(a.Blocks)))
	}
	if len(rows) > 0 {
		p.Table([]string{"PREFIX", "GROUP", "BLOCKS"}, rows)
	}
}

func printAnswer(p *text.Page, a addresses.Answer) {
	p.Printf("%s: %s\n", p.Colour(text.Bold, a.Address.String()), a.Use)
	for _, line := range [][2]string{{"pool", a.Pool}, {"block", a.Block}, {"node", a.Node}} {
		if line[1] != "" {
			p.Printf("  %-6s %s\n", line[0], line[1])
		}
	}
	for _, h := range a.Holders {
		p.Printf("  %-6s %s on %s (WorkloadEndpoint %s)\n", "pod", h.Pod, h.Node, h.Record)
	}
}

// freed is what became of one record.
type freed struct {
	addresses.Record
	Outcome string `json:"outcome"`
}

func (a *app) ipamFree() *cobra.Command {
	var format output
	var how checking
	var dryRun bool
	c := &cobra.Command{
		Use: "free", Short: "Delete records of pods that are gone, so that their addresses come back", Args: cobra.NoArgs,
		Long: "Delete the WorkloadEndpoints that `ipam check` names and whose pod is gone. This is safe: an agent that still has the\n" +
			"pod's link writes the record again and keeps the address. With --dry-run nothing is deleted.",
		RunE: func(c *cobra.Command, _ []string) error {
			account, err := a.account(c.Context(), how)
			if err != nil {
				return err
			}
			connection, err := a.connect()
			if err != nil {
				return err
			}
			list := []freed{}
			var failed []error
			for _, r := range account.Stale() {
				outcome := "would be deleted"
				if !dryRun {
					outcome, err = free(c.Context(), connection, r)
					failed = append(failed, err)
				}
				list = append(list, freed{r, outcome})
			}
			if err := format.print(a.o.Streams.Out, list, func(p *text.Page) { printFreed(p, list) }); err != nil {
				return err
			}
			return errors.Join(failed...)
		},
	}
	format.add(c)
	c.Flags().DurationVar(&how.pause, "pause", 5*time.Second, "time between the two looks of the check")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be deleted")
	return c
}

// free deletes a record, unless its pod has come to life since.
func free(ctx context.Context, c client.Client, r addresses.Record) (string, error) {
	var pod corev1.Pod
	var record v1alpha1.WorkloadEndpoint
	key := client.ObjectKey{Namespace: r.Namespace, Name: r.Name}
	if err := c.Get(ctx, key, &record); client.IgnoreNotFound(err) != nil {
		return "failed", fmt.Errorf("read the record %s: %w", key, err)
	} else if err != nil || record.UID != r.UID {
		return "gone already", nil
	}
	err := c.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.Pod}, &pod)
	ended := slices.Contains([]corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed}, pod.Status.Phase)
	another := record.Spec.PodUID != "" && string(pod.UID) != record.Spec.PodUID
	switch {
	case client.IgnoreNotFound(err) != nil:
		return "failed", fmt.Errorf("make sure that pod %s/%s is gone: %w", r.Namespace, r.Pod, err)
	case err == nil && !ended && !another:
		return "kept: the pod runs", nil
	}
	uid := record.UID
	err = c.Delete(ctx, &record, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil && !apierrors.IsNotFound(err) {
		return "failed", fmt.Errorf("delete the record %s: %w", key, err)
	}
	return "deleted", nil
}

func printFreed(p *text.Page, list []freed) {
	if len(list) == 0 {
		p.Printf("There is nothing that can be freed safely.\n")
		return
	}
	var rows [][]text.Cell
	for _, f := range list {
		rows = append(rows, text.Row(f.Namespace+"/"+f.Name, f.Namespace+"/"+f.Pod, f.Node, fmt.Sprint(f.Addresses), f.Outcome))
	}
	p.Table([]string{"RECORD", "POD", "NODE", "ADDRESSES", "OUTCOME"}, rows)
}
