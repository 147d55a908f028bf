package lab

import (
	"context"
	"fmt"

	"github.com/causeway-net/causeway/test/lab/machine"
)

// Runner runs commands anywhere in the lab: on a node by its name, in a pod by "namespace/name" in Spec.Netns, or in the
// lab's own namespaces. `lab node`, `lab pod` and `lab kubectl` come in here.
func (l *Lab) Runner() machine.Runner { return anywhere{l} }

type anywhere struct{ l *Lab }

func (a anywhere) AddNode(ctx context.Context, n machine.Node) error {
	return fmt.Errorf("nodes are added with the lab's own AddNode")
}

func (a anywhere) RemoveNode(ctx context.Context, name string) error {
	return fmt.Errorf("nodes stay as long as the lab")
}

func (a anywhere) Start(ctx context.Context, s machine.Spec, io machine.Stdio) (machine.Process, error) {
	if s.Node == "" && s.Netns != "" {
		p := a.l.pod(s.Netns)
		if p == nil {
			return nil, fmt.Errorf("there is no pod %s: look with `bin/lab kubectl get pods -A`", s.Netns)
		}
		s.Node, s.Netns = p.Node.Name, p.Netns
	}
	if s.Node == "" {
		s.Env = append(s.Env, "KUBECONFIG="+a.l.AdminKubeconfig())
		return a.l.local.Start(ctx, s, io)
	}
	n := a.l.Node(s.Node)
	if n == nil {
		return nil, fmt.Errorf("there is no node %s: look with `bin/lab kubectl get nodes`", s.Node)
	}
	return n.runner.Start(ctx, s, io)
}

func (l *Lab) pod(key string) *Pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pods[key]
}
