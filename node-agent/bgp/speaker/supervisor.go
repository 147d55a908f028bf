package speaker

import (
	"context"
	"encoding/gob"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 10 * time.Second
	// steady is how long a process must have lived for its end to count as the first.
	steady = 30 * time.Second
)

// Supervisor keeps a speaker's process running. The process outlives the agent, so that an agent's restart resets no
// session; an agent that starts takes over the one that it finds on the socket.
type Supervisor struct {
	// Socket is where the speaker listens.
	Socket string
	// Command starts it; Socket is appended as --socket. Default: causeway-speaker beside the agent's own binary.
	Command []string
	Log     *slog.Logger
}

// Run keeps the process running until ctx ends, and leaves it running then.
func (s *Supervisor) Run(ctx context.Context) {
	backoff := firstBackoff
	for ctx.Err() == nil {
		started := time.Now()
		if err := s.once(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error("The BGP speaker ended; it is started again, and the kernel keeps the learned routes meanwhile.",
				"error", err, "after", time.Since(started).Round(time.Millisecond), "pause", backoff)
		}
		if time.Since(started) > steady {
			backoff = firstBackoff
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// once takes over the running process, or starts one, and waits for its end.
func (s *Supervisor) once(ctx context.Context) error {
	conn, decoder, hello, err := greet(ctx, s.Socket)
	if err != nil {
		return s.start(ctx)
	}
	defer conn.Close()
	request := Request{Quiet: true} // Only the connection's end is of interest here.
	if hello.Version != Version {
		s.Log.Info("The running BGP speaker is of another version and is replaced; peers keep the routes meanwhile.", "version", hello.Version)
		request = Request{Stop: true}
	}
	if err := gob.NewEncoder(conn).Encode(request); err != nil {
		return fmt.Errorf("talk to the speaker that runs: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	for {
		var ignored Event
		if decoder.Decode(&ignored) != nil {
			return nil
		}
	}
}

// start starts a process in a session of its own, so that no signal to the agent's reaches it.
func (s *Supervisor) start(ctx context.Context) error {
	command := s.Command
	if len(command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the speaker's binary: %w", err)
		}
		command = []string{filepath.Join(filepath.Dir(self), "causeway-speaker")}
	}
	cmd := exec.Command(command[0], append(command[1:], "--socket", s.Socket)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the speaker: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			return fmt.Errorf("process %d ended", cmd.Process.Pid)
		}
		return fmt.Errorf("process %d: %w", cmd.Process.Pid, err)
	case <-ctx.Done():
		return nil // It goes on; the next agent finds it.
	}
}

// greet connects to a speaker and reads its first word.
func greet(ctx context.Context, socket string) (net.Conn, *gob.Decoder, *Hello, error) {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, nil, nil, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	decoder := gob.NewDecoder(conn)
	var e Event
	if err := decoder.Decode(&e); err != nil || e.Hello == nil {
		_ = conn.Close()
		return nil, nil, nil, fmt.Errorf("no greeting on %s: %w", socket, err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	return conn, decoder, e.Hello, nil
}
