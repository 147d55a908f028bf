// Package cgroups gives the nodes of a cluster their control groups, in version 1's hierarchies or in version 2's, and
// takes them away again. Everything of a cluster lies in one group in each hierarchy, whose name holds the id of the
// process that the cluster ends with, so that whoever comes later can tell what is left of a dead one.
package cgroups

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	prefix = "causeway-cluster-"
	mounts = "/sys/fs/cgroup"
)

// Group is a control group by its path, the same in all hierarchies.
type Group string

// Of returns the group of the cluster that ends with a process.
func Of(pid int) Group { return Group("/" + prefix + strconv.Itoa(pid)) }

// Sub returns a group in this one.
func (g Group) Sub(name string) Group { return Group(filepath.Join(string(g), name)) }

// Make makes the group in every hierarchy, so that groups can be made in it.
func (g Group) Make() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		at := h.root
		for _, part := range strings.Split(strings.Trim(string(g), "/"), "/") {
			if h.unified {
				if err := delegate(at); err != nil {
					return err
				}
			}
			at = filepath.Join(at, part)
			if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make a control group: %w", err)
			}
			if err := inherit(at); err != nil {
				return err
			}
		}
		if h.unified {
			if err := delegate(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit gives a group of version 1 the processors and memory nodes of its parent: without them no process may enter.
func inherit(at string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := os.ReadFile(filepath.Join(at, file))
		if err != nil || len(bytes.TrimSpace(have)) > 0 {
			continue // another hierarchy, or set already
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(at), file))
		if err != nil || len(bytes.TrimSpace(text)) == 0 {
			continue // version 2 takes the parent's by itself
		}
		if err := os.WriteFile(filepath.Join(at, file), text, 0); err != nil {
			return fmt.Errorf("set up a control group: %w", err)
		}
	}
	return nil
}

// delegate hands the controllers of a group of version 2 on to the groups in it.
func delegate(at string) error {
	text, err := os.ReadFile(filepath.Join(at, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read which controllers there are: %w", err)
	}
	var words []string
	for _, c := range strings.Fields(string(text)) {
		words = append(words, "+"+c)
	}
	if err := os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte(strings.Join(words, " ")), 0); err != nil {
		return fmt.Errorf("hand the controllers of %s on (processes must not be in a control group that has others in it): %w", at, err)
	}
	return nil
}

// Remove removes the group and all in it. Their processes must have ended, or be ending.
func (g Group) Remove() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range all {
		errs = append(errs, removeTree(filepath.Join(h.root, string(g))))
	}
	return errors.Join(errs...)
}

// removeTree removes groups from the leaves up. A process that was killed may take a moment to leave its group.
func removeTree(at string) error {
	const patience = 10 * time.Second
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var dirs []string
		_ = filepath.WalkDir(at, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		err = nil
		for i := len(dirs) - 1; i >= 0; i-- {
			if e := syscall.Rmdir(dirs[i]); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = fmt.Errorf("remove the control group %s: %w", dirs[i], e)
			}
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// Sweep removes the groups of all clusters whose process has ended.
func Sweep() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range all {
		found, err := filepath.Glob(filepath.Join(h.root, prefix+"*"))
		if err != nil {
			return err
		}
		for _, at := range found {
			pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(at), prefix))
			if err != nil || syscall.Kill(pid, 0) == nil {
				continue
			}
			errs = append(errs, removeTree(at))
		}
	}
	return errors.Join(errs...)
}

type hierarchy struct {
	root    string
	unified bool // version 2, with controllers
}

// hierarchies are the mounts of control groups.
func hierarchies() ([]hierarchy, error) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("look for the hierarchies of control groups: %w", err)
	}
	var out []hierarchy
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[1], mounts) || (f[2] != "cgroup" && f[2] != "cgroup2") {
			continue
		}
		controllers, _ := os.ReadFile(filepath.Join(f[1], "cgroup.controllers"))
		out = append(out, hierarchy{root: f[1], unified: f[2] == "cgroup2" && len(bytes.TrimSpace(controllers)) > 0})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no control groups are mounted at %s, and a kubelet needs them", mounts)
	}
	return out, nil
}

// Version1 says whether controllers are in hierarchies of their own.
func Version1() (bool, error) {
	all, err := hierarchies()
	for _, h := range all {
		if h.unified {
			return false, err
		}
	}
	return true, err
}
