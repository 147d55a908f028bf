// Images writes a docker archive with one image: programs in a layer of their own, and what they need of this machine's
// libraries. It makes the images of the cluster, which has no registry.
package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	out := flag.String("out", "", "the archive to write")
	tag := flag.String("name", "", "the image's name with its tag")
	entrypoint := flag.String("entrypoint", "", "the program that a container runs, with its arguments")
	arguments := flag.String("arguments", "", "further arguments of the program, which a container's own replace")
	links := flag.String("busybox", "", "names, separated by commas, that busybox has")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "images -out FILE -name NAME:TAG -entrypoint PROGRAM [-busybox sh,nc] FILE=/where/it/goes ...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(*out, *tag, v1.Config{Entrypoint: strings.Fields(*entrypoint), Cmd: strings.Fields(*arguments)}, strings.Split(*links, ","), flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "write the image %s: %v\n", *tag, err)
		os.Exit(1)
	}
}

func run(out, tag string, config v1.Config, links, files []string) error {
	ref, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	content := &layer{seen: map[string]bool{}}
	content.w = tar.NewWriter(&content.buffer)
	for _, f := range files {
		from, to, ok := strings.Cut(f, "=")
		if !ok {
			return fmt.Errorf("%s does not say where the file goes", f)
		}
		if err := content.program(from, to); err != nil {
			return err
		}
	}
	for _, l := range links {
		if l != "" {
			if err := content.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + l, Linkname: "/bin/busybox", Mode: 0o777}, nil); err != nil {
				return err
			}
		}
	}
	if err := content.add(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil); err != nil {
		return err
	}
	if err := content.w.Close(); err != nil {
		return err
	}
	made, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.buffer.Bytes())), nil })
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, made)
	if err != nil {
		return err
	}
	config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux", RootFS: mustRootFS(image), Config: config})
	if err != nil {
		return err
	}
	return tarball.WriteToFile(out, ref, image)
}

func mustRootFS(i v1.Image) v1.RootFS {
	c, err := i.ConfigFile()
	if err != nil {
		panic(err) // the image is in memory
	}
	return c.RootFS
}

type layer struct {
	buffer bytes.Buffer
	w      *tar.Writer
	seen   map[string]bool
}

func (l *layer) add(h *tar.Header, content []byte) error {
	if l.seen[h.Name] {
		return nil
	}
	l.seen[h.Name] = true
	if dir := path.Dir(strings.TrimSuffix(h.Name, "/")); dir != "." {
		if err := l.add(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, nil); err != nil {
			return err
		}
	}
	h.Size = int64(len(content))
	if err := l.w.WriteHeader(h); err != nil {
		return err
	}
	_, err := l.w.Write(content)
	return err
}

// program adds a file, and the libraries that it is linked with.
func (l *layer) program(from, to string) error {
	libraries, err := linkedWith(from)
	if err != nil {
		return err
	}
	for _, f := range append([]string{from + "=" + to}, libraries...) {
		from, to, _ := strings.Cut(f, "=")
		content, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := l.add(&tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(to, "/"), Mode: 0o755}, content); err != nil {
			return err
		}
	}
	return nil
}

var library = regexp.MustCompile(`(?m)(/\S+) \(0x[0-9a-f]+\)$`)

// linkedWith asks the dynamic linker for a program's libraries.
func linkedWith(file string) ([]string, error) {
	f, err := elf.Open(file)
	if bad := (*elf.FormatError)(nil); errors.As(err, &bad) {
		return nil, nil // a script, or data
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return nil, nil
	}
	text, err := exec.Command("ldd", file).Output()
	if err != nil {
		return nil, fmt.Errorf("ask which libraries %s is linked with: %w", file, err)
	}
	var out []string
	for _, m := range library.FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1]+"="+filepath.Clean(m[1]))
	}
	return out, nil
}
