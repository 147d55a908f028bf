// Package windows looks through the windows of running agents: their address book and their plan. It takes a node's name, and
// returns what its agent says. How the agent is reached is behind an interface. It decides nothing.
package windows

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// Agents runs `causeway-agent` with some arguments beside the agent of a node, and returns what it prints.
type Agents interface {
	Run(ctx context.Context, node string, args ...string) ([]byte, error)
}

// Text returns a window as people read it: "book" or "plan".
func Text(ctx context.Context, a Agents, node, window string) ([]byte, error) {
	return a.Run(ctx, node, "debug", window)
}

// JSON returns a window as a program reads it.
func JSON(ctx context.Context, a Agents, node, window string) ([]byte, error) {
	return a.Run(ctx, node, "debug", window, "--json")
}

// Book is what the agent's window book says as JSON, as far as it is compared with the API. The type is the plugin's own: the
// agent's builds on Linux only, and people have other workstations too.
type Book struct {
	Blocks []struct {
		CIDR      netip.Prefix  `json:"cidr"`
		Addresses []BookAddress `json:"addresses"`
	} `json:"blocks"`
	Outside []BookAddress `json:"outside"`
}

// BookAddress is an address that a pod has, or a free one, which has no pod.
type BookAddress struct {
	Address netip.Addr `json:"address"`
	Pod     string     `json:"pod"`
}

// atOnce is how many agents are asked at a time.
const atOnce = 16

// Books returns the address books of nodes, and why some of them did not answer.
func Books(ctx context.Context, a Agents, nodes []string) (map[string]Book, map[string]string) {
	books, silent := map[string]Book{}, map[string]string{}
	var mu sync.Mutex
	var group sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, node := range nodes {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var book Book
			text, err := JSON(ctx, a, node, "book")
			if err == nil {
				err = json.Unmarshal(text, &book)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent[node] = err.Error()
				return
			}
			books[node] = book
		})
	}
	group.Wait()
	return books, silent
}

// Pods reaches agents as kubectl exec does: in their pods, through the API server, so that nodes need no open port.
type Pods struct {
	Config *rest.Config
	// Find returns the pod of a node's agent, or nil.
	Find func(node string) *corev1.Pod
}

// NewPods reaches the agents of a cluster that was looked at with the kind SystemPods.
func NewPods(config *rest.Config, c *objects.Cluster) Pods {
	return Pods{Config: config, Find: c.AgentPod}
}

// Run runs causeway-agent in the container of the node's agent.
func (p Pods) Run(ctx context.Context, node string, args ...string) ([]byte, error) {
	pod := p.Find(node)
	if pod == nil {
		return nil, fmt.Errorf("node %s has no pod of an agent: see kubectl causeway status", node)
	}
	out, err := objects.Exec(ctx, p.Config, pod.Namespace, pod.Name, "agent", nil, append([]string{"causeway-agent"}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("ask the agent of node %s: %w", node, err)
	}
	return out, nil
}
