package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/test/lab/controlplane"
	"github.com/causeway-net/causeway/test/lab/machine"
)

// restartPause is the time between the end of a controller and its next start.
const restartPause = time.Second

// controller is started again when it ends by itself, as its Deployment would do: it does when it loses its lease.
type controller struct {
	make func() (*Cmd, error)

	mu      sync.Mutex
	cmd     *Cmd
	stopped bool
}

// StartController starts one more controller under a name of its own.
func (l *Lab) StartController(name string, args ...string) error {
	kubeconfig, err := l.Kubeconfig(name+".kubeconfig", controlplane.ControllerUser)
	if err != nil {
		return err
	}
	argv := append([]string{l.Bin("causeway-controller"), "--kubeconfig=" + kubeconfig}, l.o.ControllerArgs...)
	argv = append(argv, args...)
	c := &controller{make: func() (*Cmd, error) {
		log, err := os.OpenFile(filepath.Join(l.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("open the log of the controller: %w", err)
		}
		return &Cmd{ctx: context.Background(), runner: l.local, spec: machine.Spec{Argv: argv}, Stdout: log, Stderr: log, closer: log}, nil
	}}
	l.started[name] = c
	return c.start()
}

// StopController ends a controller for good.
func (l *Lab) StopController(name string, sig syscall.Signal) error {
	c := l.started[name]
	if c == nil || !c.stop(sig) {
		return fmt.Errorf("there is no running controller %s", name)
	}
	return nil
}

func (c *controller) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil
	}
	cmd, err := c.make()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.cmd = cmd
	go func() {
		_ = cmd.Wait() // its log says why it ended
		time.Sleep(restartPause)
		_ = c.start()
	}()
	return nil
}

// stop reports whether there was anything to stop.
func (c *controller) stop(sig syscall.Signal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || c.cmd == nil {
		return false
	}
	c.stopped = true
	c.cmd.end(sig)
	return true
}
