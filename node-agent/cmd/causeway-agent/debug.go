package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/node-agent/debug"
)

// newDebugCommand prints what the agent of this node knows and wants.
func newDebugCommand() *cobra.Command {
	var socket string
	var asJSON bool
	c := &cobra.Command{
		Use:   "debug " + strings.Join(debug.Names, "|"),
		Short: "Print what the agent that runs on this node knows: its address book, or its plan for the kernel and for BGP",
		Long: "Print what the agent that runs on this node knows: its address book, or its plan for the kernel and for BGP. " +
			"It reads the socket debug.sock beside the one for the CNI plugin, which root alone can open; Go's profiles are below /debug/pprof/ there.",
		Args: cobra.ExactArgs(1), ValidArgs: debug.Names,
		RunE: func(cmd *cobra.Command, args []string) error {
			format := "text"
			if asJSON {
				format = "json"
			}
			out, err := debug.Get(cmd.Context(), debug.SocketBeside(socket), args[0], format)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), out)
			return err
		},
	}
	c.Flags().StringVar(&socket, "socket", protocol.DefaultSocket, "path of the socket for the CNI plugin")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
