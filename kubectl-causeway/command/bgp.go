package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/sessions"
	"github.com/causeway-net/causeway/kubectl-causeway/text"
)

func (a *app) bgp() *cobra.Command {
	var format output
	c := &cobra.Command{
		Use: "bgp [NODE]", Short: "List the BGP sessions of the cluster, or of one node", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.nodeNames,
		Long: "List the BGP sessions of the cluster, or of one node, with what to do about each that is down. The exit code is 1 if any is down.",
		RunE: func(c *cobra.Command, args []string) error {
			node := ""
			if len(args) > 0 {
				node = args[0]
			}
			cluster, err := a.look(c.Context(), sessions.Kinds...)
			if err != nil {
				return err
			}
			if err := wholly(cluster, objects.BGPNodeStates); err != nil {
				return err
			}
			list := sessions.List(cluster, node)
			if node != "" && len(list) == 0 {
				return fmt.Errorf("node %s has no BGPNodeState: no BGP object chooses it, or there is no such node", node)
			}
			if err := format.print(a.o.Streams.Out, list, func(p *text.Page) { printSpeakers(p, list, format.wide()) }); err != nil {
				return err
			}
			for _, s := range list {
				if !s.Ready {
					return errTrouble
				}
			}
			return nil
		},
	}
	format.add(c)
	return c
}

func printSpeakers(p *text.Page, list []sessions.Speaker, wide bool) {
	if len(list) == 0 {
		p.Printf("No node speaks BGP.\n")
		return
	}
	header := []string{"NODE", "PEER", "AS", "SOURCE", "STATE", "FOR", "IN", "OUT"}
	if wide {
		header = append(header, "LAST ERROR")
	}
	var rows [][]text.Cell
	for _, speaker := range list {
		for _, s := range speaker.Sessions {
			peer := s.Peer
			if s.PeerNode != "" {
				peer += " (" + s.PeerNode + ")"
			}
			row := text.Row(speaker.Node, peer, s.AS, s.Source, judged(s.State, s.Up()), s.For, s.Received, s.Advertised)
			if wide {
				row = append(row, text.Row(s.LastError)...)
			}
			rows = append(rows, row)
		}
	}
	p.Table(header, rows)
	p.Printf("\n")
	for _, speaker := range list {
		p.Printf("%s: AS %d, router id %s, %d of %d sessions established, %d prefixes learned.\n",
			speaker.Node, speaker.AS, speaker.RouterID, speaker.Established, speaker.Expected, speaker.Learned)
		if !speaker.Ready {
			p.Printf("  %s\n", p.Colour(text.Red, speaker.Message))
		}
		for _, s := range speaker.Sessions {
			if !s.Up() {
				p.Printf("  %s %s %s\n    What to do: %s\n", s.Peer, p.Colour(text.Red, s.State+":"), orElse(s.LastError, "No error has been reported."), s.Advice)
			}
		}
		if speaker.Undescribed > 0 {
			p.Printf("  %d more sessions are established and not listed.\n", speaker.Undescribed)
		}
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// wholly is an error if one of the kinds that a command can't do without could not be read.
func wholly(c *objects.Cluster, kinds ...objects.Kind) error {
	for _, u := range c.Unread {
		for _, kind := range kinds {
			if u.Kind == kind {
				return fmt.Errorf("the %s could not be read: %s", kind, u.Why)
			}
		}
	}
	return nil
}
