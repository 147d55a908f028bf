package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/lab/machine"
	"github.com/causeway-net/causeway/test/retry"
)

// Node is one node of the lab, or the outside.
type Node struct {
	Name string
	// Subnet is the number of its subnet, from 1.
	Subnet int
	// V4 and V6 are its addresses on eth0.
	V4, V6 netip.Addr

	lab        *Lab
	runner     machine.Runner
	kubeconfig string
	agent      *Cmd
}

// Node returns the node of that name.
func (l *Lab) Node(name string) *Node {
	for _, n := range append(l.Nodes, l.Outside) {
		if n != nil && n.Name == name {
			return n
		}
	}
	return nil
}

func (l *Lab) makeNodes(ctx context.Context) error {
	for i := range l.o.Nodes {
		if _, err := l.AddNode(ctx, fmt.Sprintf("node%d", i+1), 1+i*l.o.Subnets/l.o.Nodes); err != nil {
			return err
		}
	}
	outside, err := l.plugIn(ctx, l.local, "outside", outsideNumber, 2, false)
	l.Outside = outside
	return err
}

// AddNode adds a node to a subnet, with its Node object. Its agent is not started.
func (l *Lab) AddNode(ctx context.Context, name string, subnet int) (*Node, error) {
	n, err := l.plugIn(ctx, l.runner, name, subnet, 11+len(l.Nodes), true)
	if err != nil {
		return nil, err
	}
	l.Nodes = append(l.Nodes, n)
	if n.kubeconfig, err = l.AgentKubeconfig(ctx, name); err != nil {
		return nil, err
	}
	if err := n.writeConfig(ctx); err != nil {
		return nil, err
	}
	return n, n.Register(ctx)
}

func (l *Lab) plugIn(ctx context.Context, r machine.Runner, name string, subnet, host int, defaultRoute bool) (*Node, error) {
	v4, v6 := subnetAddresses(subnet, host)
	gate4, gate6 := subnetAddresses(subnet, 1)
	spec := machine.Node{Name: name, Bridge: bridgeName(subnet), Addresses: []string{v4.String(), v6.String()}}
	destinations := map[string]netip.Addr{"default": gate4.Addr(), "::/0": gate6.Addr()}
	if !defaultRoute {
		destinations = map[string]netip.Addr{}
		for _, n := range numbers(l.o.Subnets) {
			to4, to6 := subnetAddresses(n, 1)
			destinations[to4.Masked().String()], destinations[to6.Masked().String()] = gate4.Addr(), gate6.Addr()
		}
	}
	for to, via := range destinations {
		spec.Routes = append(spec.Routes, to+" via "+via.String())
	}
	if err := r.AddNode(ctx, spec); err != nil {
		return nil, err
	}
	return &Node{Name: name, Subnet: subnet, V4: v4.Addr(), V6: v6.Addr(), lab: l, runner: r}, nil
}

// Register creates the Node object as a kubelet does.
func (n *Node) Register(ctx context.Context) error {
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{
		"kubernetes.io/hostname": n.Name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": bridgeName(n.Subnet),
	}}}
	if err := n.lab.Client.Create(ctx, o); err != nil {
		return fmt.Errorf("create the Node %s: %w", n.Name, err)
	}
	o.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: n.V4.String()}, {Type: corev1.NodeInternalIP, Address: n.V6.String()},
		{Type: corev1.NodeHostName, Address: n.Name},
	}
	o.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Lab"}}
	if err := n.lab.Client.Status().Update(ctx, o); err != nil {
		return fmt.Errorf("write the addresses of Node %s: %w", n.Name, err)
	}
	return nil
}

// StartAgent starts the node's agent. It does not wait until the agent is ready.
func (n *Node) StartAgent(args ...string) error {
	if n.agent != nil && n.agent.Running() {
		return fmt.Errorf("the agent of %s runs already", n.Name)
	}
	log, err := os.OpenFile(n.AgentLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the log of the agent: %w", err)
	}
	argv := append([]string{n.lab.Bin("causeway-agent"), "--node-name=" + n.Name, "--kubeconfig=" + n.kubeconfig}, n.lab.o.AgentArgs...)
	n.agent = n.Command(context.Background(), append(argv, args...)...)
	n.agent.Stdout, n.agent.Stderr, n.agent.closer = log, log, log
	return n.agent.Start()
}

// StopAgent sends the agent a signal (SIGTERM: an orderly end, SIGKILL: a crash) and waits for its end.
func (n *Node) StopAgent(sig syscall.Signal) error {
	if n.agent == nil || !n.agent.Running() {
		return fmt.Errorf("the agent of %s does not run", n.Name)
	}
	n.stopAgent(sig)
	return nil
}

func (n *Node) stopAgent(sig syscall.Signal) {
	if n.agent != nil {
		n.agent.end(sig)
	}
}

// Agent is the running agent's command.
func (n *Node) Agent() *Cmd { return n.agent }

// AgentLog is the file that the agent's output goes to.
func (n *Node) AgentLog() string { return filepath.Join(n.lab.Dir, "agent-"+n.Name+".log") }

// waitReady waits until every agent has said that it is ready.
func (l *Lab) waitReady(ctx context.Context) error {
	return retry.Until(ctx, time.Minute, func() error {
		for _, n := range l.Nodes {
			if err := n.Ready(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// Ready is nil when the node's agent is.
func (n *Node) Ready(ctx context.Context) error {
	if n.agent != nil && !n.agent.Running() {
		return fmt.Errorf("the agent of %s has ended", n.Name)
	}
	var nn v1alpha1.NodeNetwork
	if err := n.lab.Object(ctx, n.Name, &nn); err != nil {
		return err
	}
	if c := meta.FindStatusCondition(nn.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Status != metav1.ConditionTrue {
		return fmt.Errorf("NodeNetwork %s is not ready: %+v", n.Name, c)
	}
	return nil
}

// writeConfig puts the conflist where a container runtime looks for it.
func (n *Node) writeConfig(ctx context.Context) error {
	conf := n.lab.o.CNIConfig
	if conf == "" {
		// Debian's reference plugins know no 1.1.0, so chains with them say 1.0.0.
		conf = `{"cniVersion":"1.1.0","name":"causeway","plugins":[{"type":"causeway","capabilities":{"io.kubernetes.cri.pod-annotations":true}}]}`
	}
	return n.WriteFile(ctx, "/etc/cni/net.d/10-causeway.conflist", conf)
}

var errNoCommand = errors.New("the command was not started")
