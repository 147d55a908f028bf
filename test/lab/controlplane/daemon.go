package controlplane

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Daemon is a process that ends with us: the lab's process is the first of its pid namespace.
type Daemon struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// StartDaemon starts a program in a folder. What it prints is added to the file DIR/PROGRAM.log.
func StartDaemon(dir, path string, args ...string) (*Daemon, error) {
	log, err := os.OpenFile(filepath.Join(dir, filepath.Base(path)+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open a log file: %w", err)
	}
	defer log.Close()
	d := &Daemon{cmd: exec.Command(path, args...), done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr, d.cmd.Dir = log, log, dir
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (run `make build deps` if it is missing): %w", path, err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.done)
	}()
	return d, nil
}

// Signal sends a signal.
func (d *Daemon) Signal(sig syscall.Signal) error {
	if d == nil {
		return errors.New("it is not running")
	}
	return d.cmd.Process.Signal(sig)
}

// Kill ends it at once and waits for the end.
func (d *Daemon) Kill() {
	if d == nil {
		return
	}
	_ = d.cmd.Process.Kill() // It may have ended.
	<-d.done
}

// Exited returns an error once the process has ended.
func (d *Daemon) Exited() error {
	select {
	case <-d.done:
		return fmt.Errorf("%s ended: %w", filepath.Base(d.cmd.Path), d.err)
	default:
		return nil
	}
}
