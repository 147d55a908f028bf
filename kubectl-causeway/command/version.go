package command

import (
	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/version"
	"github.com/causeway-net/causeway/kubectl-causeway/text"
)

// versions are those of both sides.
type versions struct {
	Plugin     string `json:"plugin"`
	Kubernetes string `json:"kubernetes,omitempty"`
}

func (a *app) version() *cobra.Command {
	var format output
	var local bool
	c := &cobra.Command{
		Use: "version", Short: "Print the versions of this plugin and of the API server", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versions{Plugin: version.String()}
			if !local {
				connection, err := a.connect()
				if err != nil {
					return err
				}
				if v.Kubernetes, err = connection.Version(); err != nil {
					return err
				}
			}
			return format.print(a.o.Streams.Out, v, func(p *text.Page) {
				p.Printf("kubectl-causeway %s\n", v.Plugin)
				if v.Kubernetes != "" {
					p.Printf("Kubernetes %s\n", v.Kubernetes)
				}
			})
		},
	}
	format.add(c)
	c.Flags().BoolVar(&local, "client", false, "print this plugin's version only; ask no API server")
	return c
}
