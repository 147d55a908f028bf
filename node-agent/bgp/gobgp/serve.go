package gobgp

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/node-agent/bgp/speaker"
)

// Serve answers agents on a unix socket until ctx ends or one asks to stop. Only root, or whoever runs the speaker, may
// speak to it.
func Serve(ctx context.Context, e *Engine, socket string) error {
	listener, err := listenUnix(socket)
	if err != nil {
		return err
	}
	return serve(ctx, e, listener)
}

// serve answers agents on a socket that is open.
func serve(ctx context.Context, e *Engine, listener *net.UnixListener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	defer wait.Wait()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	wait.Go(func() { e.Run(ctx) })
	hello := speaker.Hello{Version: speaker.Version, PID: os.Getpid(), Instance: uint64(time.Now().UnixNano())}
	for {
		conn, err := listener.AcceptUnix()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			cancel()
			return fmt.Errorf("accept on %s: %w", listener.Addr(), err)
		}
		if !trusted(conn) {
			_ = conn.Close()
			continue
		}
		wait.Go(func() { e.converse(ctx, cancel, conn, hello) })
	}
}

// listenUnix opens the socket. One that a dead speaker left is removed; a live one is an error.
func listenUnix(socket string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, err
	}
	if conn, err := net.DialTimeout("unix", socket, time.Second); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("another speaker listens on %s", socket)
	}
	_ = os.Remove(socket)
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", socket, err)
	}
	return listener, nil
}

// trusted asks the kernel who is on the other side (unix(7), SO_PEERCRED).
func trusted(conn *net.UnixConn) bool {
	ok := false
	err := control(conn, func(fd int) error {
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		ok = err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
		return err
	})
	return err == nil && ok
}

// converse serves one agent.
func (e *Engine) converse(ctx context.Context, stop func(), conn *net.UnixConn, hello speaker.Hello) {
	ctx, cancel := context.WithCancel(ctx)
	queue := e.hub.subscribe(hello)
	defer e.hub.unsubscribe(queue)
	var writing sync.WaitGroup
	writing.Go(func() {
		defer conn.Close()
		encoder := gob.NewEncoder(conn)
		for {
			select {
			case <-ctx.Done():
				return
			case <-queue.ready:
			}
			for _, event := range queue.take() {
				if encoder.Encode(event) != nil {
					return
				}
			}
		}
	})
	defer writing.Wait()
	defer cancel()
	decoder := gob.NewDecoder(conn)
	for {
		var r speaker.Request
		if decoder.Decode(&r) != nil {
			return
		}
		switch {
		case r.Stop:
			stop()
			return
		case r.Quiet:
			e.hub.unsubscribe(queue)
		case r.Apply != nil:
			failures := e.Apply(ctx, r.Apply.Plan)
			e.publish() // before the answer: nobody may take the state of a replaced session for the new one's
			queue.put(speaker.Event{Applied: &speaker.Applied{Sequence: r.Apply.Sequence, Failures: failures}})
		}
	}
}
