// Command causeway-controller runs the cluster-level controllers of Causeway.
package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/causeway-net/causeway/controllers"
	"github.com/causeway-net/causeway/internal/version"
)

// definitionsLimit is shorter than the minute that the startup probe leaves, so that the container ends with the error that names the cause.
const definitionsLimit = 45 * time.Second

func main() {
	if err := command().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "causeway-controller:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	o := controllers.DefaultOptions()
	var kubeconfig string
	verbosity := 0
	cmd := &cobra.Command{
		Use:           "causeway-controller",
		Short:         "Give blocks of addresses to nodes, and say in the API how pools and nodes are.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version.String(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Logger = logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.Level(-verbosity)}))
			ctrl.SetLogger(o.Logger)
			klog.SetLogger(o.Logger)
			cfg, err := connection(kubeconfig)
			if err != nil {
				return err
			}
			// Most of the controller's memory is garbage of objects that were only looked at; it is collected early.
			debug.SetGCPercent(50)
			if err := controllers.WaitForDefinitions(cmd.Context(), cfg, definitionsLimit, o.Logger); err != nil {
				return err
			}
			mgr, err := controllers.New(cfg, o)
			if err != nil {
				return err
			}
			return mgr.Start(cmd.Context())
		},
	}
	cmd.AddCommand(healthCommand(), firstPoolsCommand(), uninstallCommand())
	f := cmd.Flags()
	f.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig file to reach the API server with (default: the pod's service account)")
	f.StringVar(&o.MetricsBindAddress, "metrics-bind-address", o.MetricsBindAddress, "address of the metrics endpoint, 0 for none")
	f.BoolVar(&o.MetricsSecure, "metrics-secure", o.MetricsSecure, "serve metrics by TLS, to those whose token Kubernetes lets get /metrics")
	f.StringVar(&o.MetricsCertFolder, "metrics-cert-dir", o.MetricsCertFolder, "folder with tls.crt and tls.key for metrics (default: a certificate made at start)")
	f.StringVar(&o.HealthSocket, "health-socket", o.HealthSocket, "unix socket for the verb health, empty for none")
	f.BoolVar(&o.LeaderElect, "leader-elect", o.LeaderElect, "let one of several controllers work at a time")
	f.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", o.LeaderElectionNamespace, "namespace of the leader's Lease")
	f.DurationVar(&o.LeaseDuration, "leader-lease-duration", o.LeaseDuration, "how long a silent leader is waited for")
	f.DurationVar(&o.RenewDeadline, "leader-renew-deadline", o.RenewDeadline, "how long a leader tries to renew its Lease before it stops")
	f.DurationVar(&o.RetryPeriod, "leader-retry-period", o.RetryPeriod, "pause between attempts to get or renew the leader's Lease")
	f.DurationVar(&o.AgentLeaseDuration, "agent-lease-duration", o.AgentLeaseDuration, "how long a node without a Lease is waited for before its addresses are taken back")
	f.IntVarP(&verbosity, "verbosity", "v", verbosity, "how much to log; 0 is quiet")
	return cmd
}

// healthCommand is what the kubelet runs in the controller's container.
func healthCommand() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:       "health live|ready",
		Short:     "Ask the controller on a health socket how it is.",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"live", "ready"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return controllers.AskHealth(cmd.Context(), socket, args[0])
		},
	}
	cmd.Flags().StringVar(&socket, "health-socket", "", "unix socket that the controller was given")
	return cmd
}

func connection(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		kubeconfig = os.Getenv("KUBECONFIG")
	}
	if kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("find the API server (give --kubeconfig outside a pod): %w", err)
		}
		return cfg, nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	return cfg, nil
}
