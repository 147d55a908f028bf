// Cluster starts a real Kubernetes cluster on this machine and passes commands to it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/test/cluster"
	"github.com/causeway-net/causeway/test/cluster/boot"
	"github.com/causeway-net/causeway/test/lab/machine"
	"github.com/causeway-net/causeway/test/resident"
)

const thing = "cluster"

func main() {
	if cluster.IsJanitor() {
		os.Exit(cluster.Enter(nil))
	}
	err := command().ExecuteContext(context.Background())
	if code := resident.ExitCodeError(0); errors.As(err, &code) {
		os.Exit(int(code))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// options are what `up` passes on to `serve`.
type options struct {
	cluster.Options
	bare bool
	set  []string
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use: thing, Short: "A real Kubernetes cluster on this machine: kubelet, containerd or CRI-O, kube-proxy and CoreDNS on nodes made of namespaces",
		SilenceUsage: true, SilenceErrors: true,
	}
	var o options
	withOptions := func(c *cobra.Command) *cobra.Command {
		c.Flags().IntVar(&o.Nodes, "nodes", 3, "number of nodes")
		c.Flags().IntVar(&o.Subnets, "subnets", 1, "number of subnets that the nodes are spread over")
		c.Flags().StringVar(&o.Runtime, "runtime", "containerd", "the nodes' container runtime: containerd or crio")
		c.Flags().StringVar(&o.Proxy, "proxy", "nftables", "kube-proxy's mode: nftables or iptables")
		c.Flags().BoolVar(&o.IPv6Only, "ipv6-only", false, "a cluster without IPv4")
		c.Flags().BoolVar(&o.Tainted, "tainted", false, "nodes register with the taint causeway.dev/agent-not-ready")
		c.Flags().BoolVar(&o.bare, "bare", false, "don't install Causeway")
		c.Flags().StringArrayVar(&o.set, "set", nil, "a value of the chart, as NAME=VALUE")
		return c
	}
	inside := func(use, short string, args cobra.PositionalArgs, spec func([]string) machine.Spec) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Args: args, DisableFlagParsing: true,
			RunE: func(c *cobra.Command, args []string) error {
				return with(func(s resident.State) error { return s.Run(c.Context(), spec(args)) })
			},
		}
	}
	root.AddCommand(
		withOptions(&cobra.Command{
			Use: "up", Short: "Start a cluster with Causeway, and return when it is ready", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				return with(func(s resident.State) error { return s.Up(c.Context(), o.serve()...) })
			},
		}),
		withOptions(&cobra.Command{
			Use: "serve", Short: "Run the cluster in the foreground, without finding it again later", Hidden: true, Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return serve(c.Context(), o) },
		}),
		&cobra.Command{
			Use: "down", Short: "Stop the cluster; nothing of it is left", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return with(resident.State.Down) },
		},
		inside("kubectl ARGUMENTS", "Run kubectl as the cluster's administrator", cobra.ArbitraryArgs, func(args []string) machine.Spec {
			return machine.Spec{Argv: append([]string{"kubectl"}, args...)}
		}),
		inside("helm ARGUMENTS", "Run helm as the cluster's administrator", cobra.ArbitraryArgs, func(args []string) machine.Spec {
			return machine.Spec{Argv: append([]string{"helm"}, args...)}
		}),
		inside("node NAME [COMMAND]", "Run a shell or a command on a node", cobra.MinimumNArgs(1), func(args []string) machine.Spec {
			return machine.Spec{Node: args[0], Argv: args[1:]}
		}),
		inside("shell [COMMAND]", "Run a shell or a command in the cluster's own namespaces: the router and the API server", cobra.ArbitraryArgs,
			func(args []string) machine.Spec { return machine.Spec{Argv: args} }),
		inside("logs NODE PROGRAM", "Print the log of a node's kubelet, kube-proxy, containerd or crio", cobra.ExactArgs(2), func(args []string) machine.Spec {
			return machine.Spec{Argv: []string{"sh", "-c", `exec cat "$CLUSTER_DIR/nodes/$1/$2.log"`, "sh", args[0], args[1]}}
		}),
		conformanceCommand(),
		&cobra.Command{Use: "boot NAME DIR SHARED PROGRAMS", Hidden: true, Args: cobra.ExactArgs(4), RunE: func(_ *cobra.Command, args []string) error {
			return boot.Run(boot.Node{Name: args[0], Dir: args[1], Shared: args[2], Programs: args[3]})
		}},
		&cobra.Command{Use: "serve-node SOCKET", Hidden: true, Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
			return boot.Serve(args[0])
		}},
	)
	return root
}

// serve are the arguments of `serve` for these options.
func (o options) serve() []string {
	args := []string{"serve", "--nodes=" + strconv.Itoa(o.Nodes), "--subnets=" + strconv.Itoa(o.Subnets), "--bare=" + strconv.FormatBool(o.bare),
		"--runtime=" + o.Runtime, "--proxy=" + o.Proxy, "--ipv6-only=" + strconv.FormatBool(o.IPv6Only), "--tainted=" + strconv.FormatBool(o.Tainted)}
	for _, s := range o.set {
		args = append(args, "--set="+s)
	}
	return args
}

// with does something with what is known of the cluster.
func with(do func(resident.State) error) error {
	s, err := resident.Find(thing)
	if err != nil {
		return err
	}
	return do(s)
}
