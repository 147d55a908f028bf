package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

const (
	agentMemory = 60 << 20
	agentNode   = "measured"
	blocksEach  = 2 // of each of the other nodes
)

// partMemory starts the agent itself, on a node of namespaces, in a cluster of many blocks.
func (b *bench) partMemory(ctx context.Context) error {
	if err := b.start(ctx); err != nil {
		return err
	}
	controller, err := b.openPool(ctx)
	if err != nil {
		return err
	}
	nodes := b.blocks / blocksEach
	if err := each(ctx, 0, nodes, workers, func(ctx context.Context, i int) error {
		f := facts(i)
		nn := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: nodeName(i)}}
		if err := b.Client.Create(ctx, nn); err != nil {
			return fmt.Errorf("create NodeNetwork %s: %w", nn.Name, err)
		}
		nn.Status = v1alpha1.NodeNetworkStatus{Addresses: f.Addresses, AddressList: f.Addresses[0].Address, MTU: f.MTU, VTEPMAC: f.VTEPMAC, Encapsulations: f.Encapsulations}
		if err := b.Client.Status().Update(ctx, nn); err != nil {
			return fmt.Errorf("write the status of NodeNetwork %s: %w", nn.Name, err)
		}
		for k := range blocksEach {
			block := blockOf(i*blocksEach+k, nn.Name)
			block.Spec.NodeAddresses = []string{nodeAddress(i).String()}
			if err := controller.Create(ctx, block); err != nil {
				return fmt.Errorf("create IPBlock %s: %w", block.Name, err)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	b.logf("%d blocks of %d nodes are there", b.blocks, nodes)
	agent, err := b.startAgent(ctx)
	if err != nil {
		return err
	}
	if err := b.await(ctx, "the agent has a route to every block", func() error {
		out, err := exec.CommandContext(ctx, "ip", "-netns", agentNode, "route", "show", "proto", "202").Output()
		if got := strings.Count(string(out), "\n"); err == nil && got < b.blocks {
			err = fmt.Errorf("it has %d of %d; its log is %s", got, b.blocks, agent.log)
		}
		return err
	}); err != nil {
		return err
	}
	now, peak, err := agent.restMemory(ctx)
	if err != nil {
		return err
	}
	b.table.judge(now <= agentMemory, fmt.Sprintf("agent: resident memory with %d blocks of %d nodes", b.blocks, nodes), "<= 60 MiB",
		"%s, at most %s since its start", mib(now), mib(peak))
	return nil
}

// startAgent starts the agent's program in a network namespace with a way to the API server.
func (b *bench) startAgent(ctx context.Context) (*process, error) {
	address := netip.MustParseAddr("172.20.0.2")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: agentNode}}
	if err := b.Client.Create(ctx, node); err != nil {
		return nil, fmt.Errorf("create node %s: %w", agentNode, err)
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address.String()}}
	if err := b.Client.Status().Update(ctx, node); err != nil {
		return nil, fmt.Errorf("write the status of node %s: %w", agentNode, err)
	}
	nn := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: agentNode}}
	if err := b.Client.Create(ctx, nn); err != nil {
		return nil, fmt.Errorf("create NodeNetwork %s: %w", agentNode, err)
	}
	kubeconfig, err := b.AgentKubeconfig(ctx, agentNode)
	if err != nil {
		return nil, err
	}
	b.later(func() { _ = exec.Command("ip", "netns", "del", agentNode).Run() }) // it goes with the namespaces of this program
	for _, line := range []string{
		"netns add " + agentNode, "link add measured0 type veth peer name eth0 netns " + agentNode, "link set measured0 up",
		"addr add 172.20.0.1/16 dev measured0", "-netns " + agentNode + " link set lo up", "-netns " + agentNode + " link set eth0 up",
		"-netns " + agentNode + " addr add " + address.String() + "/16 dev eth0", "-netns " + agentNode + " route add default via 172.20.0.1",
	} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	if err := os.MkdirAll("/run/causeway", 0o700); err != nil {
		return nil, fmt.Errorf("make the agent's folder: %w", err)
	}
	return b.run("causeway-agent", "ip", "netns", "exec", agentNode, filepath.Join(b.repo, "bin", "causeway-agent"), "--node-name="+agentNode,
		"--kubeconfig="+kubeconfig, "--metrics-bind-address=")
}
