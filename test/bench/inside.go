package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/causeway-net/causeway/node-agent/datapath/names"
)

// insideVerb is the first argument of this program where it runs on a node.
const insideVerb = "inside"

// plugin is a CNI plugin to call.
type plugin struct {
	Path   string `json:"path"`
	Config string `json:"config"`
	// Links is true where a DEL leaves the link to be deleted later: the next batch then waits until it is gone, so
	// that nobody's call pays for another's.
	Links bool `json:"links"`
}

// task is what to do on a node: Count pods for each of the plugins, which take turns after every Batch pods. AtOnce says
// that a batch's calls run at once, not one after the other.
type task struct {
	Plugins []plugin `json:"plugins"`
	Verbs   []string `json:"verbs"`
	Name    string   `json:"name"`
	Count   int      `json:"count"`
	Batch   int      `json:"batch"`
	AtOnce  bool     `json:"atOnce"`
	// Together says that each batch's calls of all verbs are made before the next batch's; else all calls of a verb come
	// before those of the next.
	Together bool `json:"together"`
	// Pause is the time before each call.
	Pause time.Duration `json:"pause"`
	// KeepNetns leaves the network namespaces; Reuse takes those of an earlier task of this name.
	KeepNetns bool   `json:"keepNetns"`
	Reuse     bool   `json:"reuse"`
	Path      string `json:"path"`
}

// times are the durations of one plugin's calls by verb, those of whole batches, and how long after a batch's last DEL its
// links were gone.
type times struct {
	Calls   map[string][]time.Duration `json:"calls"`
	Batches map[string][]time.Duration `json:"batches"`
	Gone    []time.Duration            `json:"gone"`
}

// inside runs a task on a node, as a container runtime would, and prints the times of each plugin.
func inside(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "routes":
		return watchRoutes(args[1])
	case len(args) == 1 && args[0] == "echo":
		return echo()
	case len(args) == 3 && args[0] == "ask":
		return askEcho(args[1], args[2])
	}
	var t task
	if err := json.NewDecoder(os.Stdin).Decode(&t); err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	out := make([]times, len(t.Plugins))
	for i := range out {
		out[i] = times{Calls: map[string][]time.Duration{}, Batches: map[string][]time.Duration{}}
	}
	groups := make([][][]sandbox, len(t.Plugins)) // by plugin and batch
	for i := range t.Plugins {
		for b := range (t.Count + t.Batch - 1) / t.Batch {
			var group []sandbox
			for j := range min(t.Batch, t.Count-b*t.Batch) {
				s := newSandbox(t.Name, i, b*t.Batch+j)
				if !t.Reuse {
					if err := s.make(); err != nil {
						return err
					}
				}
				group = append(group, s)
			}
			groups[i] = append(groups[i], group)
		}
	}
	rounds := [][]string{t.Verbs}
	if !t.Together {
		rounds = nil
		for _, verb := range t.Verbs {
			rounds = append(rounds, []string{verb})
		}
	}
	for _, verbs := range rounds {
		for b := range groups[0] {
			for k := range t.Plugins {
				i := (k + b) % len(t.Plugins) // nobody is always first
				for _, verb := range verbs {
					if err := batch(t, verb, i, groups[i][b], &out[i]); err != nil {
						return err
					}
				}
			}
		}
	}
	if !t.KeepNetns {
		for _, g := range groups {
			for _, batch := range g {
				for _, s := range batch {
					if err := s.remove(); err != nil {
						return err
					}
				}
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// batch makes one call for each of the sandboxes.
func batch(t task, verb string, i int, group []sandbox, out *times) error {
	p := t.Plugins[i]
	took := make([]time.Duration, len(group))
	errs := make([]error, len(group))
	var calls sync.WaitGroup
	begin := time.Now()
	for j, s := range group {
		time.Sleep(t.Pause)
		calls.Go(func() { took[j], errs[j] = s.call(p, t.Path, verb) })
		if !t.AtOnce {
			calls.Wait()
		}
	}
	calls.Wait()
	out.Batches[verb] = append(out.Batches[verb], time.Since(begin))
	out.Calls[verb] = append(out.Calls[verb], took...)
	if err := errors.Join(errs...); err != nil || verb != "DEL" || !p.Links {
		return err
	}
	end := time.Now()
	for _, s := range group {
		if err := s.waitGone(); err != nil {
			return err
		}
	}
	out.Gone = append(out.Gone, time.Since(end))
	return nil
}

// sandbox is a pod's network namespace.
type sandbox struct{ id, netns, pod string }

func newSandbox(name string, plugin, number int) sandbox {
	id := fmt.Sprintf("%s-%d-%d", name, plugin, number)
	return sandbox{id: fmt.Sprintf("%s-%064x", id, number)[:64], netns: id, pod: id}
}

func (s sandbox) call(p plugin, path, verb string) (time.Duration, error) {
	cmd := exec.Command(p.Path)
	cmd.Stdin = bytes.NewReader([]byte(p.Config))
	cmd.Env = []string{
		"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + s.id, "CNI_NETNS=/run/netns/" + s.netns, "CNI_IFNAME=eth0", "CNI_PATH=" + path,
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + s.pod + ";K8S_POD_INFRA_CONTAINER_ID=" + s.id,
		"PATH=" + os.Getenv("PATH"),
	}
	begin := time.Now()
	answer, err := cmd.Output()
	took := time.Since(begin)
	if err != nil {
		return took, fmt.Errorf("%s of %s by %s: %w: %s", verb, s.pod, p.Path, err, answer)
	}
	return took, nil
}

func (s sandbox) waitGone() error {
	link := "/proc/sys/net/ipv4/conf/" + names.HostInterface(s.id, "eth0")
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(link); err != nil {
			return nil
		}
	}
	return fmt.Errorf("the link of %s is still there 20 s after its DEL", s.pod)
}

func (s sandbox) make() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	if err != nil {
		return fmt.Errorf("find the own network namespace: %w", err)
	}
	defer own.Close() //nolint:errcheck // only read
	made, err := netns.NewNamed(s.netns)
	if err != nil {
		return fmt.Errorf("make network namespace %s: %w", s.netns, err)
	}
	defer made.Close() //nolint:errcheck // the name keeps it
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up in %s: %w", s.netns, err)
	}
	return netns.Set(own)
}

func (s sandbox) remove() error { return netns.DeleteNamed(s.netns) }
