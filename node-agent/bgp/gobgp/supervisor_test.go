package gobgp_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/node-agent/bgp/bgpplan"
	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
	"github.com/causeway-net/causeway/test/routers"
)

// agent is what an agent runs of this.
type agent struct {
	*speaker.Client
	stop func()
}

func startAgent(t *testing.T, socket string) *agent {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := speaker.Supervisor{
		Socket: socket, Log: slog.New(slog.DiscardHandler),
		Command: []string{"env", "CAUSEWAY_TEST_SPEAKER=" + socket, self},
	}
	a := &agent{Client: speaker.NewClient(socket)}
	supervised, ran := make(chan struct{}), make(chan struct{})
	go func() { s.Run(ctx); close(supervised) }()
	go func() { a.Run(ctx); close(ran) }()
	a.stop = func() { cancel(); <-supervised; <-ran }
	t.Cleanup(a.stop)
	return a
}

func (a *agent) waitPID(t *testing.T, not int) int {
	t.Helper()
	routers.Eventually(t, 10*time.Second, func() error {
		if pid := a.PID(); pid == 0 || pid == not {
			return fmt.Errorf("the speaker's process is %d", pid)
		}
		return nil
	})
	return a.PID()
}

func TestSupervisor(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	first := startAgent(t, socket)
	pid := first.waitPID(t, 0)
	t.Run("survives the agent", func(t *testing.T) {
		first.stop()
		if err := syscall.Kill(pid, 0); err != nil {
			t.Fatalf("the speaker ended with the agent: %v", err)
		}
	})
	second := startAgent(t, socket)
	t.Run("is taken over", func(t *testing.T) {
		if got := second.waitPID(t, 0); got != pid {
			t.Errorf("process %d runs in place of %d", got, pid)
		}
	})
	t.Run("is started again", func(t *testing.T) {
		if _, err := second.Apply(t.Context(), bgpplan.Plan{}); err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		pid = second.waitPID(t, pid)
	})
	_ = syscall.Kill(pid, syscall.SIGTERM)
}
