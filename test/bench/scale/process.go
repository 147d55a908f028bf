package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/test/lab/controlplane"
)

// controllerMetrics is where the controller serves its metrics.
const controllerMetrics = "127.0.0.1:9440"

// process is a program of ours that is measured.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	log  string

	ending atomic.Bool // somebody ends it
}

// run starts a program. It ends with the part at the latest.
func (b *bench) run(name string, argv ...string) (*process, error) {
	path := filepath.Join(b.dir, name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open a log file: %w", err)
	}
	defer log.Close()
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{}), log: path}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (run `make build` if it is missing): %w", argv[0], err)
	}
	go func() {
		err := p.cmd.Wait()
		if !p.ending.Load() {
			text, _ := os.ReadFile(path) // it is there: the program wrote it
			b.mu.Lock()
			b.death = fmt.Errorf("%s has ended by itself: %w: %s", name, err, text[max(0, len(text)-500):])
			b.mu.Unlock()
		}
		close(p.done)
	}()
	b.later(func() { p.stop(syscall.SIGKILL) })
	return p, nil
}

// stop ends a process and waits for its end.
func (p *process) stop(sig syscall.Signal) {
	p.ending.Store(true)
	_ = p.cmd.Process.Signal(sig) // it may have ended
	<-p.done
}

// startController starts the controller in a process of its own, as a cluster does. It has more time to renew its leader's
// lease than by default: the API server and all nodes are on this machine too, and may keep it busy for long.
func (b *bench) startController() (*process, error) {
	kubeconfig, err := b.Kubeconfig("controller.kubeconfig", controlplane.ControllerUser)
	if err != nil {
		return nil, err
	}
	return b.run("causeway-controller", filepath.Join(b.repo, "bin", "causeway-controller"), "--kubeconfig="+kubeconfig,
		"--metrics-bind-address="+controllerMetrics, "--leader-lease-duration=90s", "--leader-renew-deadline=60s", "--leader-retry-period=2s")
}

// memory returns what a process holds now, and the most that it ever held.
func (p *process) memory() (now, peak float64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read a process's memory: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			now = n * 1024
		case "VmHWM:":
			peak = n * 1024
		}
	}
	if now == 0 {
		return 0, 0, errors.New("the process has ended; its log is " + p.log)
	}
	return now, peak, lines.Err()
}

// restMemory waits until a process's memory has not grown for some seconds.
func (p *process) restMemory(ctx context.Context) (now, peak float64, err error) {
	last, since := 0.0, time.Now()
	for time.Since(since) < 5*time.Second {
		if now, peak, err = p.memory(); err != nil {
			return 0, 0, err
		}
		if now > last*1.01 {
			last, since = now, time.Now()
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
	return now, peak, nil
}

// processor returns the processor time that a process has used.
func (p *process) processor() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read a process's processor time: %w", err)
	}
	// The name in parentheses may hold spaces. User and system time are the 12th and 13th field behind it, in hundredths.
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("read a process's processor time: %q", raw)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err1, err2)
}
