package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// hold makes the namespaces that it was started in those of a node, and stays. What goes wrong is written to descriptor
// 3; that descriptor closes when all is ready.
func hold(args []string) error {
	report := os.NewFile(3, "report")
	if len(args) != 1 || report == nil {
		return errors.New("hold needs the node's name, and descriptor 3 to report on")
	}
	syscall.CloseOnExec(3)
	err := prepare(args[0])
	if err == nil {
		var sleep string
		if sleep, err = exec.LookPath("sleep"); err == nil {
			err = syscall.Exec(sleep, []string{"node-" + args[0], "infinity"}, os.Environ())
		}
	}
	fmt.Fprint(report, err)
	return err
}

// prepare gives the node a /run, /sys and /etc of its own, so that paths are the same as on a real one.
func prepare(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set the hostname: %w", err)
	}
	steps := []struct {
		source, target, kind, data string
		flags                      uintptr
	}{
		{"none", "/", "", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"tmpfs", "/run", "tmpfs", "mode=755", 0},
		{"sysfs", "/sys", "sysfs", "", 0},
		{"overlay", "/etc", "overlay", "lowerdir=/etc,upperdir=/run/.lab/etc,workdir=/run/.lab/work", 0},
	}
	for _, s := range steps {
		if err := syscall.Mount(s.source, s.target, s.kind, s.flags, s.data); err != nil {
			return fmt.Errorf("mount %s: %w", s.target, err)
		}
		if s.target != "/run" {
			continue
		}
		for _, dir := range []string{"/run/netns", "/run/lock", "/run/cni", "/run/.lab/etc", "/run/.lab/work"} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
	}
	return os.MkdirAll("/etc/cni/net.d", 0o755)
}
