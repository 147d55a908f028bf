package main

import (
	"archive/tar"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

type platformImage struct {
	image    v1.Image
	platform v1.Platform
}

// join makes one image of those for each platform.
func join(images []platformImage) v1.ImageIndex {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, i := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: i.image, Descriptor: v1.Descriptor{Platform: &i.platform}})
	}
	return index
}

// push sends the image to a registry, with the credentials that docker login and its like have left.
func push(ctx context.Context, o options, index v1.ImageIndex) error {
	tag, err := name.NewTag(o.Name + ":" + o.Version)
	if err != nil {
		return fmt.Errorf("push the image: %w", err)
	}
	if err := remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push the image to %s: %w", tag, err)
	}
	return nil
}

// archive writes one OCI archive for all platforms and returns the digest that it is known by.
func archive(o options, index v1.ImageIndex) (v1.Hash, error) {
	folder, err := os.MkdirTemp(filepath.Dir(o.Out), ".image-")
	if err != nil {
		return v1.Hash{}, fmt.Errorf("make a folder for the image: %w", err)
	}
	defer os.RemoveAll(folder) //nolint:errcheck // it only costs room
	written, err := layout.Write(folder, mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	if err != nil {
		return v1.Hash{}, fmt.Errorf("write the image: %w", err)
	}
	// containerd names an imported image by the first annotation, other tools by the second.
	err = written.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name": fullName(o.Name) + ":" + o.Version, "org.opencontainers.image.ref.name": o.Version,
	}))
	if err != nil {
		return v1.Hash{}, fmt.Errorf("write the image: %w", err)
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	return digest, pack(o, folder)
}

// fullName is how Kubernetes calls an image that names no registry.
func fullName(short string) string {
	first, _, deep := strings.Cut(short, "/")
	switch {
	case deep && strings.ContainsAny(first, ".:"):
		return short
	case deep:
		return "docker.io/" + short
	}
	return "docker.io/library/" + short
}

// pack puts the folder into a tar, in the order of its names.
func pack(o options, folder string) error {
	out, err := os.CreateTemp(filepath.Dir(o.Out), ".image-*.tar")
	if err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	defer os.Remove(out.Name()) //nolint:errcheck // it is renamed when it is whole
	w := tar.NewWriter(out)
	err = filepath.WalkDir(folder, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(folder, at)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: inside, Mode: 0o644, Size: int64(len(text)), ModTime: o.Created, Format: tar.FormatPAX}); err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	})
	if err == nil {
		err = w.Close()
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Chmod(out.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(out.Name(), o.Out)
	}
	if err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	return nil
}
