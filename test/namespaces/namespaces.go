// Package namespaces runs a program again in namespaces of its own, so that nothing it does is seen on the host, and all of
// it ends with the process.
package namespaces

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

const insideVariable = "CAUSEWAY_INSIDE_NAMESPACES"

// Main runs a package's tests in namespaces of their own, after prepare. Call it from TestMain and exit with what it returns.
func Main(m *testing.M, prepare func() error) int {
	if !Inside() {
		return Enter(os.Args[1:])
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "prepare the tests' namespaces:", err)
		return 1
	}
	return m.Run()
}

// Inside says whether this process was started by Enter.
func Inside() bool { return os.Getenv(insideVariable) != "" }

// Enter runs this program again in network, mount, pid, IPC and hostname namespaces of its own, and returns its exit
// code. Whoever is not root gets a user namespace too.
func Enter(args []string) int {
	// The kernel ties Pdeathsig to the thread that started the child (prctl(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "This needs root, or user namespaces that are open to everybody (sysctl user.max_user_namespaces):", err)
		return 1
	}
	return 0
}

// Prepare makes the namespaces that Enter gave us usable: private mounts, /proc, /sys, /run with /run/netns.
func Prepare() error {
	for _, m := range []struct {
		source, target, kind, data string
		flags                      uintptr
	}{
		{"none", "/", "", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"proc", "/proc", "proc", "", 0},
		{"sysfs", "/sys", "sysfs", "", 0},
		{"tmpfs", "/run", "tmpfs", "mode=755", 0},
	} {
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, dir := range []string{"/run/netns", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}
