// Command causeway-agent is the node's daemon.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
	"github.com/causeway-net/causeway/internal/version"
	"github.com/causeway-net/causeway/node-agent/agent"
	"github.com/causeway-net/causeway/node-agent/datapath/names"
	"github.com/causeway-net/causeway/node-agent/datapath/underlay"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "causeway-agent:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	var o agent.Options
	var kubeconfig string
	var interfaces, cidrs []string
	var verbosity int
	c := &cobra.Command{
		Use:           "causeway-agent",
		Short:         "Causeway's node agent: gives pods their addresses and links, and keeps the node's routes and tunnels",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version.String(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Node == "" {
				return fmt.Errorf("the node's name is not known: set --node-name, or NODE_NAME in the environment")
			}
			config, err := restConfig(kubeconfig)
			if err != nil {
				return err
			}
			if o.Choice, err = underlay.NewChoice(interfaces, cidrs); err != nil {
				return err
			}
			o.Config, o.Log = config, newLogger(verbosity)
			// A node's memory is for pods; the agent's own garbage is small and collected early.
			debug.SetGCPercent(50)
			a, err := agent.New(o)
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	c.AddCommand(newInstallCommand(), newCleanupCommand(), newDebugCommand(), newProbeCommand())
	f := c.Flags()
	f.StringVar(&o.Node, "node-name", os.Getenv("NODE_NAME"), "name of this machine's Node")
	f.StringVar(&kubeconfig, "kubeconfig", "", "file that leads to the API server (default: the pod's service account)")
	f.StringVar(&o.Socket, "socket", protocol.DefaultSocket, "path of the socket for the CNI plugin")
	f.StringVar(&o.MetricsAddress, "metrics-bind-address", "127.0.0.1:9441", "address for metrics, empty for none")
	f.BoolVar(&o.MetricsSecure, "metrics-secure", false, "serve metrics by TLS, to those whose token Kubernetes lets get /metrics")
	f.StringVar(&o.MetricsCertFolder, "metrics-cert-dir", "", "folder with tls.crt and tls.key for metrics (default: a certificate made at start)")
	f.StringVar(&o.HealthAddress, "health-probe-bind-address", "", "address of /livez and /readyz for the kubelet, empty for none")
	f.StringVar(&o.CNIConfFolder, "cni-conf-dir", "", "container runtime's folder for the CNI configuration, empty if somebody else installs it")
	f.StringVar(&o.CNIPluginFolder, "cni-bin-dir", defaultPluginFolder, "container runtime's folder of CNI plugins, where the agent looks for portmap")
	f.StringSliceVar(&interfaces, "node-address-interfaces", nil, "take this node's addresses from the first interface that fits (names or patterns such as eth*)")
	f.StringSliceVar(&cidrs, "node-address-cidrs", nil, "take this node's addresses from the first of these CIDRs that has one")
	f.BoolVar(&o.SpeakerInContainer, "speaker-in-container", false, "the BGP speaker has a container of its own; without this the agent starts it when the first session needs it")
	f.IntVar(&o.MTU, "mtu", 0, "what the network between nodes carries, in bytes; 0 for the MTU of the node's interface")
	f.IntVar(&o.VXLANVNI, "vxlan-vni", names.DefaultVXLANVNI, "VXLAN network identifier, the same on all nodes")
	f.IntVar(&o.VXLANPort, "vxlan-port", names.DefaultVXLANPort, "UDP port of VXLAN, the same on all nodes")
	f.IntVar(&o.Reserve, "reserve", 16, "addresses to keep free in each pool ahead of need, at most one block's")
	f.DurationVar(&o.Linger, "block-linger", time.Minute, "how long a surplus block stays empty before it goes back to its pool")
	f.DurationVar(&o.Resync, "resync", time.Minute, "how often the kernel is compared with the plan without being asked")
	f.IntVarP(&verbosity, "verbosity", "v", 0, "0 for events that matter, 1 for more")
	return c
}

func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("find the API server: set --kubeconfig, or run in a pod: %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read --kubeconfig: %w", err)
	}
	return config, nil
}

func newLogger(verbosity int) logr.Logger {
	handler := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.Level(-verbosity)})
	log := logr.FromSlogHandler(handler)
	klog.SetLogger(log.V(1))
	ctrl.SetLogger(log)
	return log
}
