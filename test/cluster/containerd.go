package cluster

import (
	"context"
	"fmt"
	"os"
)

// containerdConfig is as it comes, but for what a machine made of namespaces lacks.
const containerdConfig = `
version = 3
oom_score = 0
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['/opt/cni/bin']
conf_dir = '/etc/cni/net.d'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '` + sandboxImage + `'
`

type containerd struct{}

func (containerd) socket() string { return "/run/containerd/containerd.sock" }

func (containerd) check(c *Cluster) error {
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		if _, err := os.Stat(c.Bin(name)); err != nil {
			return fmt.Errorf("bin/%s is missing: run `make cluster-programs`", name)
		}
	}
	return nil
}

func (containerd) daemon(ctx context.Context, n *Node) (*Daemon, error) {
	if err := n.WriteFile(ctx, "/etc/containerd/config.toml", containerdConfig); err != nil {
		return nil, err
	}
	return n.daemon(n.cluster.Bin("containerd")), nil
}

func (containerd) answers(ctx context.Context, n *Node) error {
	_, err := n.Run(ctx, n.cluster.Bin("ctr"), "version")
	return err
}

func (containerd) load(ctx context.Context, n *Node, archive string) error {
	_, err := n.Run(ctx, n.cluster.Bin("ctr"), "--namespace=k8s.io", "images", "import", "--local", archive)
	return err
}

func (containerd) tag(ctx context.Context, n *Node, from, to string) error {
	_, err := n.Run(ctx, n.cluster.Bin("ctr"), "--namespace=k8s.io", "images", "tag", from, to)
	return err
}
