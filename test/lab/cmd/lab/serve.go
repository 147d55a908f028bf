package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/lab/machine"
	"github.com/causeway-net/causeway/test/namespaces"
	"github.com/causeway-net/causeway/test/resident"
)

// serve is the lab's process: it enters the namespaces, brings everything up, shows it, and answers until it is killed.
func serve(ctx context.Context, o lab.Options) error {
	if !namespaces.Inside() {
		return resident.ExitCodeError(namespaces.Enter(os.Args[1:]))
	}
	s, err := resident.Find(thing)
	if err != nil {
		return err
	}
	if err := lab.Prepare(); err != nil {
		return fmt.Errorf("prepare the lab's namespaces: %w", err)
	}
	begin := time.Now()
	o.Log = os.Stdout
	l, err := lab.New(ctx, o)
	if err != nil {
		return err
	}
	defer l.Stop()
	if err := os.Setenv("PATH", l.Bin("")+":"+os.Getenv("PATH")); err != nil {
		return err
	}
	if err := populate(ctx, l); err != nil {
		return err
	}
	fmt.Printf("\nThe lab is up after %.1f s.\n%s", time.Since(begin).Seconds(), usage)
	// The socket's appearance tells `lab up` that all is said.
	listener, err := net.Listen("unix", s.Socket())
	if err != nil {
		return fmt.Errorf("listen for commands: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { cancel(<-l.Lost()) }()
	if err := machine.Serve(ctx, listener, l.Runner()); err != nil {
		return err
	}
	if lost := context.Cause(ctx); !errors.Is(lost, context.Canceled) {
		return lost
	}
	return nil
}

const usage = `
  bin/lab kubectl get ippools,ipblocks,workloadendpoints,nodenetworks -A
  bin/lab node node1                  a shell on a node; with a command: that command
  bin/lab pod default/pod-1-1         a shell in a pod's network namespace
  bin/lab node node1 tcpdump -ni eth0
  bin/lab book node1                  every address of a node's blocks, and who has it
  bin/lab plan node1                  what a node's agent wants of its kernel, and why not
  bin/lab logs node1                  the log of a node's agent
  bin/lab down                        stop it (or: make lab-down)
`

// populate applies the samples, starts two pods a node, and shows the tables and a ping matrix.
func populate(ctx context.Context, l *lab.Lab) error {
	samples, err := filepath.Glob(filepath.Join(l.Repo, "config", "samples", "ippool*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range samples {
		if err := l.Apply(ctx, file); err != nil {
			return err
		}
	}
	var pods []*lab.Pod
	for i, n := range l.Nodes {
		for j := range 2 {
			begin := time.Now()
			p, err := startPod(ctx, l, n, fmt.Sprintf("default/pod-%d-%d", i+1, j+1))
			if err != nil {
				return err
			}
			fmt.Printf("lab: pod %s on %s has %v after %d ms\n", p.Key(), n.Name, p.Addresses, time.Since(begin).Milliseconds())
			pods = append(pods, p)
		}
	}
	out, err := l.Kubectl(ctx, "get", "ippools,ipblocks,workloadendpoints,nodenetworks", "-A")
	fmt.Printf("\n%s\n", out)
	if err != nil {
		return err
	}
	matrix(ctx, pods)
	return nil
}

// startPod tries again as kubelet does: the first pod of a new pool may come before its node's first block.
func startPod(ctx context.Context, l *lab.Lab, n *lab.Node, key string) (p *lab.Pod, err error) {
	p, err = l.StartPod(ctx, n, key, lab.PodOptions{})
	for range 5 {
		if err == nil || p == nil {
			return p, err
		}
		fmt.Println("lab:", err)
		if err := l.StopPod(ctx, p); err != nil {
			return nil, err
		}
		p, err = l.StartPod(ctx, n, key, lab.PodOptions{})
	}
	return p, err
}

func matrix(ctx context.Context, pods []*lab.Pod) {
	fmt.Printf("Ping from each row to each column, IPv4 and IPv6 (+ answered, ! not, . no address):\n%-22s", "")
	for _, to := range pods {
		fmt.Printf(" %-8s", to.Name)
	}
	for _, from := range pods {
		fmt.Printf("\n%-22s", from.Key()+" "+from.Node.Name)
		for _, to := range pods {
			cell := ""
			for _, a := range []netip.Addr{to.V4(), to.V6()} {
				switch {
				case !a.IsValid():
					cell += "."
				case lab.Ping(ctx, from, a) == nil:
					cell += "+"
				default:
					cell += "!"
				}
			}
			fmt.Printf(" %-8s", cell)
		}
	}
	fmt.Println()
}
