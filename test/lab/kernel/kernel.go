// Package kernel gets Debian's stock kernel and makes an initramfs for it, without installing anything. It needs the
// network once; what it makes is kept.
package kernel

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	_ "embed"
)

//go:embed init.sh
var initScript []byte

// Wanted are the modules that the guest may load, besides those they depend on.
var wanted = strings.Fields(`virtio_pci virtio_net virtio_rng 9p 9pnet_virtio overlay
	crc32c_generic crc32c_intel
	veth bridge dummy tun 8021q vrf ipip ip6_tunnel sit vxlan wireguard md5
	nf_tables nft_chain_nat nft_ct nft_masq nft_nat nft_redir nft_fib nft_fib_inet nft_fib_ipv4 nft_fib_ipv6 nft_limit nft_log
	nft_reject nft_reject_inet nft_compat nf_conntrack nf_conntrack_netlink nf_nat nfnetlink
	xt_comment xt_mark xt_addrtype xt_nat xt_conntrack xt_MASQUERADE xt_tcpudp xt_multiport
	sch_netem sch_ingress sch_tbf sch_fq_codel cls_u32 act_mirred ifb`)

// Ready says whether Make has done its work in a folder, with the modules and the script of today.
func Ready(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "made-for"))
	return err == nil && string(text) == recipe()
}

// recipe changes whenever the initramfs would.
func recipe() string {
	sum := sha256.Sum256(append([]byte(strings.Join(wanted, " ")), initScript...))
	return hex.EncodeToString(sum[:])
}

// Make downloads linux-image-amd64 and leaves vmlinuz and initramfs in dir.
func Make(ctx context.Context, dir string, log io.Writer) error {
	work, err := os.MkdirTemp("", "lab-kernel-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(work)
	// apt's own user downloads, if it may write here.
	if err := os.Chmod(work, 0o777); err != nil {
		return fmt.Errorf("open a folder: %w", err)
	}
	name, err := packageName(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "downloading %s\n", name)
	if err := run(ctx, work, "apt-get", "download", "-qq", name); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return errors.Join(fmt.Errorf("apt-get download left %d packages, not one", len(debs)), err)
	}
	fmt.Fprintf(log, "unpacking it into %s\n", dir)
	tree := filepath.Join(work, "tree")
	if err := run(ctx, work, "dpkg-deb", "-x", debs[0], tree); err != nil {
		return err
	}
	release := strings.TrimPrefix(name, "linux-image-")
	if err := run(ctx, work, "depmod", "-b", tree, release); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	if err := writeInitramfs(filepath.Join(dir, "initramfs"), tree, release); err != nil {
		return err
	}
	vmlinuz, err := os.ReadFile(filepath.Join(tree, "boot", "vmlinuz-"+release))
	if err != nil {
		return fmt.Errorf("find the kernel in the package: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "vmlinuz"), vmlinuz, 0o644); err != nil {
		return fmt.Errorf("keep the kernel: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "made-for"), []byte(recipe()), 0o644)
}

var dependency = regexp.MustCompile(`Depends: (linux-image-\S+)`)

func packageName(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", "linux-image-amd64").Output()
	if err != nil {
		return "", fmt.Errorf("look for Debian's kernel (is this Debian on amd64, with package lists?): %w", err)
	}
	m := dependency.FindSubmatch(out)
	if m == nil {
		return "", errors.New("linux-image-amd64 is not known: run apt-get update first")
	}
	return string(m[1]), nil
}

func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func writeInitramfs(path, tree, release string) error {
	var text bytes.Buffer
	zip := gzip.NewWriter(&text)
	a := &archive{w: zip}
	for _, dir := range []string{"bin", "dev", "proc", "sys", "host", "rw", "new", "lib", "lib/modules", "lib/modules/" + release} {
		a.dir(dir)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("find busybox: install busybox-static: %w", err)
	}
	a.file("bin/busybox", 0o755, busybox)
	a.file("init", 0o755, initScript)
	base := filepath.Join(tree, "lib", "modules", release)
	files, index, err := modules(base)
	if err != nil {
		return err
	}
	made := map[string]bool{}
	for _, file := range files {
		for _, parent := range parents(file) {
			if !made[parent] {
				a.dir("lib/modules/" + release + "/" + parent)
				made[parent] = true
			}
		}
		body, err := os.ReadFile(filepath.Join(base, file))
		if err != nil {
			return fmt.Errorf("read a module: %w", err)
		}
		a.file("lib/modules/"+release+"/"+file, 0o644, body)
	}
	a.file("lib/modules/"+release+"/modules.dep", 0o644, []byte(index))
	// busybox reads the texts, kmod the binary indexes.
	for _, name := range []string{"modules.alias", "modules.builtin", "modules.order", "modules.builtin.modinfo", "modules.softdep",
		"modules.dep.bin", "modules.alias.bin", "modules.symbols.bin", "modules.builtin.bin", "modules.builtin.alias.bin"} {
		if body, err := os.ReadFile(filepath.Join(base, name)); err == nil {
			a.file("lib/modules/"+release+"/"+name, 0o644, body)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read the modules' index: %w", err)
		}
	}
	a.end()
	if err := errors.Join(a.err, zip.Close()); err != nil {
		return fmt.Errorf("write the initramfs: %w", err)
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

// modules returns the files of the wanted modules and of what they depend on, and the part of modules.dep about them.
func modules(base string) (files []string, index string, err error) {
	text, err := os.ReadFile(filepath.Join(base, "modules.dep"))
	if err != nil {
		return nil, "", fmt.Errorf("read the modules' dependencies: %w", err)
	}
	lines, byName := map[string]string{}, map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		if file, _, ok := strings.Cut(line, ":"); ok {
			lines[file] = line
			byName[moduleName(file)] = file
		}
	}
	taken := map[string]bool{}
	var take func(file string)
	take = func(file string) {
		if taken[file] {
			return
		}
		taken[file] = true
		_, needs, _ := strings.Cut(lines[file], ":")
		for _, need := range strings.Fields(needs) {
			take(need)
		}
		files = append(files, file)
		index += lines[file] + "\n"
	}
	for _, name := range wanted {
		// What is missing is built in, or has gone from newer kernels; whoever needs it says so.
		if file := byName[moduleName(name)]; file != "" {
			take(file)
		}
	}
	return files, index, nil
}

func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}

func parents(file string) []string {
	var out []string
	for dir := filepath.Dir(file); dir != "."; dir = filepath.Dir(dir) {
		out = append([]string{dir}, out...)
	}
	return out
}
