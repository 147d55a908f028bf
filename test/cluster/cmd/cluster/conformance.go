package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/causeway-net/causeway/test/cluster"
	"github.com/causeway-net/causeway/test/cluster/conformance"
	"github.com/causeway-net/causeway/test/namespaces"
	"github.com/causeway-net/causeway/test/resident"
)

// conformanceCommand tests Causeway by what Kubernetes asks of a network, in a cluster that starts and ends with it.
func conformanceCommand() *cobra.Command {
	var nodes int
	var required bool
	o := conformance.Options{Log: os.Stdout}
	c := &cobra.Command{
		Use: "conformance", Short: "Run Kubernetes' tests of networks in a cluster of their own", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if required {
				o.Focus = conformance.FocusConformance
			}
			return runConformance(c.Context(), nodes, o)
		},
	}
	c.Flags().IntVar(&nodes, "nodes", 3, "number of nodes")
	c.Flags().StringVar(&o.Focus, "focus", conformance.Focus, "a regular expression that selects tests by their names")
	c.Flags().BoolVar(&required, "required", false, "only the tests that every cluster must pass, which Kubernetes labels Conformance")
	c.Flags().IntVar(&o.Attempts, "attempts", 1, "how often a test is tried that fails")
	// They wait more than they work: on two processors, six of them at once take half the time of three.
	c.Flags().IntVar(&o.Processes, "processes", 6, "how many tests run at once")
	c.Flags().DurationVar(&o.Timeout, "timeout", time.Hour, "how long all tests together may take")
	c.MarkFlagsMutuallyExclusive("focus", "required")
	return c
}

func runConformance(ctx context.Context, nodes int, o conformance.Options) error {
	log.SetLogger(logr.Discard()) // else the API client prints a stack trace about it
	if !namespaces.Inside() {
		return resident.ExitCodeError(cluster.Enter(os.Args[1:]))
	}
	if err := cluster.Prepare(); err != nil {
		return fmt.Errorf("prepare the cluster's namespaces: %w", err)
	}
	c, err := cluster.New(ctx, cluster.Options{Nodes: nodes, Subnets: min(nodes, 2), Log: os.Stdout})
	if err != nil {
		return err
	}
	defer c.Stop()
	if err := c.Install(ctx); err != nil {
		return err
	}
	o.Dir = filepath.Join(c.Repo, "bin", "conformance")
	results, err := conformance.Run(ctx, c, o)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s\nThe report is %s/junit_01.xml.\n", results, o.Dir)
	switch {
	case len(results.Failed) > 0:
		return resident.ExitCodeError(1)
	case len(results.Passed) == 0:
		return errors.New("no test has this name")
	}
	return nil
}
