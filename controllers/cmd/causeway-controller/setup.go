package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/controllers"
	"github.com/causeway-net/causeway/internal/uninstall"
)

// uninstallCommand takes Causeway out of a cluster. Helm runs it before it deletes the release.
func uninstallCommand() *cobra.Command {
	o := uninstall.Options{Pause: time.Second}
	var kubeconfig string
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take Causeway off every node and release its objects. Roles and definitions are helm's or kubectl's to delete.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := directClient(kubeconfig)
			if err != nil {
				return err
			}
			o.API, o.Log = api, logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, nil))
			if o.Cleaner.Image == "" {
				if o.Cleaner.Image, err = agentsImage(cmd.Context(), api); err != nil {
					return err
				}
			}
			if err := o.Cleaner.Check(); err != nil {
				return err
			}
			return uninstall.Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig file to reach the API server with (default: the pod's service account)")
	f.BoolVar(&o.Force, "force", false, "go on while pods of the network run; they lose it")
	f.BoolVar(&o.KeepDefinitions, "keep-crds", false, "leave IPPools and BGP settings, for the next installation")
	f.DurationVar(&o.Timeout, "timeout", 10*time.Minute, "how long it may take; a second run goes on from there")
	f.StringVar(&o.Cleaner.Image, "image", "", "image that cleans the nodes (default: the agents')")
	f.StringSliceVar(&o.Cleaner.PullSecrets, "image-pull-secret", nil, "Secret of causeway-system to pull the image with")
	f.StringVar(&o.Cleaner.PluginFolder, "cni-bin-dir", "/opt/cni/bin", "container runtime's folder of CNI plugins on the nodes")
	f.StringVar(&o.Cleaner.ConfFolder, "cni-conf-dir", "/etc/cni/net.d", "container runtime's folder of CNI configurations on the nodes")
	return cmd
}

func agentsImage(ctx context.Context, api client.Client) (string, error) {
	var agents appsv1.DaemonSet
	err := api.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "causeway-agent"}, &agents)
	if apierrors.IsNotFound(err) || err == nil && len(agents.Spec.Template.Spec.Containers) == 0 {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for the agents' image: %w", err)
	}
	return agents.Spec.Template.Spec.Containers[0].Image, nil
}

// firstPoolsCommand makes the pools that the chart's values ask for. Helm runs it once, after the installation.
func firstPoolsCommand() *cobra.Command {
	var kubeconfig, encapsulation string
	var cidrs []string
	var masquerade bool
	cmd := &cobra.Command{
		Use:   "first-pools",
		Short: "Make the IPPools default-v4 and default-v6, unless they are there.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := directClient(kubeconfig)
			if err != nil {
				return err
			}
			for _, cidr := range cidrs {
				pool, err := firstPool(cidr, encapsulation, masquerade)
				if err != nil {
					return err
				}
				if err := api.Create(cmd.Context(), pool); apierrors.IsAlreadyExists(err) {
					fmt.Fprintf(cmd.OutOrStdout(), "The IPPool %s is there already and stays as it is.\n", pool.Name)
				} else if err != nil {
					return fmt.Errorf("make IPPool %s: %w", pool.Name, err)
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig file to reach the API server with (default: the pod's service account)")
	f.StringSliceVar(&cidrs, "cidr", nil, "CIDR of a pool, one of each family")
	f.StringVar(&encapsulation, "encapsulation", string(v1alpha1.EncapsulationVXLANCrossSubnet), "how the pools' packets travel")
	f.BoolVar(&masquerade, "nat-outgoing", true, "masquerade what pods send to addresses outside of all pools")
	return cmd
}

func firstPool(cidr, encapsulation string, masquerade bool) (*v1alpha1.IPPool, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return nil, fmt.Errorf("--cidr: %w", err)
	}
	pool := &v1alpha1.IPPool{Spec: v1alpha1.IPPoolSpec{CIDR: prefix.Masked().String(), Encapsulation: v1alpha1.Encapsulation(encapsulation), NATOutgoing: masquerade}}
	pool.Name = "default-v4"
	if prefix.Addr().Is6() {
		pool.Name = "default-v6"
	}
	return pool, nil
}

// directClient asks the API server itself.
func directClient(kubeconfig string) (client.Client, error) {
	cfg, err := connection(kubeconfig)
	if err != nil {
		return nil, err
	}
	scheme, err := controllers.Scheme()
	if err != nil {
		return nil, err
	}
	api, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make an API client: %w", err)
	}
	return api, nil
}
