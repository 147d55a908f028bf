package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/node-agent/install"
)

// The folders where container runtimes look, unless they are told otherwise.
const (
	defaultPluginFolder = "/opt/cni/bin"
	defaultConfFolder   = "/etc/cni/net.d"
)

// newInstallCommand puts the CNI plugin on the node. The agent itself writes the configuration, once it can serve.
func newInstallCommand() *cobra.Command {
	var source, folder string
	c := &cobra.Command{
		Use:   "install",
		Short: "Put the CNI plugin into the container runtime's folder",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if source == "" {
				self, err := os.Executable()
				if err != nil {
					return fmt.Errorf("find the CNI plugin: %w", err)
				}
				source = filepath.Join(filepath.Dir(self), install.PluginFile)
			}
			return install.Plugin(source, folder)
		},
	}
	c.Flags().StringVar(&source, "plugin", "", "the plugin's file (default: causeway beside this program)")
	c.Flags().StringVar(&folder, "cni-bin-dir", defaultPluginFolder, "the container runtime's folder of CNI plugins")
	return c
}

// newCleanupCommand takes Causeway away from the node.
func newCleanupCommand() *cobra.Command {
	var f install.Folders
	var stay bool
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Take everything of Causeway's away from this node: links, routes, nftables table, sockets, CNI plugin and configuration",
		Long: "Take everything of Causeway's away from this node: links, routes, nftables table, sockets, CNI plugin and configuration. " +
			"Pods of the network that still run lose it. Run it when the agent is gone; it refuses while one answers.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := install.Clean(cmd.Context(), f); err != nil {
				return fmt.Errorf("clean up this node: %w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "Nothing of Causeway is left on this node.")
			if stay {
				<-cmd.Context().Done()
			}
			return nil
		},
	}
	c.Flags().StringVar(&f.Plugins, "cni-bin-dir", defaultPluginFolder, "the container runtime's folder of CNI plugins")
	c.Flags().StringVar(&f.Conf, "cni-conf-dir", defaultConfFolder, "the container runtime's folder of CNI configurations")
	c.Flags().StringVar(&f.Run, "run-dir", filepath.Dir(protocol.DefaultSocket), "the folder of Causeway's sockets and checkpoint")
	c.Flags().BoolVar(&stay, "stay", false, "do not end after that, as the pods of a DaemonSet must not")
	return c
}
