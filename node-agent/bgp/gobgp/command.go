package gobgp

import (
	"errors"
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
	var o struct {
		socket         string
		user, listener int
		restarting     bool
	}
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
			if o.listener >= 0 {
				listener, err := inheritedListener(o.listener)
				if err != nil {
					return err
				}
				return serve(ctx, NewEngine(log, o.restarting), listener)
			}
			listener, err := listenUnix(o.socket)
			if err != nil {
				return err
			}
			restarting := markRun(o.socket + ".ran")
			if o.user != 0 && os.Geteuid() == 0 {
				return errors.Join(becomeUser(o.user, listener, restarting), listener.Close())
			}
			return serve(ctx, NewEngine(log, restarting), listener)
		},
	}
	cmd.Flags().StringVar(&o.socket, "socket", speaker.DefaultSocket, "unix socket for the agent")
	cmd.Flags().IntVar(&o.user, "user", 0, "number of the user to become, which keeps the right to listen on port 179; 0 to stay the one that it is")
	cmd.Flags().IntVar(&o.listener, flagListener, -1, "descriptor of the socket, from the process that became this user")
	cmd.Flags().BoolVar(&o.restarting, flagRestarting, false, "whether a speaker ran before, since the node was started")
	for _, own := range []string{flagListener, flagRestarting} {
		_ = cmd.Flags().MarkHidden(own) // It exists.
	}
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
