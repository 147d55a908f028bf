package main

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/probe"
)

// newProbeCommand is what `kubectl causeway check` runs in its pods, which are of this image because nodes have it.
func newProbeCommand() *cobra.Command {
	c := &cobra.Command{Use: "probe", Short: "What `kubectl causeway check` runs in its pods", Hidden: true}
	var name string
	serve := &cobra.Command{
		Use: "serve", Short: "Answer other probes until it is stopped", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return probe.Serve(cmd.Context(), net.JoinHostPort("", strconv.Itoa(probe.Port)), name)
		},
	}
	serve.Flags().StringVar(&name, "name", "", "what to say to others")
	ask := &cobra.Command{
		Use: "ask", Short: "Read questions as JSON, ask them, and print the answers as JSON", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var questions []probe.Question
			if err := json.NewDecoder(cmd.InOrStdin()).Decode(&questions); err != nil {
				return fmt.Errorf("read the questions: %w", err)
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(probe.Ask(cmd.Context(), questions))
		},
	}
	c.AddCommand(serve, ask)
	return c
}
