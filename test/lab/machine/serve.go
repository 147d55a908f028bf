package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
)

// Serve offers a Runner to clients until the context ends.
func Serve(ctx context.Context, l net.Listener, r Runner) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // Accept says so.
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept a connection: %w", err)
		}
		calls.Go(func() {
			defer conn.Close()
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			f := &frames{rw: conn}
			o := serveOne(ctx, cancel, f, r)
			_ = f.writeJSON(frameExit, o) // A caller who has gone does not want to know.
		})
	}
}

func serveOne(ctx context.Context, cancel context.CancelFunc, f *frames, r Runner) outcome {
	kind, body, err := f.read()
	var q request
	if err == nil && kind != frameRequest {
		err = errors.New("the first frame is no request")
	}
	if err == nil {
		err = json.Unmarshal(body, &q)
	}
	switch {
	case err != nil, q.Alive:
	case q.Add != nil:
		err = r.AddNode(ctx, *q.Add)
	case q.Remove != "":
		err = r.RemoveNode(ctx, q.Remove)
	case q.Run != nil:
		var code int
		if code, err = serveCommand(ctx, cancel, f, r, *q.Run); err == nil {
			return outcome{Code: code}
		}
	default:
		err = errors.New("the request is empty")
	}
	if err != nil {
		return outcome{Code: -1, Error: err.Error()}
	}
	return outcome{}
}

func serveCommand(ctx context.Context, cancel context.CancelFunc, f *frames, r Runner, s Spec) (int, error) {
	in, feed := io.Pipe()
	p, err := r.Start(ctx, s, Stdio{In: in, Out: stream{f, frameOut}, Err: stream{f, frameErr}})
	if err != nil {
		return 0, err
	}
	if err := f.write(frameStarted, nil); err != nil {
		cancel()
	}
	go func() {
		defer cancel() // A caller who has gone takes the command along.
		defer feed.Close()
		for {
			kind, body, err := f.read()
			if err != nil {
				return
			}
			switch kind {
			case frameIn:
				_, _ = feed.Write(body) // The command may not read any more.
			case frameInEnd:
				_ = feed.Close()
			case frameSignal:
				if len(body) == 1 {
					_ = p.Signal(syscall.Signal(body[0])) // It may have ended.
				}
			}
		}
	}()
	code, err := p.Wait()
	_ = in.Close() // Whoever still feeds it stops.
	return code, err
}
