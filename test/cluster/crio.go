package cluster

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

const crioSocket = "/run/crio/crio.sock"

// crioConfig needs the folder of our programs. It is as CRI-O comes, but for what a machine made of namespaces lacks, and for the folder
// of network namespaces: some set it to /run rather than /var/run, and Causeway has to find them there too.
const crioConfig = `
[crio]
root = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
storage_driver = "overlay"
version_file = "/run/crio/version"
[crio.api]
listen = "` + crioSocket + `"
[crio.runtime]
default_runtime = "runc"
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
pinns_path = "%s/pinns"
namespaces_dir = "/run"
[crio.runtime.runtimes.runc]
runtime_path = "` + crioRunc + `"
runtime_root = "/run/runc"
monitor_path = "/usr/bin/conmon"
[crio.image]
pause_image = "` + sandboxImage + `"
[crio.network]
network_dir = "/etc/cni/net.d/"
plugin_dirs = ["/opt/cni/bin/"]
`

// crioRunc is what CRI-O runs instead of runc: it takes away what a machine made of namespaces does not let a container have.
const crioRunc = "/etc/crio/runc"

const crioRuncScript = `#!/bin/sh
bundle=
for word; do
  [ "$last" = --bundle ] && bundle=$word
  last=$word
done
if [ -n "$bundle" ]; then
  jq 'del(.process.oomScoreAdj, .linux.resources.hugepageLimits) | (.process.capabilities[]? |= map(select(. != "CAP_SYS_RESOURCE")))' "$bundle/config.json" >"$bundle/config.json.new" && mv "$bundle/config.json.new" "$bundle/config.json"
fi
exec /usr/sbin/runc "$@"
`

// crioFiles are what a distribution of CRI-O installs besides: which images are trusted, and where one without a registry comes from.
var crioFiles = map[string]string{
	"/etc/containers/policy.json":     `{"default": [{"type": "insecureAcceptAnything"}]}`,
	"/etc/containers/registries.conf": "unqualified-search-registries = [\"docker.io\"]\n",
	"/etc/containers/storage.conf":    "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/containers/storage\"\ngraphroot = \"/var/lib/containers/storage\"\n",
}

// crio is CRI-O. It can't read archives: skopeo copies images to where it looks for them.
type crio struct{}

func (crio) socket() string { return crioSocket }

func (crio) check(c *Cluster) error {
	for _, name := range []string{"crio", "pinns"} {
		if _, err := os.Stat(c.Bin(name)); err != nil {
			return fmt.Errorf("bin/%s is missing: run `make crio-programs`", name)
		}
	}
	for _, name := range []string{"conmon", "skopeo"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%s is missing: run `make crio-programs`: %w", name, err)
		}
	}
	return nil
}

func (crio) daemon(ctx context.Context, n *Node) (*Daemon, error) {
	if err := n.WriteFile(ctx, "/etc/crio/crio.conf", fmt.Sprintf(crioConfig, n.cluster.Bin(""))); err != nil {
		return nil, err
	}
	for path, text := range crioFiles {
		if err := n.WriteFile(ctx, path, text); err != nil {
			return nil, err
		}
	}
	if err := n.WriteFile(ctx, crioRunc, crioRuncScript); err != nil {
		return nil, err
	}
	if _, err := n.Run(ctx, "chmod", "+x", crioRunc); err != nil {
		return nil, err
	}
	return n.daemon(n.cluster.Bin("crio"), "--config=/etc/crio/crio.conf", "--config-dir="), nil
}

func (crio) answers(ctx context.Context, n *Node) error {
	_, err := n.Run(ctx, "curl", "--silent", "--fail", "--unix-socket", crioSocket, "http://localhost/info")
	return err
}

func (crio) load(ctx context.Context, n *Node, archive string) error {
	transport, name, err := imageIn(archive)
	if err != nil {
		return err
	}
	_, err = n.Run(ctx, "skopeo", "copy", "--quiet", transport+":"+archive, "containers-storage:"+name)
	return err
}

func (crio) tag(ctx context.Context, n *Node, from, to string) error {
	_, err := n.Run(ctx, "skopeo", "copy", "--quiet", "containers-storage:"+from, "containers-storage:"+to)
	return err
}

// imageIn returns how skopeo calls an archive's format, and the name of the archive's image.
func imageIn(archive string) (transport, name string, err error) {
	file, err := os.Open(archive)
	if err != nil {
		return "", "", err
	}
	defer file.Close()
	for r := tar.NewReader(file); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return "", "", fmt.Errorf("%s has no image with a name", archive)
		}
		if err != nil {
			return "", "", fmt.Errorf("read %s: %w", archive, err)
		}
		switch h.Name {
		case "manifest.json":
			var images []struct{ RepoTags []string }
			if err := json.NewDecoder(r).Decode(&images); err != nil {
				return "", "", fmt.Errorf("read %s in %s: %w", h.Name, archive, err)
			}
			if len(images) == 1 && len(images[0].RepoTags) == 1 {
				return "docker-archive", images[0].RepoTags[0], nil
			}
		case "index.json":
			var index struct {
				Manifests []struct{ Annotations map[string]string }
			}
			if err := json.NewDecoder(r).Decode(&index); err != nil {
				return "", "", fmt.Errorf("read %s in %s: %w", h.Name, archive, err)
			}
			if len(index.Manifests) == 1 && index.Manifests[0].Annotations["io.containerd.image.name"] != "" {
				return "oci-archive", index.Manifests[0].Annotations["io.containerd.image.name"], nil
			}
		}
	}
}
