package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
)

const (
	// ConflistFile is the configuration's name in the runtime's folder. Runtimes take the first in alphabetical order.
	ConflistFile = "10-causeway.conflist"
	// PluginFile is the CNI plugin's name in the runtime's folder.
	PluginFile = "causeway"

	portmapFile = "portmap"
	network     = "causeway"
	// askPatience is how long another plugin may take to say which versions of CNI it speaks.
	askPatience = 5 * time.Second
)

// chained says what is known of the portmap plugin of a node.
type chained int

const (
	portmapAbsent chained = iota
	portmapOld            // it does not speak CNI 1.1.0, or can't be asked
	portmapNew
)

type conflist struct {
	CNIVersion  string   `json:"cniVersion"`
	CNIVersions []string `json:"cniVersions,omitempty"`
	Name        string   `json:"name"`
	Plugins     []plugin `json:"plugins"`
}

type plugin struct {
	Type         string          `json:"type"`
	Capabilities map[string]bool `json:"capabilities,omitempty"`
}

// render returns the configuration. Runtimes call STATUS and GC from version 1.1.0 on. A chain can't have a newer version
// than any of its plugins, and host ports matter more to a pod than these two calls, so an old portmap keeps it at 1.0.0.
func render(portmap chained) []byte {
	c := conflist{CNIVersion: "1.1.0", CNIVersions: []string{"0.4.0", "1.0.0", "1.1.0"}, Name: network, Plugins: []plugin{
		{Type: PluginFile, Capabilities: map[string]bool{"ips": true, "mac": true, "io.kubernetes.cri.pod-annotations": true}},
	}}
	if portmap != portmapAbsent {
		c.Plugins = append(c.Plugins, plugin{Type: portmapFile, Capabilities: map[string]bool{"portMappings": true}})
	}
	if portmap == portmapOld {
		c.CNIVersion, c.CNIVersions = "1.0.0", []string{"0.4.0", "1.0.0"}
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		panic("the CNI configuration is made of strings: " + err.Error())
	}
	return append(text, '\n')
}

// lookForPortmap looks for the plugin and asks for its versions.
func lookForPortmap(ctx context.Context, folder string) chained {
	path := filepath.Join(folder, portmapFile)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return portmapAbsent
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	info, err := invoke.GetVersionInfo(ctx, path, nil)
	if err != nil || !slices.Contains(info.SupportedVersions(), "1.1.0") {
		return portmapOld
	}
	return portmapNew
}

// ours says whether a configuration is Causeway's: only then is it replaced or removed.
func ours(text []byte) bool {
	var c conflist
	return json.Unmarshal(text, &c) == nil && len(c.Plugins) > 0 && c.Plugins[0].Type == PluginFile
}

// writeConflist writes the configuration if it is not there as it should be. It reports whether it has changed anything.
func writeConflist(folder string, text []byte) (changed bool, err error) {
	path := filepath.Join(folder, ConflistFile)
	have, err := os.ReadFile(path)
	switch {
	case err == nil && string(have) == string(text):
		return false, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("read the CNI configuration: %w", err)
	}
	return true, replace(path, 0o644, func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}

// removeConflist removes the configuration if it is ours.
func removeConflist(folder string) error {
	path := filepath.Join(folder, ConflistFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the CNI configuration: %w", err)
	}
	if !ours(text) {
		return fmt.Errorf("%s is not Causeway's (its first plugin is another one), so it stays; remove it by hand if nothing needs it", path)
	}
	return remove(path)
}
