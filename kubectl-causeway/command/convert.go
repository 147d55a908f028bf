package command

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/kubectl-causeway/convert"
)

func (a *app) convert() *cobra.Command {
	c := &cobra.Command{
		Use: "import", Short: "Translate the configuration of another network into Causeway's objects",
		Long: "Translate the configuration of another network into Causeway's objects: a manifest for Git, with a comment for everything\n" +
			"that has no counterpart. The cluster is neither asked nor changed. A file named - is the standard input.\n" +
			"The exit code is 1 if an object had to be left out.",
	}
	c.AddCommand(
		a.convertFrom("calico FILE...", "Calico's IPPools, BGPPeers, BGPConfigurations, BGPFilters, IPReservations and Nodes", cobra.MinimumNArgs(1), convert.Calico),
		a.convertFrom("flannel FILE", "flannel's net-conf.json, or the ConfigMap that holds it", cobra.ExactArgs(1), func(texts ...[]byte) (*convert.Result, error) {
			return convert.Flannel(texts[0])
		}),
	)
	return c
}

func (a *app) convertFrom(use, what string, args cobra.PositionalArgs, translate func(...[]byte) (*convert.Result, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: "Translate " + what, Args: args,
		RunE: func(_ *cobra.Command, files []string) error {
			var texts [][]byte
			for _, file := range files {
				text, err := a.readFile(file)
				if err != nil {
					return err
				}
				texts = append(texts, text)
			}
			result, err := translate(texts...)
			if err != nil {
				return err
			}
			text, err := result.YAML()
			if err := write(a.o.Streams.Out, text, err); err != nil {
				return err
			}
			fmt.Fprintln(a.o.Streams.ErrOut, result.Summary())
			if result.LeftOut() {
				return errTrouble
			}
			return nil
		},
	}
}

func (a *app) readFile(name string) ([]byte, error) {
	if name == "-" {
		text, err := io.ReadAll(a.o.Streams.In)
		if err != nil {
			return nil, fmt.Errorf("read the standard input: %w", err)
		}
		return text, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the file to import: %w", err)
	}
	return text, nil
}
