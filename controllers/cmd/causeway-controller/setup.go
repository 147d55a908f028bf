package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/internal/uninstall"
)

// uninstallCommand takes Causeway out of a cluster. Helm runs it before it deletes the release.
func uninstallCommand() *cobra.Command {
	var o uninstall.Options
	var kubeconfig string
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take Causeway off every node and release its objects. Roles and definitions are helm's or kubectl's to delete.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := connection(kubeconfig)
			if err != nil {
				return err
			}
			o.Say = func(sentence string) { fmt.Fprintln(cmd.OutOrStdout(), sentence) }
			return uninstall.Run(cmd.Context(), config, o)
		},
	}
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig file to reach the API server with (default: the pod's service account)")
	o.AddFlags(cmd.Flags())
	return cmd
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
			config, err := connection(kubeconfig)
			if err != nil {
				return err
			}
			api, err := uninstall.Connect(config)
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
