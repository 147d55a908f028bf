// Package resident starts a process that stays when the command that started it has ended, finds it again, passes
// commands to it, and stops it. The lab and the cluster are such processes.
package resident

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// State is where the running process is found.
type State struct {
	// Thing is what it is called in messages, such as lab.
	Thing string
	dir   string
}

// Find returns the state of a thing, in a folder of the repository that holds the working directory.
func Find(thing string) (State, error) {
	repo, err := Repository()
	if err != nil {
		return State{}, err
	}
	s := State{Thing: thing, dir: filepath.Join(repo, "."+thing)}
	return s, os.MkdirAll(s.dir, 0o755)
}

// Repository is the root of the repository that holds the working directory.
func Repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "config", "crd", "bases")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("run this inside the repository")
}

// Socket is where the process offers a machine.Runner, once it is ready.
func (s State) Socket() string { return filepath.Join(s.dir, "socket") }

func (s State) log() string { return filepath.Join(s.dir, "log") }
func (s State) pid() string { return filepath.Join(s.dir, "pid") }

// lock takes the lock for as long as the file stays open. It fails if the process runs.
func (s State) lock() (*os.File, error) {
	f, err := os.OpenFile(s.pid(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the %s: %w", s.Thing, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // Not ours.
		return nil, fmt.Errorf("a %s is running already: use it, or stop it with `bin/%s down`", s.Thing, s.Thing)
	}
	return f, nil
}

// Down kills the process; the kernel then ends everything that lives in its pid namespace.
func (s State) Down() error {
	if f, err := s.lock(); err == nil {
		fmt.Printf("No %s is running.\n", s.Thing)
		return f.Close()
	}
	text, err := os.ReadFile(s.pid())
	if err != nil {
		return fmt.Errorf("find the process of the %s: %w", s.Thing, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("%s does not hold a process id: %q", s.pid(), text)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	const patience = 30 * time.Second
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if f, err := s.lock(); err == nil {
			_ = f.Close()             // Unlocks.
			_ = os.Remove(s.Socket()) // Nobody listens there.
			fmt.Printf("The %s is down.\n", s.Thing)
			return nil
		}
	}
	return fmt.Errorf("process %d has not ended within %s", pid, patience)
}
