package tools_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/command"
	"github.com/causeway-net/causeway/kubectl-causeway/picture"
	"github.com/causeway-net/causeway/test/lab"
)

// onNodes runs causeway-agent on the lab's nodes: agents are no pods there, so there is no exec.
type onNodes struct{ l *lab.Lab }

func (o onNodes) Run(ctx context.Context, node string, args ...string) ([]byte, error) {
	n := o.l.Node(node)
	if n == nil {
		return nil, fmt.Errorf("there is no node %s", node)
	}
	out, err := n.Command(ctx, append([]string{o.l.Bin("causeway-agent")}, args...)...).Output()
	return []byte(out), err
}

// inside runs a command in this process, with the lab's way to agents.
func inside(l *lab.Lab, args ...string) (string, int) {
	var out bytes.Buffer
	o := command.Options{Streams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}, Agents: onNodes{l}}
	code := command.Run(o, append(args, "--kubeconfig="+l.AdminKubeconfig()))
	return out.String(), code
}

func awaitInside(t *testing.T, l *lab.Lab, code int, args []string, texts ...string) {
	t.Helper()
	l.Eventually(t, lab.Settle, fmt.Sprintf("kubectl causeway %v says %q", args, texts), func() error {
		out, got := inside(l, args...)
		for _, text := range texts {
			if !strings.Contains(out, text) {
				return fmt.Errorf("it does not say %q:\n%s", text, out)
			}
		}
		if got != code {
			return fmt.Errorf("it ends with exit code %d, want %d:\n%s", got, code, out)
		}
		return nil
	})
}

// agentsSay looks through the windows of running agents.
func agentsSay(t *testing.T, l *lab.Lab) {
	block := blockOfNode1(t, l)
	awaitInside(t, l, 0, []string{"book", "node1"}, "block "+block+" of pool default-v4", "held by default/pod-0")
	awaitInside(t, l, 0, []string{"book", "node1", "-o", "yaml"}, "cidr: "+block)
	awaitInside(t, l, 0, []string{"plan", "node2"}, block+" via 172.30.1.11", "NodeToNodeMesh")
	awaitInside(t, l, 2, []string{"plan", "node9"}, "node9")
	awaitInside(t, l, 0, []string{"ipam", "check", "--books"}, "and 3 address books of nodes.", "Everything fits together.")
	await(t, l, 2, []string{"book", "node9"}, "node node9 has no pod of an agent")
}

// blockOfNode1 returns its IPv4 block.
func blockOfNode1(t *testing.T, l *lab.Lab) string {
	t.Helper()
	var list v1alpha1.IPBlockList
	must(t, l.Client.List(t.Context(), &list))
	for _, b := range list.Items {
		if b.Spec.Pool == "default-v4" && b.Spec.Node == "node1" {
			return b.Spec.CIDR
		}
	}
	t.Fatal("node1 has no block of pool default-v4")
	return ""
}

// drawn draws the lab: three nodes in two subnets, a tunnel between these, a mesh, two pools.
func drawn(t *testing.T, l *lab.Lab) {
	m := decoded[picture.Map](t, l, "map")
	if len(m.Subnets) != 2 || len(m.Sessions) != 3 || len(m.Pools) != 2 || len(m.Ways) != 2 || m.Ways[1].Kind != "VXLAN" || !m.Ways[1].Across {
		t.Errorf("the map is %+v", m)
	}
	out, code, err := plugin(t.Context(), l, "map")
	if err != nil || code != 0 {
		t.Fatalf("kubectl causeway map ends with %d (%v): %s", code, err, out)
	}
	var root struct{ XMLName xml.Name }
	if err := xml.Unmarshal([]byte(out), &root); err != nil || root.XMLName.Local != "svg" || !strings.Contains(out, blockOfNode1(t, l)+" of node1: 1 of 63 used") {
		t.Errorf("the picture is (%v)\n%s", err, out)
	}
}

// packed packs a bundle, and looks for a secret in it.
func packed(t *testing.T, l *lab.Lab) {
	const secret = "bgp-password-of-the-racks"
	l.Create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.BGPNamespace, Name: "rack"}, StringData: map[string]string{"password": secret}})
	file := filepath.Join(t.TempDir(), "bundle.tar.gz")
	if out, code := inside(l, "diag", "--file="+file); code != 0 || !strings.Contains(out, "holds") {
		t.Fatalf("diag ends with %d: %s", code, out)
	}
	names := unpack(t, file, secret)
	if strings.Contains(names, ".previous.log") { // No container has restarted.
		t.Errorf("the bundle holds earlier logs:\n%s", names)
	}
	for _, want := range []string{"versions.txt", "objects/ippools.yaml", "objects/bgpnodestates.yaml", "nodes/node1/plan.txt", "nodes/node3/book.txt", "status.txt", "ipam-check.txt", "map.svg",
		"logs/causeway-agent-node1/agent.log.missing"} {
		if !strings.Contains(names, "/"+want+"\n") {
			t.Errorf("the bundle does not hold %s, but\n%s", want, names)
		}
	}
}

// unpack returns the names in an archive. None of the files may hold the secret.
func unpack(t *testing.T, file, secret string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	zip, err := gzip.NewReader(bytes.NewReader(text))
	must(t, err)
	archive, names := tar.NewReader(zip), ""
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		must(t, err)
		content, err := io.ReadAll(archive)
		must(t, err)
		if bytes.Contains(content, []byte(secret)) {
			t.Errorf("%s holds a secret", h.Name)
		}
		names += h.Name + "\n"
	}
}

// imported lets the API server judge what became of Calico's and flannel's configuration.
func imported(t *testing.T, l *lab.Lab) {
	for _, from := range []string{"calico", "flannel"} {
		out, code, err := plugin(t.Context(), l, "import", from, filepath.Join(l.Repo, "kubectl-causeway/convert/testdata", from+".yaml"))
		must(t, err)
		if want := map[string]int{"calico": 1, "flannel": 0}[from]; code != want {
			t.Errorf("import %s ends with exit code %d, want %d", from, code, want)
		}
		manifest, _, _ := strings.Cut(out, "objects were written")
		manifest = manifest[:strings.LastIndex(manifest, "\n")+1]
		file := filepath.Join(t.TempDir(), "imported.yaml")
		must(t, os.WriteFile(file, []byte(manifest), 0o644))
		if answer, err := l.Kubectl(t.Context(), "apply", "--dry-run=server", "-f", file); err != nil {
			t.Errorf("the API server refuses what was made of %s: %v: %s", from, err, answer)
		}
	}
}
