package install

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
)

// fakePortmap answers VERSION as portmap does.
func fakePortmap(t *testing.T, folder, answer string) {
	t.Helper()
	script := "#!/bin/sh\n[ \"$CNI_COMMAND\" = VERSION ] || exit 1\necho '" + answer + "'\n"
	if err := os.WriteFile(filepath.Join(folder, "portmap"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestConflist(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, folder string)
		version string
		plugins []string
	}{
		{"no portmap", func(*testing.T, string) {}, "1.1.0", []string{"causeway"}},
		{"a portmap of today", func(t *testing.T, f string) {
			fakePortmap(t, f, `{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}`)
		}, "1.1.0", []string{"causeway", "portmap"}},
		{"an old portmap holds the chain at its own version", func(t *testing.T, f string) {
			fakePortmap(t, f, `{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}`)
		}, "1.0.0", []string{"causeway", "portmap"}},
		{"a portmap that can't be run here may be an old one", func(t *testing.T, f string) {
			if err := os.WriteFile(filepath.Join(f, "portmap"), []byte("\x7fELF"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "1.0.0", []string{"causeway", "portmap"}},
		{"a portmap that nobody may start", func(t *testing.T, f string) {
			if err := os.WriteFile(filepath.Join(f, "portmap"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "1.1.0", []string{"causeway"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := t.TempDir()
			c.prepare(t, folder)
			text := render(lookForPortmap(context.Background(), folder))
			list, err := libcni.NetworkConfFromBytes(text)
			if err != nil {
				t.Fatalf("libcni refuses it: %v\n%s", err, text)
			}
			var plugins []string
			for _, p := range list.Plugins {
				plugins = append(plugins, p.Network.Type)
			}
			if list.Name != "causeway" || list.CNIVersion != c.version || !slices.Equal(plugins, c.plugins) {
				t.Errorf("name %s, version %s, plugins %v; want version %s, plugins %v", list.Name, list.CNIVersion, plugins, c.version, c.plugins)
			}
			var raw struct{ CNIVersions []string }
			if err := json.Unmarshal(text, &raw); err != nil || !slices.Contains(raw.CNIVersions, c.version) || !slices.Contains(raw.CNIVersions, "0.4.0") {
				t.Errorf("cniVersions %v, %v", raw.CNIVersions, err)
			}
		})
	}
}

func TestAForeignConflistStays(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, ConflistFile)
	foreign := `{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"bridge"}]}`
	if err := os.WriteFile(path, []byte(foreign), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := removeConflist(folder); err == nil || !strings.Contains(err.Error(), "is not Causeway's") {
		t.Errorf("%v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != foreign {
		t.Errorf("%s, %v", text, err)
	}
}
