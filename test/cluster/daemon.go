package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/test/lab/machine"
)

// restartPause is the time between the end of a daemon and its next start.
const restartPause = time.Second

// Daemon is a program on a node that is started again when it ends by itself, as an init system does.
type Daemon struct {
	node *Node
	argv []string

	mu      sync.Mutex
	process machine.Process
	done    chan struct{} // of the process
	wanted  bool
}

func (n *Node) daemon(argv ...string) *Daemon { return &Daemon{node: n, argv: argv} }

// Log is the path of its log.
func (d *Daemon) Log() string {
	return filepath.Join(d.node.boot().Dir, filepath.Base(d.argv[0])+".log")
}

// Start starts the daemon and keeps it running.
func (d *Daemon) Start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = true
	return d.start()
}

func (d *Daemon) start() error {
	log, err := os.OpenFile(d.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	p, err := d.node.Start(context.Background(), machine.Spec{Argv: d.argv}, machine.Stdio{Out: log, Err: log})
	if err != nil {
		_ = log.Close() // Nothing was written.
		return fmt.Errorf("start %s on %s: %w", d.argv[0], d.node.Name, err)
	}
	done := make(chan struct{})
	d.process, d.done = p, done
	go func() {
		_, _ = p.Wait() // Its log says why it ended.
		_ = log.Close() // It has no more to say.
		close(done)
		time.Sleep(restartPause)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.wanted && d.done == done {
			_ = d.start() // The node has gone, and the daemon with it.
		}
	}()
	return nil
}

// Stop ends the daemon with a signal and waits for its end.
func (d *Daemon) Stop(sig syscall.Signal) error {
	d.mu.Lock()
	d.wanted = false
	p, done := d.process, d.done
	d.mu.Unlock()
	if p == nil {
		return fmt.Errorf("%s does not run on %s", d.argv[0], d.node.Name)
	}
	err := p.Signal(sig)
	<-done
	return err
}

// abandon lets the daemon end with its node.
func (d *Daemon) abandon() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = false
}
