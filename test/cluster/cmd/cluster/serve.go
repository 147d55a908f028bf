package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/causeway-net/causeway/test/cluster"
	"github.com/causeway-net/causeway/test/lab/machine"
	"github.com/causeway-net/causeway/test/namespaces"
	"github.com/causeway-net/causeway/test/resident"
)

const usage = `
  bin/cluster kubectl get nodes,pods -A -o wide
  bin/cluster helm list -A
  bin/cluster node node1              a shell on a node; with a command: that command
  bin/cluster logs node1 kubelet      the log of a node's kubelet, kube-proxy, containerd or crio
  bin/cluster down                    stop it (or: make cluster-down)

Images: ` + cluster.AgnhostImage + ` has a shell, and programs to serve and to ask.
`

// serve is the cluster's process: it enters the namespaces, brings everything up, and answers until it is killed.
func serve(ctx context.Context, o options) error {
	log.SetLogger(logr.Discard()) // else the API client prints a stack trace about it
	if !namespaces.Inside() {
		return resident.ExitCodeError(cluster.Enter(os.Args[1:]))
	}
	s, err := resident.Find(thing)
	if err != nil {
		return err
	}
	if err := cluster.Prepare(); err != nil {
		return fmt.Errorf("prepare the cluster's namespaces: %w", err)
	}
	o.Log = os.Stdout
	c, err := cluster.New(ctx, o.Options)
	if err != nil {
		return err
	}
	defer c.Stop()
	if !o.bare {
		values := make([]string, 0, len(o.set))
		for _, v := range o.set {
			values = append(values, "--set="+v)
		}
		if err := c.Install(ctx, values...); err != nil {
			return err
		}
	}
	for _, v := range append(c.Environment(), "CLUSTER_DIR="+c.Dir) {
		name, value, _ := strings.Cut(v, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	c.Say("the cluster is up.")
	fmt.Print(usage)
	// The socket's appearance tells `cluster up` that all is said.
	listener, err := net.Listen("unix", s.Socket())
	if err != nil {
		return fmt.Errorf("listen for commands: %w", err)
	}
	return machine.Serve(ctx, listener, runner{c, machine.NewLocal("")})
}

// runner starts commands on the cluster's nodes, and others here.
type runner struct {
	cluster *cluster.Cluster
	machine.Runner
}

func (r runner) Start(ctx context.Context, s machine.Spec, std machine.Stdio) (machine.Process, error) {
	if s.Node == "" {
		return r.Runner.Start(ctx, s, std)
	}
	n, err := r.cluster.Node(s.Node)
	if err != nil {
		return nil, err
	}
	return n.Start(ctx, s, std)
}
