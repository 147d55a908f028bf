package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// Client is a Runner at the other end of connections.
type Client struct {
	network, address string
	// gone ends when the other end is known to be gone; its cause says why.
	gone  context.Context
	leave context.CancelCauseFunc
}

// NewClient returns a client of Serve.
func NewClient(network, address string) *Client {
	gone, leave := context.WithCancelCause(context.Background())
	return &Client{network, address, gone, leave}
}

// Alive asks the other end for an answer.
func (c *Client) Alive(ctx context.Context) error { return c.do(ctx, request{Alive: true}) }

// GiveUp ends all that runs over there, as far as callers can see, and all calls that are yet to come, with this error: a
// machine that has stopped closes no connection.
func (c *Client) GiveUp(err error) { c.leave(err) }

// AddNode makes a node over there.
func (c *Client) AddNode(ctx context.Context, n Node) error { return c.do(ctx, request{Add: &n}) }

// RemoveNode takes a node away over there.
func (c *Client) RemoveNode(ctx context.Context, name string) error {
	return c.do(ctx, request{Remove: name})
}

func (c *Client) do(ctx context.Context, q request) error {
	p, err := c.start(ctx, q, Stdio{})
	if err != nil {
		return err
	}
	if _, err = p.Wait(); err == nil {
		err = ctx.Err() // As the answer was not waited for.
	}
	return err
}

// Start starts a command over there.
func (c *Client) Start(ctx context.Context, s Spec, std Stdio) (Process, error) {
	p, err := c.start(ctx, request{Run: &s}, std)
	if err != nil {
		return nil, err
	}
	return p, <-p.started
}

func (c *Client) start(ctx context.Context, q request, std Stdio) (*remoteProcess, error) {
	if c.gone.Err() != nil {
		return nil, context.Cause(c.gone)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, c.network, c.address)
	if err != nil {
		return nil, fmt.Errorf("reach the machine of the nodes: %w", err)
	}
	p := &remoteProcess{f: &frames{rw: conn}, started: make(chan error, 1), done: make(chan struct{})}
	if err := p.f.writeJSON(frameRequest, q); err != nil {
		_ = conn.Close() // Of no use any more.
		return nil, fmt.Errorf("send a request to the machine of the nodes: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // The other end kills the command.
	forget := context.AfterFunc(c.gone, func() { _ = conn.Close() })
	go func() {
		defer stop()
		defer forget()
		defer conn.Close()
		p.receive(ctx, c.gone, std)
	}()
	if q.Run != nil {
		go p.feed(std.In)
	}
	return p, nil
}

type remoteProcess struct {
	f       *frames
	started chan error
	done    chan struct{}
	code    int
	err     error
}

func (p *remoteProcess) Signal(sig syscall.Signal) error {
	return p.f.write(frameSignal, []byte{byte(sig)})
}

func (p *remoteProcess) Wait() (int, error) {
	<-p.done
	return p.code, p.err
}

func (p *remoteProcess) feed(in io.Reader) {
	if in != nil {
		_, _ = io.Copy(stream{p.f, frameIn}, in) // The command may end before its input does.
	}
	_ = p.f.write(frameInEnd, nil) // It may have ended.
}

func (p *remoteProcess) receive(ctx, gone context.Context, std Stdio) {
	defer close(p.done)
	begun := false
	for {
		kind, body, err := p.f.read()
		switch {
		case err != nil && gone.Err() != nil:
			p.code, p.err = -1, context.Cause(gone)
		case err != nil && ctx.Err() != nil:
			p.code = 128 + int(syscall.SIGKILL) // As after a cancelled command on this machine.
		case err != nil:
			p.code, p.err = -1, fmt.Errorf("the machine of the nodes hung up: %w", err)
		case kind == frameExit:
			var o outcome
			if err := json.Unmarshal(body, &o); err != nil {
				p.err = fmt.Errorf("read the outcome: %w", err)
			} else if o.Error != "" {
				p.err = errors.New(o.Error)
			}
			p.code = o.Code
		default:
			switch kind {
			case frameStarted:
				begun = true
				p.started <- nil
			case frameOut:
				forward(std.Out, body)
			case frameErr:
				forward(std.Err, body)
			}
			continue
		}
		if !begun {
			p.started <- p.err
		}
		return
	}
}

func forward(w io.Writer, body []byte) {
	if w != nil {
		_, _ = w.Write(body) // As a command on this machine would find out by itself.
	}
}
