package command

import (
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/windows"
)

// windowTexts say what each window shows.
var windowTexts = map[string]string{
	"plan": "Show what a node's agent wants of its kernel and of BGP, and what was refused",
	"book": "Show every address of a node's blocks, and who has it",
}

// window prints what an agent knows.
func (a *app) window(name string) *cobra.Command {
	var format output
	c := &cobra.Command{
		Use: name + " NODE", Short: windowTexts[name], Args: cobra.ExactArgs(1), ValidArgsFunction: a.nodeNames,
		Long: windowTexts[name] + ".\nThe agent is asked in its pod, as with kubectl exec; you need the right to do that in the namespace causeway-system.",
		RunE: func(c *cobra.Command, args []string) error {
			if err := format.valid(); err != nil {
				return err
			}
			connection, err := a.connect()
			if err != nil {
				return err
			}
			cluster, err := connection.Look(c.Context(), objects.SystemPods)
			if err != nil {
				return err
			}
			read := windows.JSON
			if format.format == "table" || format.wide() {
				read = windows.Text
			}
			out, err := read(c.Context(), a.agents(connection, cluster), args[0], name)
			if err != nil {
				return err
			}
			if format.format == "yaml" {
				if out, err = yaml.JSONToYAML(out); err != nil {
					return fmt.Errorf("read the agent's answer: %w", err)
				}
			}
			return write(a.o.Streams.Out, out, nil)
		},
	}
	format.add(c)
	return c
}
