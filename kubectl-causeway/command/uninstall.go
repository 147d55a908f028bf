package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/uninstall"
)

func (a *app) uninstall() *cobra.Command {
	var o uninstall.Options
	c := &cobra.Command{
		Use: "uninstall", Short: "Take Causeway off every node and release its objects", Args: cobra.NoArgs,
		Long: "Take Causeway off every node and release its objects, in the order that lets each go. It refuses while pods of the network run.\n" +
			"A second run goes on where a first has stopped. Afterwards delete the manifests, as they were applied. For a release of helm,\n" +
			"helm uninstall does all of this.",
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := a.flags.ToRESTConfig()
			if err != nil {
				return fmt.Errorf("read the kubeconfig: %w", err)
			}
			o.Say = func(sentence string) { fmt.Fprintln(a.o.Streams.Out, sentence) }
			return uninstall.Run(c.Context(), config, o)
		},
	}
	o.AddFlags(c.Flags())
	return c
}
