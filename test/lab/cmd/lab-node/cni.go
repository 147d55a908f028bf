package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// cni does for a sandbox what a container runtime does: it makes or deletes the network namespace and calls the plugins
// of a configuration by the CNI project's own library.
func cni(args []string) error {
	f := flag.NewFlagSet("cni", flag.ContinueOnError)
	confDir := f.String("conf-dir", "/etc/cni/net.d", "folder of the network configurations; the first one counts")
	path := f.String("path", os.Getenv("CNI_PATH"), "folders of the plugins, split by colons")
	id := f.String("id", "", "container id")
	ns := f.String("netns", "", "name of the network namespace")
	ifname := f.String("ifname", "eth0", "name of the interface")
	cniArgs := f.String("args", "", "CNI_ARGS: K=V;K=V")
	annotations := f.String("pod-annotations", "{}", "JSON object that the capability io.kubernetes.cri.pod-annotations passes on")
	keep := f.Bool("keep-netns", false, "make or delete no network namespace")
	patience := f.Duration("patience", 2*time.Minute, "how long the call may take")
	valid := f.String("valid", "", "for gc: container ids that are still there, split by commas")
	if len(args) == 0 {
		return fmt.Errorf("say what to do: add, del, check, gc, status")
	}
	verb := args[0]
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *patience)
	defer cancel()
	conf, err := firstConfig(*confDir)
	if err != nil {
		return err
	}
	library := libcni.NewCNIConfigWithCacheDir(filepath.SplitList(*path), "/run/cni/cache", nil)
	rt := &libcni.RuntimeConf{ContainerID: *id, IfName: *ifname, Args: pairs(*cniArgs)}
	passed := map[string]string{}
	if err := json.Unmarshal([]byte(*annotations), &passed); err != nil {
		return fmt.Errorf("read --pod-annotations: %w", err)
	}
	if len(passed) > 0 {
		rt.CapabilityArgs = map[string]any{"io.kubernetes.cri.pod-annotations": passed}
	}
	if *ns != "" {
		rt.NetNS = "/var/run/netns/" + *ns
	}
	switch verb {
	case "add":
		if !*keep {
			if err := makeNamespace(*ns); err != nil {
				return err
			}
		}
		result, err := library.AddNetworkList(ctx, conf, rt)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(result)
	case "del":
		if err := library.DelNetworkList(ctx, conf, rt); err != nil || *keep || *ns == "" {
			return err
		}
		if err := netns.DeleteNamed(*ns); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("delete network namespace %s: %w", *ns, err)
		}
		return nil
	case "check":
		return library.CheckNetworkList(ctx, conf, rt)
	case "status":
		return library.GetStatusNetworkList(ctx, conf)
	case "gc":
		return library.GCNetworkList(ctx, conf, &libcni.GCArgs{ValidAttachments: attachments(*valid, *ifname)})
	}
	return fmt.Errorf("%q is not one of add, del, check, gc and status", verb)
}

func firstConfig(dir string) (*libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(dir, []string{".conflist"})
	if err != nil {
		return nil, fmt.Errorf("look into %s: %w", dir, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no .conflist: %w", dir, fs.ErrNotExist)
	}
	return libcni.NetworkConfFromFile(files[0])
}

func pairs(text string) [][2]string {
	var out [][2]string
	for _, kv := range strings.Split(text, ";") {
		if k, v, ok := strings.Cut(kv, "="); ok {
			out = append(out, [2]string{k, v})
		}
	}
	return out
}

func attachments(ids, ifname string) []types.GCAttachment {
	var out []types.GCAttachment
	for _, id := range strings.Split(ids, ",") {
		if id != "" {
			out = append(out, types.GCAttachment{ContainerID: id, IfName: ifname})
		}
	}
	return out
}

// makeNamespace makes a named network namespace with its loopback up, as a runtime does. One that exists is kept.
func makeNamespace(name string) error {
	if _, err := os.Stat("/run/netns/" + name); err == nil {
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	if err != nil {
		return fmt.Errorf("find the own network namespace: %w", err)
	}
	defer own.Close()
	made, err := netns.NewNamed(name)
	if err != nil {
		return fmt.Errorf("make network namespace %s: %w", name, err)
	}
	defer made.Close()
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up in %s: %w", name, err)
	}
	if err := netns.Set(own); err != nil {
		return fmt.Errorf("go back to the own network namespace: %w", err)
	}
	return nil
}
