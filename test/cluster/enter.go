package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/causeway-net/causeway/test/cluster/cgroups"
	"github.com/causeway-net/causeway/test/lab"
	"github.com/causeway-net/causeway/test/namespaces"
)

const (
	// ownerVariable holds the id, outside of all namespaces, of the process that the cluster ends with.
	ownerVariable = "CAUSEWAY_CLUSTER_OWNER"
	// janitorVariable makes a janitor of a process of this program.
	janitorVariable = "CAUSEWAY_CLUSTER_JANITOR"
)

// Main runs a package's tests inside namespaces of their own; call it from TestMain and exit with what it returns.
// Everything in there ends with the process, however that ends.
func Main(m *testing.M) int {
	log.SetLogger(logr.Discard()) // else the API client prints a stack trace about it
	if !namespaces.Inside() {
		return Enter(os.Args[1:])
	}
	if err := Prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "prepare the cluster's namespaces:", err)
		return 1
	}
	return m.Run()
}

// Enter runs this program again in namespaces of its own and returns its exit code. Namespaces, and all that is in them, end
// with their processes; control groups do not, so a janitor removes them, even where this process is killed.
func Enter(args []string) int {
	if IsJanitor() {
		return janitor()
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "A cluster needs root: kubelets and container runtimes do.")
		return 1
	}
	if err := errors.Join(cgroups.Sweep(), startJanitor(), raiseLimits()); err != nil {
		fmt.Fprintln(os.Stderr, "prepare a cluster:", err)
		return 1
	}
	if err := os.Setenv(ownerVariable, strconv.Itoa(os.Getpid())); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := namespaces.Enter(args)
	if err := cgroups.Of(os.Getpid()).Remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

// IsJanitor says whether this process is one that Enter has started to clean up after it: it shall call Enter and nothing else.
func IsJanitor() bool { return os.Getenv(janitorVariable) != "" }

// startJanitor starts a process that lives until this one has ended, however that happens.
func startJanitor() error {
	alive, held, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer alive.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), janitorVariable+"="+strconv.Itoa(os.Getpid()))
	cmd.Stdin = alive
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the janitor: %w", err)
	}
	// The pipe's other end tells the janitor that this process has ended. A copy of this one stays open until then.
	_, err = unix.FcntlInt(held.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	return err
}

// janitor waits for the end of the process that started it, and removes the control groups of clusters that are dead.
func janitor() int {
	_, _ = io.Copy(io.Discard, os.Stdin) // nothing comes but the end
	err := cgroups.Sweep()
	// Sweep leaves the one of a process that nobody has waited for yet.
	if pid, wrong := strconv.Atoi(os.Getenv(janitorVariable)); wrong == nil {
		err = errors.Join(err, cgroups.Of(pid).Remove())
	}
	if err != nil {
		return 1
	}
	return 0
}

// raiseLimits raises what three kubelets and their pods need more of. The kernel has these limits for the whole machine,
// they cost nothing unless they are used, and they stay, since somebody else may rely on them by then.
func raiseLimits() error {
	for name, least := range map[string]int{"max_user_instances": 8192, "max_user_watches": 524288} {
		path := filepath.Join("/proc/sys/fs/inotify", name)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if have, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && have >= least {
			continue
		}
		if err := os.WriteFile(path, []byte(strconv.Itoa(least)), 0); err != nil {
			return fmt.Errorf("raise a limit that kubelets need: %w", err)
		}
	}
	return nil
}

// Prepare makes the namespaces that Enter gave us usable: those of a lab, with the host's control groups in /sys.
func Prepare() error {
	const kept = "/dev/shm" // a folder that Prepare of the lab leaves alone
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("/sys/fs/cgroup", kept, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep the control groups: %w", err)
	}
	if err := lab.Prepare(); err != nil {
		return err
	}
	if err := unix.Mount(kept, "/sys/fs/cgroup", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("mount the control groups again: %w", err)
	}
	return nil
}

// owner is the group of this cluster.
func owner() (cgroups.Group, error) {
	pid, err := strconv.Atoi(os.Getenv(ownerVariable))
	if err != nil {
		return "", errors.New("the cluster must run in namespaces of its own: call cluster.Main from TestMain")
	}
	return cgroups.Of(pid), nil
}
