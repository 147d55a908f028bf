package command

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/causeway-net/causeway/internal/version"
	"github.com/causeway-net/causeway/kubectl-causeway/addresses"
	"github.com/causeway-net/causeway/kubectl-causeway/bundle"
	"github.com/causeway-net/causeway/kubectl-causeway/health"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/picture"
	"github.com/causeway-net/causeway/kubectl-causeway/text"
	"github.com/causeway-net/causeway/kubectl-causeway/windows"
)

// diagKinds are all that a bundle holds; Secrets are never asked for. Pods of others are read to check addresses, and left out.
var diagKinds = slices.Concat(health.Kinds, []objects.Kind{objects.WorkloadEndpoints, objects.DaemonSets, objects.Deployments, objects.Pods, objects.Events})

func (a *app) diag() *cobra.Command {
	var file string
	lines := int64(5000)
	c := &cobra.Command{
		Use: "diag", Short: "Pack a support bundle without secrets", Args: cobra.NoArgs,
		Long: "Pack a support bundle: Causeway's objects, the state of its pods with the end of their logs, what each agent knows, the\n" +
			"answers of status and ipam check, and a map. Secrets are not read; annotations and environment variables are hidden.\n" +
			"Names and addresses of pods and nodes are in it: look at it before you give it away.",
		RunE: func(c *cobra.Command, _ []string) error {
			connection, err := a.connect()
			if err != nil {
				return err
			}
			cluster, err := connection.Look(c.Context(), diagKinds...)
			if err != nil {
				return err
			}
			files, err := a.diagnose(c.Context(), connection, cluster, lines)
			if err != nil {
				return err
			}
			folder := "causeway-" + cluster.Now.UTC().Format("20060102-150405")
			if file == "" {
				file = folder + ".tar.gz"
			}
			var packed bytes.Buffer
			if err := bundle.Write(&packed, folder, cluster.Now, files); err != nil {
				return err
			}
			if err := os.WriteFile(file, packed.Bytes(), 0o600); err != nil {
				return fmt.Errorf("write the bundle: %w", err)
			}
			return write(a.o.Streams.Out, fmt.Appendf(nil, "%s holds %d files.\n", file, len(files)), nil)
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the file to write (default: causeway-TIME.tar.gz in this folder)")
	c.Flags().Int64Var(&lines, "log-lines", lines, "how many lines of each log to take")
	return c
}

// diagnose makes the files. What can't be read becomes a file that says so.
func (a *app) diagnose(ctx context.Context, connection *objects.Connection, c *objects.Cluster, lines int64) ([]bundle.File, error) {
	var files []bundle.File
	for _, kind := range diagKinds {
		if kind == objects.Pods {
			continue
		}
		f, err := bundle.Objects("objects/"+strings.ReplaceAll(string(kind), " ", "-"), c.List(kind))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	report, account := health.Compute(c), addresses.Check(c)
	var names []string
	for i := range c.Networks.Items {
		names = append(names, c.Networks.Items[i].Name)
	}
	files = append(files,
		printed("versions.txt", func(p *text.Page) { printVersions(p, c) }),
		printed("status.txt", func(p *text.Page) { printStatus(p, report, true) }),
		printed("ipam-check.txt", func(p *text.Page) { printAccount(p, account) }),
		printed("ipam-show.txt", func(p *text.Page) { printPools(p, addresses.Show(c), true) }),
		bundle.File{Name: "map.svg", Text: picture.Compute(c).SVG()},
	)
	agents := a.agents(connection, c)
	files = append(files, together(names, func(node string) []bundle.File {
		var out []bundle.File
		for _, window := range []string{"plan", "book"} {
			out = append(out, answer("nodes/"+node+"/"+window+".txt", func() ([]byte, error) { return windows.Text(ctx, agents, node, window) }))
		}
		return out
	})...)
	logs, err := kubernetes.NewForConfig(connection.Config)
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	return append(files, together(c.SystemPods.Items, func(p corev1.Pod) []bundle.File {
		var out []bundle.File
		for _, container := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
			for _, previous := range []bool{false, true} {
				if previous && !restarted(&p, container.Name) {
					continue
				}
				name := "logs/" + p.Name + "/" + container.Name + map[bool]string{false: ".log", true: ".previous.log"}[previous]
				out = append(out, answer(name, func() ([]byte, error) {
					limit, cancel := context.WithTimeout(ctx, logTimeout)
					defer cancel()
					return logs.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: container.Name, TailLines: &lines, Previous: previous}).DoRaw(limit)
				}))
			}
		}
		return out
	})...), nil
}

// restarted says whether a container has run before, so that there is an earlier log.
func restarted(p *corev1.Pod, container string) bool {
	return slices.ContainsFunc(slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses), func(s corev1.ContainerStatus) bool {
		return s.Name == container && s.RestartCount > 0
	})
}

// printVersions says of each program which version it is.
func printVersions(p *text.Page, c *objects.Cluster) {
	p.Printf("kubectl-causeway %s\nKubernetes %s\n\n", version.String(), c.Server)
	var rows [][]text.Cell
	for i := range c.SystemPods.Items {
		pod := &c.SystemPods.Items[i]
		ids := map[string]string{}
		for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			ids[s.Name] = s.ImageID
		}
		for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			rows = append(rows, text.Row(pod.Name, pod.Spec.NodeName, container.Name, container.Image, ids[container.Name]))
		}
	}
	p.Table([]string{"POD", "NODE", "CONTAINER", "IMAGE", "IMAGE ID"}, rows)
	rows = nil
	for i := range c.Nodes.Items {
		n := c.Nodes.Items[i].Status.NodeInfo
		rows = append(rows, text.Row(c.Nodes.Items[i].Name, n.KubeletVersion, n.ContainerRuntimeVersion, n.KernelVersion, n.OSImage))
	}
	p.Printf("\n")
	p.Table([]string{"NODE", "KUBELET", "RUNTIME", "KERNEL", "SYSTEM"}, rows)
}

// logTimeout is how long one log may take; a node that is down answers nothing.
const logTimeout = 15 * time.Second

func printed(name string, f func(p *text.Page)) bundle.File {
	var b bytes.Buffer
	f(text.NewPage(&b, false))
	return bundle.File{Name: name, Text: b.Bytes()}
}

// answer is what was read, or why it was not.
func answer(name string, read func() ([]byte, error)) bundle.File {
	out, err := read()
	if err != nil {
		return bundle.File{Name: name + ".missing", Text: []byte(err.Error() + "\n")}
	}
	return bundle.File{Name: name, Text: out}
}

// together asks for many things at once.
func together[T any](list []T, ask func(T) []bundle.File) []bundle.File {
	const atOnce = 16
	slots := make(chan struct{}, atOnce)
	var mu sync.Mutex
	var group sync.WaitGroup
	var out []bundle.File
	for _, item := range list {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			files := ask(item)
			mu.Lock()
			defer mu.Unlock()
			out = append(out, files...)
		})
	}
	group.Wait()
	return out
}
