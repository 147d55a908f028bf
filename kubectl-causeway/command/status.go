package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/kubectl-causeway/health"
	"github.com/causeway-net/causeway/kubectl-causeway/text"
)

// lookEvery is the pause between looks of a command that waits.
const lookEvery = 2 * time.Second

func (a *app) status() *cobra.Command {
	var format output
	var wait bool
	var timeout time.Duration
	c := &cobra.Command{
		Use: "status", Short: "Say whether all is well, and what to do about each trouble", Args: cobra.NoArgs,
		Long: "Say whether all is well: agents, pools and BGP sessions, with each trouble in a sentence and what to do about it.\n" +
			"The exit code is 1 if there is any trouble.",
		RunE: func(c *cobra.Command, _ []string) error {
			report, err := a.health(c.Context(), wait, timeout)
			if err != nil {
				return err
			}
			if err := format.print(a.o.Streams.Out, report, func(p *text.Page) { printStatus(p, report, format.wide()) }); err != nil {
				return err
			}
			if !report.Healthy {
				return errTrouble
			}
			return nil
		},
	}
	format.add(c)
	c.Flags().BoolVar(&wait, "wait", false, "wait until there is no trouble")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long --wait waits")
	return c
}

// health looks until there is no trouble or, without wait, once. When the time is over, it returns the last report.
func (a *app) health(ctx context.Context, wait bool, timeout time.Duration) (health.Report, error) {
	connection, err := a.connect()
	if err != nil {
		return health.Report{}, err
	}
	limit, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var report health.Report
	seen := false
	for {
		cluster, err := connection.Look(ctx, health.Kinds...)
		if err == nil {
			report, seen = health.Compute(cluster), true
		}
		if err != nil && !wait {
			return report, err
		}
		if seen && (report.Healthy || !wait) {
			return report, nil
		}
		select {
		case <-limit.Done():
			if !seen {
				return report, errors.Join(fmt.Errorf("no answer within %s", timeout), err)
			}
			return report, ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

func printStatus(p *text.Page, r health.Report, wide bool) {
	p.Printf("Kubernetes %s, controller %s%s, agents %s\n\n", r.Kubernetes, imageList(r.Controller.Images), leader(r.Controller), imageList(r.Agents))
	header := []string{"NODE", "AGENT", "READY", "ADDRESSES", "MTU", "BLOCKS", "BGP"}
	if wide {
		header = append(header, "ENCAPSULATIONS")
	}
	var rows [][]text.Cell
	for _, n := range r.Nodes {
		row := text.Row(n.Name, judged(n.Agent, n.Agent == "live"), judged(n.Ready, n.Ready == "True"), strings.Join(n.Addresses, ","), n.MTU, n.Blocks, sessionCount(n.Sessions))
		if wide {
			row = append(row, text.Row(strings.Join(n.Encapsulations, ","))...)
		}
		rows = append(rows, row)
	}
	p.Table(header, rows)
	p.Printf("\n")
	rows = nil
	for _, pool := range r.Pools {
		rows = append(rows, text.Row(pool.Name, pool.CIDR, pool.Encapsulation, text.Bar(pool.Allocated, pool.Capacity, 20)+" "+text.Percent(pool.Allocated, pool.Capacity),
			fmt.Sprintf("%d of %d", pool.Allocated, pool.Capacity), pool.Blocks, judged(pool.Ready, pool.Ready == "True")))
	}
	if len(rows) > 0 {
		p.Table([]string{"POOL", "CIDR", "ENCAPSULATION", "USED", "ADDRESSES", "BLOCKS", "READY"}, rows)
		p.Printf("\n")
	}
	for _, n := range r.Notes {
		p.Printf("%s %s %s\n", p.Colour(text.Yellow, "Note:"), n.Message, n.Advice)
	}
	if r.Healthy {
		p.Printf("%s\n", p.Colour(text.Green, "All is well."))
		return
	}
	for i, t := range r.Troubles {
		p.Printf("%s %s\n", p.Colour(text.Red, fmt.Sprintf("Trouble %d:", i+1)), t.Message)
		if t.Advice != "" {
			p.Printf("  What to do: %s\n", t.Advice)
		}
	}
}

// judged colours a word.
func judged(word string, good bool) text.Cell {
	if good {
		return text.Cell{Text: word, Colour: text.Green}
	}
	return text.Cell{Text: word, Colour: text.Red}
}

func sessionCount(counts string) text.Cell {
	if counts == "" {
		return text.Cell{}
	}
	up, all, _ := strings.Cut(counts, "/")
	return judged(counts, up == all)
}

func imageList(images []health.Image) string {
	var parts []string
	for _, i := range images {
		parts = append(parts, fmt.Sprintf("%s (%d)", i.Name, i.Pods))
	}
	if len(parts) == 0 {
		return "not seen"
	}
	return strings.Join(parts, ", ")
}

func leader(c health.Controller) string {
	if c.Leader == "" {
		return ""
	}
	return ", led by " + c.Leader
}
