package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ours are the binaries of the image.
var ours = []string{"causeway", "causeway-agent", "causeway-controller", "causeway-speaker"}

type file struct {
	mode fs.FileMode
	text []byte
	link string
}

// content is what an image holds.
type content struct {
	files    map[string]file
	packages []deb
}

func (c *content) add(at string, mode fs.FileMode, text []byte) {
	c.files[at] = file{mode: mode, text: text}
}

// gather collects our binaries, and what the agent runs besides.
func gather(ctx context.Context, binaries, packages string) (*content, error) {
	names, err := filepath.Glob(filepath.Join(packages, "*.deb"))
	if err != nil {
		return nil, err
	}
	var debs []deb
	for _, name := range names {
		d, err := openDeb(ctx, name)
		if err != nil {
			return nil, err
		}
		debs = append(debs, d)
	}
	c := &content{}
	if c.files, c.packages, err = needed(debs); err != nil {
		return nil, err
	}
	for _, name := range ours {
		text, err := os.ReadFile(filepath.Join(binaries, name))
		if err != nil {
			return nil, fmt.Errorf("read a binary of ours: %w", err)
		}
		c.add("usr/local/bin/"+name, 0o755, text)
	}
	c.add("etc/passwd", 0o644, []byte("root:x:0:0:root:/:/sbin/nologin\ncauseway:x:65532:65532:causeway:/:/sbin/nologin\n"))
	c.add("etc/group", 0o644, []byte("root:x:0:\ncauseway:x:65532:\n"))
	// Runtimes name pods' network namespaces by either path.
	c.files["var/run"] = file{link: "/run"}
	return c, nil
}

// layer is a tar of all files in order, without anything of the machine or the moment that made it.
func (c *content) layer(o options) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{".": true}
	var folder func(at string) error
	folder = func(at string) error {
		if made[at] {
			return nil
		}
		made[at] = true
		if err := folder(path.Dir(at)); err != nil {
			return err
		}
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: at + "/", Mode: 0o755, ModTime: o.Created, Format: tar.FormatPAX})
	}
	for _, at := range slices.Sorted(maps.Keys(c.files)) {
		f := c.files[at]
		if err := folder(path.Dir(at)); err != nil {
			return nil, err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: at, Mode: int64(f.mode.Perm()), Size: int64(len(f.text)), ModTime: o.Created, Format: tar.FormatPAX}
		if f.link != "" {
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("write %s: %w", at, err)
		}
		if _, err := w.Write(f.text); err != nil {
			return nil, fmt.Errorf("write %s: %w", at, err)
		}
	}
	for _, at := range []string{"tmp", "run/causeway"} { // mount points, for a root file system that is read only
		if err := folder(at); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// image wraps the content as one layer.
func (c *content) image(o options, architecture string) (v1.Image, error) {
	text, err := c.layer(o)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("make the layer: %w", err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{Layer: layer, MediaType: types.OCILayer,
		History: v1.History{Created: v1.Time{Time: o.Created}, CreatedBy: "make image"}})
	if err != nil {
		return nil, fmt.Errorf("make the image: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("make the image: %w", err)
	}
	config = config.DeepCopy()
	config.Created, config.OS, config.Architecture = v1.Time{Time: o.Created}, "linux", architecture
	config.Config = v1.Config{
		Entrypoint: []string{"/usr/local/bin/causeway-controller"}, Env: []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, WorkingDir: "/",
		Labels: labels(o),
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, fmt.Errorf("make the image: %w", err)
	}
	return img, nil
}

func labels(o options) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "causeway",
		"org.opencontainers.image.description": "A pod network for Kubernetes: controller, node agent, BGP speaker and CNI plugin",
		"org.opencontainers.image.version":     o.Version,
		"org.opencontainers.image.revision":    o.Commit,
		"org.opencontainers.image.source":      "https://github.com/causeway-net/causeway",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.created":     o.Created.Format("2006-01-02T15:04:05Z"),
	}
}
