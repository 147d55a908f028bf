package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/picture"
)

func (a *app) picture() *cobra.Command {
	var format output
	c := &cobra.Command{
		Use: "map", Short: "Draw subnets, nodes, tunnels, BGP sessions and pools as an SVG", Args: cobra.NoArgs,
		Long: "Draw subnets with their nodes, the tunnels between them, BGP sessions, and pools with a cell for each block in the colour of\n" +
			"its node: kubectl causeway map > map.svg, and open that in a browser. Point at something to read what it is.",
		RunE: func(c *cobra.Command, _ []string) error {
			cluster, err := a.look(c.Context(), picture.Kinds...)
			if err != nil {
				return err
			}
			if err := wholly(cluster, objects.IPPools, objects.IPBlocks, objects.NodeNetworks); err != nil {
				return err
			}
			m := picture.Compute(cluster)
			switch format.format {
			case "svg":
				return write(a.o.Streams.Out, m.SVG(), nil)
			case "json", "yaml":
				return format.print(a.o.Streams.Out, m, nil)
			}
			return fmt.Errorf("there is no output format %q: use svg, json or yaml", format.format)
		},
	}
	c.Flags().StringVarP(&format.format, "output", "o", "svg", "svg, json or yaml")
	return c
}
