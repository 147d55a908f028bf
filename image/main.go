// Command image builds Causeway's container image without Docker and without a registry: our static binaries, and of Debian
// the program nft with the libraries that it needs, nothing else. The same sources and the same packages make the same
// digest. The result is an OCI archive for all platforms, with a list of what is in it (SPDX) inside and beside.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// options are what an image is made from.
type options struct {
	// Binaries has a folder with our binaries for each architecture.
	Binaries string
	// Packages has a folder with Debian's packages for each architecture; they are fetched if it is empty.
	Packages      string
	Architectures []string
	Name          string
	Version       string
	Commit        string
	Created       time.Time
	Out           string
	// Push sends the image to the registry that its name says.
	Push bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o options
	var architectures string
	var created int64
	flag.StringVar(&o.Binaries, "binaries", "", "folder with a folder of our binaries for each architecture")
	flag.StringVar(&o.Packages, "packages", "", "folder for Debian's packages; what is there is not fetched again")
	flag.StringVar(&architectures, "architectures", "amd64,arm64", "architectures of the image")
	flag.StringVar(&o.Name, "name", "causeway", "the image's name")
	flag.StringVar(&o.Version, "version", "", "the image's tag")
	flag.StringVar(&o.Commit, "commit", "", "the commit that is built")
	flag.Int64Var(&created, "created", 0, "time of the commit, in seconds since 1970; all files have it")
	flag.StringVar(&o.Out, "out", "", "the archive to write")
	flag.BoolVar(&o.Push, "push", false, "send the image to the registry in its name")
	flag.Parse()
	o.Architectures, o.Created = strings.Split(architectures, ","), time.Unix(created, 0).UTC()
	for name, value := range map[string]string{"binaries": o.Binaries, "packages": o.Packages, "version": o.Version, "out": o.Out} {
		if value == "" {
			return fmt.Errorf("--%s is missing", name)
		}
	}
	return build(ctx, o)
}

func build(ctx context.Context, o options) error {
	var images []platformImage
	for _, architecture := range o.Architectures {
		folder := filepath.Join(o.Packages, architecture)
		if err := fetch(ctx, folder, architecture); err != nil {
			return err
		}
		content, err := gather(ctx, filepath.Join(o.Binaries, architecture), folder)
		if err != nil {
			return fmt.Errorf("image for %s: %w", architecture, err)
		}
		bill, err := content.bill(o, architecture)
		if err != nil {
			return err
		}
		content.add("usr/share/sbom/causeway.spdx.json", 0o644, bill)
		if err := os.WriteFile(strings.TrimSuffix(o.Out, ".tar")+"-"+architecture+".spdx.json", bill, 0o644); err != nil {
			return fmt.Errorf("write the list of contents: %w", err)
		}
		img, err := content.image(o, architecture)
		if err != nil {
			return err
		}
		images = append(images, platformImage{img, v1.Platform{OS: "linux", Architecture: architecture}})
	}
	index := join(images)
	digest, err := archive(o, index)
	if err != nil {
		return err
	}
	if o.Push {
		if err := push(ctx, o, index); err != nil {
			return err
		}
	}
	info, err := os.Stat(o.Out)
	if err != nil {
		return err
	}
	fmt.Printf("%s:%s %s (%s, %.1f MB for %s)\n", o.Name, o.Version, digest, o.Out, float64(info.Size())/1e6, strings.Join(o.Architectures, " and "))
	return nil
}
