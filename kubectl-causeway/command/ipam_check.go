package command

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/kubectl-causeway/addresses"
	"github.com/causeway-net/causeway/kubectl-causeway/text"
	"github.com/causeway-net/causeway/kubectl-causeway/windows"
)

// checking says how to check.
type checking struct {
	// pause is the time between the two looks.
	pause time.Duration
	// books asks every node's agent too.
	books bool
}

func (a *app) ipamCheck() *cobra.Command {
	var format output
	var how checking
	c := &cobra.Command{
		Use: "check", Short: "Account for every address, and name what does not fit together", Args: cobra.NoArgs,
		Long: "Account for every address: records, blocks, pools, pods and nodes must agree. What does not is looked at twice, since\n" +
			"things change in the middle of a look; only what lasts is reported. With --books, the agent of every node is asked for its\n" +
			"address book too. The exit code is 1 if anything is wrong.",
		RunE: func(c *cobra.Command, _ []string) error {
			account, err := a.account(c.Context(), how)
			if err != nil {
				return err
			}
			if err := format.print(a.o.Streams.Out, account, func(p *text.Page) { printAccount(p, account) }); err != nil {
				return err
			}
			if len(account.Disagreements)+len(account.Unread)+len(account.Silent) > 0 {
				return errTrouble
			}
			return nil
		},
	}
	format.add(c)
	c.Flags().DurationVar(&how.pause, "pause", 5*time.Second, "time between the first and the second look")
	c.Flags().BoolVar(&how.books, "books", false, "ask the agent of every node for its address book too")
	return c
}

// account looks once, and a second time if something does not fit.
func (a *app) account(ctx context.Context, how checking) (addresses.Account, error) {
	connection, err := a.connect()
	if err != nil {
		return addresses.Account{}, err
	}
	look := func() (addresses.Account, error) {
		cluster, err := connection.Look(ctx, addresses.CheckKinds...)
		if err != nil {
			return addresses.Account{}, err
		}
		account := addresses.Check(cluster)
		if how.books {
			var nodes []string
			for i := range cluster.Networks.Items {
				nodes = append(nodes, cluster.Networks.Items[i].Name)
			}
			asked, silent := windows.Books(ctx, a.agents(connection, cluster), nodes)
			account.Silent = silent
			account.CheckBooks(cluster, asked)
		}
		return account, nil
	}
	first, err := look()
	if err != nil || len(first.Disagreements) == 0 {
		return first, err
	}
	select {
	case <-ctx.Done():
		return first, ctx.Err()
	case <-time.After(how.pause):
	}
	second, err := look()
	second.Disagreements = addresses.Lasting(first.Disagreements, second.Disagreements)
	return second, err
}

func printAccount(p *text.Page, a addresses.Account) {
	p.Printf("Looked at %d addresses of %d records, %d pods, %d blocks, %d pools and %d address books of nodes.\n", a.Addresses, a.Records, a.Pods, a.Blocks, a.Pools, a.Books)
	for _, u := range a.Unread {
		p.Printf("%s The %s could not be read, so what depends on them was not checked: %s.\n", p.Colour(text.Yellow, "Not checked:"), u.Kind, u.Why)
	}
	for _, node := range slices.Sorted(maps.Keys(a.Silent)) {
		p.Printf("%s The address book of node %s could not be read: %s.\n", p.Colour(text.Yellow, "Not checked:"), node, a.Silent[node])
	}
	for _, d := range a.Disagreements {
		p.Printf("%s %s\n  What to do: %s\n", p.Colour(text.Red, d.Reason+":"), d.Message, d.Advice)
	}
	switch n := len(a.Disagreements); {
	case n == 1:
		p.Printf("1 thing does not fit together.\n")
	case n > 1:
		p.Printf("%d things do not fit together.\n", n)
	case len(a.Unread)+len(a.Silent) == 0:
		p.Printf("%s\n", p.Colour(text.Green, "Everything fits together."))
	}
}
