package main

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// debian are nft and the packages of the libraries that it needs. The closure over the libraries checks that none is missing.
var debian = []string{"nftables", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libgmp10", "libedit2", "libbsd0", "libmd0",
	"libtinfo6", "libxtables12", "libc6"}

// program is what the agent runs.
const program = "usr/sbin/nft"

// fetch downloads the packages as apt would install them now, for any architecture, and leaves this machine's apt alone.
func fetch(ctx context.Context, folder, architecture string) error {
	if have, err := filepath.Glob(filepath.Join(folder, "*.deb")); err != nil || len(have) >= len(debian) {
		return err
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	state := filepath.Join(folder, "apt")
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(state, d), 0o755); err != nil {
			return fmt.Errorf("make a folder for apt: %w", err)
		}
	}
	defer os.RemoveAll(state) //nolint:errcheck // it only costs room
	if err := os.WriteFile(filepath.Join(state, "status"), nil, 0o644); err != nil {
		return fmt.Errorf("make a folder for apt: %w", err)
	}
	settings := []string{"-qq", "-o", "APT::Architecture=" + architecture, "-o", "APT::Architectures=" + architecture, "-o", "Dir::State=" + state,
		"-o", "Dir::State::status=" + state + "/status", "-o", "Dir::Cache=" + state + "/cache", "-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=root"}
	for _, verb := range [][]string{{"update"}, append([]string{"download"}, debian...)} {
		c := exec.CommandContext(ctx, "apt-get", append(settings, verb...)...)
		c.Dir = folder
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s for %s: %w: %s", verb[0], architecture, err, out)
		}
	}
	return nil
}

// deb is one of Debian's packages.
type deb struct {
	Name, Version, Architecture, Source string
	files                               map[string]file
}

func openDeb(ctx context.Context, name string) (deb, error) {
	out, err := exec.CommandContext(ctx, "dpkg-deb", "--show", "--showformat", "${Package}\n${Version}\n${Architecture}\n${source:Package}\n", name).Output()
	if err != nil {
		return deb{}, fmt.Errorf("read package %s: %w", name, err)
	}
	fields := strings.Split(string(out), "\n")
	if len(fields) < 4 {
		return deb{}, fmt.Errorf("package %s says of itself: %q", name, out)
	}
	d := deb{Name: fields[0], Version: fields[1], Architecture: fields[2], Source: fields[3], files: map[string]file{}}
	stream, err := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", name).Output()
	if err != nil {
		return deb{}, fmt.Errorf("unpack package %s: %w", name, err)
	}
	for reader := tar.NewReader(bytes.NewReader(stream)); ; {
		h, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return d, nil
		}
		if err != nil {
			return deb{}, fmt.Errorf("unpack package %s: %w", name, err)
		}
		at := strings.TrimPrefix(path.Clean(h.Name), "/")
		switch h.Typeflag {
		case tar.TypeReg:
			text, err := io.ReadAll(reader)
			if err != nil {
				return deb{}, fmt.Errorf("unpack package %s: %w", name, err)
			}
			d.files[at] = file{mode: h.FileInfo().Mode().Perm(), text: text}
		case tar.TypeSymlink:
			d.files[at] = file{link: h.Linkname}
		}
	}
}

// needed returns, from some packages, the program, all libraries that it needs, the loader, and the packages' licenses.
func needed(debs []deb) (map[string]file, []deb, error) {
	all, owner := map[string]file{}, map[string]int{}
	for i, d := range debs {
		for at, f := range d.files {
			all[at], owner[at] = f, i
		}
	}
	taken, used := map[string]file{}, map[int]bool{}
	var take func(at string) error
	take = func(at string) error {
		f, there := all[at]
		if _, done := taken[at]; done || !there {
			if !there {
				return fmt.Errorf("no package has %s", at)
			}
			return nil
		}
		taken[at], used[owner[at]] = f, true
		if f.link != "" {
			if path.IsAbs(f.link) {
				return take(strings.TrimPrefix(f.link, "/"))
			}
			return take(path.Join(path.Dir(at), f.link))
		}
		libraries, loader, err := imports(f.text)
		if err != nil {
			return fmt.Errorf("read %s: %w", at, err)
		}
		if loader != "" {
			if err := take(strings.TrimPrefix(loader, "/")); err != nil {
				return err
			}
		}
		for _, name := range libraries {
			found, err := locate(all, name)
			if err != nil {
				return fmt.Errorf("%s needs %w", at, err)
			}
			if err := take(found); err != nil {
				return err
			}
		}
		return nil
	}
	if err := take(program); err != nil {
		return nil, nil, err
	}
	var from []deb
	for i, d := range debs {
		if !used[i] {
			continue
		}
		from = append(from, d)
		license := "usr/share/doc/" + d.Name + "/copyright"
		if f, there := all[license]; there && f.link == "" {
			taken[license] = f
		}
	}
	slices.SortFunc(from, func(a, b deb) int { return strings.Compare(a.Name, b.Name) })
	return taken, from, nil
}

func locate(all map[string]file, library string) (string, error) {
	var found []string
	for at := range all {
		if path.Base(at) == library && (strings.HasPrefix(at, "lib/") || strings.HasPrefix(at, "usr/lib/")) {
			found = append(found, at)
		}
	}
	slices.Sort(found)
	if len(found) == 0 {
		return "", fmt.Errorf("%s, which none of the packages has; add its package to the list", library)
	}
	return found[0], nil
}

// imports reads which libraries and which loader an ELF file asks for.
func imports(text []byte) (libraries []string, loader string, err error) {
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return nil, "", err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, "", err
			}
			loader = string(bytes.TrimRight(name, "\x00"))
		}
	}
	libraries, err = f.ImportedLibraries()
	return libraries, loader, err
}
