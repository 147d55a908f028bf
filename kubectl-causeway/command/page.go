package command

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/cli/browser"
	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/health"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/page"
	"github.com/causeway-net/causeway/kubectl-causeway/picture"
	"github.com/causeway-net/causeway/kubectl-causeway/route"
)

const uiLong = `Show the cluster as a page in a browser of this machine: what is wrong and what to do, the map, the pools, all of it as it
changes, and a form that traces a packet and draws its way.

The page listens on 127.0.0.1 only, and the link that is printed holds a token that nobody else knows. It sees and does what
you may see and do with your kubeconfig, and nothing more; keep the link to yourself. Ctrl-C ends it.`

func (a *app) ui() *cobra.Command {
	var port uint16
	var open bool
	c := &cobra.Command{
		Use: "ui", Short: "Show the cluster as a local web page, live, and draw traces there", Long: uiLong, Args: cobra.NoArgs,
		Example: "  kubectl causeway ui --open\n  kubectl causeway ui --port 8080",
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := a.page()
			if err != nil {
				return err
			}
			at, err := new(net.ListenConfig).Listen(c.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
			if err != nil {
				return fmt.Errorf("listen for the browser: %w", err)
			}
			fmt.Fprintf(a.o.Streams.Out, "Open this link in a browser of this machine. Ctrl-C ends the page.\n%s\n", server.URL(at.Addr()))
			if open {
				if err := browser.OpenURL(server.URL(at.Addr())); err != nil {
					fmt.Fprintf(a.o.Streams.ErrOut, "No browser could be started (%v): open the link yourself.\n", err)
				}
			}
			return server.Run(c.Context(), at)
		},
	}
	c.Flags().Uint16Var(&port, "port", 0, "port on 127.0.0.1 (default: one that is free)")
	c.Flags().BoolVar(&open, "open", false, "open the page in the browser")
	return c
}

// page makes the page with the caller's rights.
func (a *app) page() (*page.Server, error) {
	namespace, _, err := a.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	connection, err := a.connect()
	if err != nil {
		return nil, err
	}
	kinds := slices.Clone(health.Kinds)
	for _, kind := range picture.Kinds {
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return page.New(page.Options{
		Token: rand.Text(), Cluster: connection.Config.Host, Namespace: namespace, Now: time.Now,
		Watch: func(ctx context.Context, show func(*objects.Cluster, error)) error {
			return connection.Watch(ctx, show, kinds...)
		},
		Trace: func(ctx context.Context, trace *v1alpha1.PathTrace, seen func(*v1alpha1.PathTrace)) error {
			trace.Spec.TTLSecondsAfterFinished = traceKept
			early := &route.Early{Reader: connection}
			return runTrace(ctx, connection, trace, follower{seen: seen, early: early.Look})
		},
	}), nil
}
