// Command lab runs a Causeway cluster on this machine and lets a person use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/lab/kernel"
	"github.com/causeway-net/causeway/test/lab/machine"
	"github.com/causeway-net/causeway/test/resident"
)

func main() {
	err := command().ExecuteContext(context.Background())
	if code := resident.ExitCodeError(0); errors.As(err, &code) {
		os.Exit(int(code))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use: "lab", Short: "A Causeway cluster on this machine: real control plane, real agents, nodes made of namespaces",
		SilenceUsage: true, SilenceErrors: true,
	}
	var o lab.Options
	flags := func(c *cobra.Command) *cobra.Command {
		c.Flags().IntVar(&o.Nodes, "nodes", 3, "number of nodes")
		c.Flags().IntVar(&o.Subnets, "subnets", 0, "number of subnets (default 2, or as many as there are nodes)")
		c.Flags().StringVar(&o.Kernel, "kernel", lab.KernelAuto, "what the nodes run on: host, vm (QEMU with Debian's kernel) or auto")
		return c
	}
	inLab := func(use, short string, args cobra.PositionalArgs, spec func([]string) machine.Spec) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Args: args, DisableFlagParsing: true,
			RunE: func(c *cobra.Command, args []string) error { return run(c.Context(), spec(args)) },
		}
	}
	root.AddCommand(
		flags(&cobra.Command{
			Use: "up", Short: "Start the lab in the background, with sample pools and two pods a node", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return up(c.Context(), o) },
		}),
		flags(&cobra.Command{
			Use: "serve", Hidden: true, Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return serve(c.Context(), o) },
		}),
		&cobra.Command{
			Use: "down", Short: "Stop the lab; nothing of it is left", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return down() },
		},
		&cobra.Command{
			Use: "kernel", Short: "Get Debian's kernel for the nodes' virtual machine; nothing is installed", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				if kernel.Ready(lab.KernelDir) {
					return nil
				}
				return kernel.Make(c.Context(), lab.KernelDir, os.Stdout)
			},
		},
		inLab("kubectl ARGUMENTS", "Run kubectl as the cluster's administrator", cobra.ArbitraryArgs, func(args []string) machine.Spec {
			return machine.Spec{Argv: append([]string{"kubectl"}, args...)}
		}),
		inLab("node NAME [COMMAND]", "Run a shell or a command on a node; the node `outside` is beyond the router", cobra.MinimumNArgs(1),
			func(args []string) machine.Spec { return machine.Spec{Node: args[0], Argv: args[1:]} }),
		inLab("pod NAMESPACE/NAME [COMMAND]", "Run a shell or a command in a pod's network namespace", cobra.MinimumNArgs(1),
			func(args []string) machine.Spec { return machine.Spec{Netns: args[0], Argv: args[1:]} }),
		inLab("shell [COMMAND]", "Run a shell or a command in the lab's own namespaces: the router and the API server", cobra.ArbitraryArgs,
			func(args []string) machine.Spec { return machine.Spec{Argv: args} }),
		inLab("plan NAME [--json]", "Print what a node's agent wants of its kernel and of BGP, and what was refused", cobra.MinimumNArgs(1),
			func(args []string) machine.Spec { return window(args[0], "plan", args[1:]) }),
		inLab("book NAME [--json]", "Print every address of a node's blocks, and who has it", cobra.MinimumNArgs(1),
			func(args []string) machine.Spec { return window(args[0], "book", args[1:]) }),
		inLab("logs NAME", "Print the log of a node's agent, or of `controller`, `kube-apiserver`, `etcd`", cobra.ExactArgs(1),
			func(args []string) machine.Spec { return machine.Spec{Argv: logCommand(args[0])} }),
	)
	return root
}
