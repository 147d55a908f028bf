package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// inputs makes a folder of binaries, and of packages with this machine's nft, for one architecture each.
func inputs(t *testing.T) options {
	t.Helper()
	dir := t.TempDir()
	o := options{Binaries: dir + "/binaries", Packages: dir + "/packages", Architectures: []string{"amd64", "arm64"}, Name: "causeway", Version: "v1.2.3",
		Commit: "0123456789ab", Created: time.Unix(1700000000, 0).UTC(), Out: dir + "/image.tar"}
	binary := smallProgram(t)
	for _, architecture := range o.Architectures {
		for _, name := range ours {
			write(t, filepath.Join(o.Binaries, architecture, name), binary)
		}
		for _, name := range debian {
			files := map[string][]byte{"usr/share/doc/" + name + "/copyright": []byte("free")}
			if name == "nftables" {
				files[program] = binary
			}
			makeDeb(t, filepath.Join(o.Packages, architecture), name, architecture, files)
		}
	}
	return o
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
}

// smallProgram is a Go program that needs no library: it stands for ours and for nft.
func smallProgram(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, dir+"/main.go", []byte("package main\nfunc main() {}\n"))
	c := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/out", dir+"/main.go")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(dir + "/out")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func makeDeb(t *testing.T, folder, name, architecture string, files map[string][]byte) {
	t.Helper()
	root := t.TempDir()
	write(t, root+"/DEBIAN/control", []byte("Package: "+name+"\nVersion: 1.0\nArchitecture: "+architecture+"\nMaintainer: t <t@example.org>\nDescription: test\n"))
	for at, text := range files {
		write(t, filepath.Join(root, at), text)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "--build", root, filepath.Join(folder, name+".deb")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestTheSameInputsMakeTheSameImage(t *testing.T) {
	o := inputs(t)
	var archives [][]byte
	for i := range 2 {
		if err := build(context.Background(), o); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(o.Out)
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, text)
		// Neither the files' times nor the folder's order may show.
		later := time.Now().Add(time.Duration(i+1) * time.Hour)
		for _, name := range ours {
			if err := os.Chtimes(filepath.Join(o.Binaries, "amd64", name), later, later); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the second archive differs from the first")
	}
}

func TestWhatTheImageHolds(t *testing.T) {
	o := inputs(t)
	if err := build(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if out, err := exec.Command("tar", "-xf", o.Out, "-C", folder).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	top, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	outer, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if name := outer.Manifests[0].Annotations["io.containerd.image.name"]; name != "docker.io/library/causeway:v1.2.3" {
		t.Errorf("containerd would call it %q", name)
	}
	index, err := top.ImageIndex(outer.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range inner.Manifests {
		platforms = append(platforms, m.Platform.String())
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != m.Platform.Architecture || config.Config.Labels["org.opencontainers.image.version"] != "v1.2.3" || !config.Created.Equal(o.Created) {
			t.Errorf("%+v", config)
		}
		layers, err := img.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("%d layers, %v", len(layers), err)
		}
		stream, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		checkLayer(t, stream)
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("platforms: %v", platforms)
	}
}

func checkLayer(t *testing.T, stream io.Reader) {
	t.Helper()
	found := map[string][]byte{}
	for r := tar.NewReader(stream); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || strings.HasPrefix(h.Name, "/") {
			t.Errorf("%+v", h)
		}
		found[h.Name], _ = io.ReadAll(r)
	}
	for _, name := range []string{"usr/local/bin/causeway", "usr/local/bin/causeway-agent", "usr/local/bin/causeway-speaker", "usr/local/bin/causeway-controller",
		"usr/sbin/nft", "usr/share/doc/nftables/copyright", "run/causeway/", "tmp/", "var/run"} {
		if _, there := found[name]; !there {
			t.Errorf("%s is missing", name)
		}
	}
	for name := range found {
		if strings.Contains(name, "bin/sh") || strings.Contains(name, "libedit2") {
			t.Errorf("%s is there, and nothing needs it", name)
		}
	}
	var bill struct {
		SPDXVersion string `json:"spdxVersion"`
		Packages    []struct{ Name, SPDXID string }
	}
	if err := json.Unmarshal(found["usr/share/sbom/causeway.spdx.json"], &bill); err != nil || bill.SPDXVersion != "SPDX-2.3" {
		t.Fatalf("%+v, %v", bill, err)
	}
	names := map[string]bool{}
	for _, p := range bill.Packages {
		names[p.Name] = true
	}
	for _, name := range []string{"causeway-agent", "nftables", "stdlib"} {
		if !names[name] {
			t.Errorf("the list of contents lacks %s", name)
		}
	}
}

func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	o := inputs(t)
	o.Name, o.Push = strings.TrimPrefix(server.URL, "http://")+"/net/causeway", true
	if err := build(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(o.Name + ":v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(tag)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := index.IndexManifest(); err != nil || len(m.Manifests) != 2 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestALibraryThatNobodyHasIsNamed(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(nft)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = needed([]deb{{Name: "nftables", files: map[string]file{program: {mode: 0o755, text: text}}}})
	if err == nil || !strings.Contains(err.Error(), "no package has") && !strings.Contains(err.Error(), "none of the packages has") {
		t.Errorf("%v", err)
	}
}
