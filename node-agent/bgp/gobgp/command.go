package gobgp

import (
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/version"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
)

// NewCommand returns the command that runs the speaker.
func NewCommand() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:           "causeway-speaker",
		Short:         "Run this node's BGP speaker. The agent starts it and tells it what to do.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: false,
		Version:       version.String(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			debug.SetGCPercent(75)
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			restarting := markRun(socket + ".ran")
			return Serve(ctx, NewEngine(log, restarting), socket)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", speaker.DefaultSocket, "unix socket for the agent")
	return cmd
}

// markRun leaves a mark that a speaker ran since the node was started, and says whether there was one: /run is empty
// after a reboot, and so are the kernel's routes.
func markRun(mark string) bool {
	if _, err := os.Stat(mark); err == nil {
		return true
	}
	_ = os.MkdirAll(filepath.Dir(mark), 0o755)
	_ = os.WriteFile(mark, nil, 0o600)
	return false
}
