package main

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

// state is the folder that says where the running lab is.
type state string

func findState() (state, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "config", "crd", "bases")); err == nil {
			s := state(filepath.Join(dir, ".lab"))
			return s, os.MkdirAll(string(s), 0o755)
		}
	}
	return "", errors.New("run this inside the repository")
}

func (s state) log() string    { return filepath.Join(string(s), "log") }
func (s state) socket() string { return filepath.Join(string(s), "socket") }
func (s state) pid() string    { return filepath.Join(string(s), "pid") }

// lock takes the lab's lock for as long as the file stays open. It fails if a lab runs.
func (s state) lock() (*os.File, error) {
	f, err := os.OpenFile(s.pid(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lab's lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // Not ours.
		return nil, errRunning
	}
	return f, nil
}

var errRunning = errors.New("a lab is running already: use it, or stop it with `bin/lab down`")

// down kills the outer process; the kernel then ends everything that lives in its pid namespace.
func down() error {
	s, err := findState()
	if err != nil {
		return err
	}
	if f, err := s.lock(); err == nil {
		fmt.Println("No lab is running.")
		return f.Close()
	}
	text, err := os.ReadFile(s.pid())
	if err != nil {
		return fmt.Errorf("find the lab's process: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("%s does not hold a process id: %q", s.pid(), text)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if f, err := s.lock(); err == nil {
			_ = f.Close()             // Unlocks.
			_ = os.Remove(s.socket()) // Nobody listens there.
			fmt.Println("The lab is down.")
			return nil
		}
	}
	return fmt.Errorf("process %d has not ended within 10 s", pid)
}
