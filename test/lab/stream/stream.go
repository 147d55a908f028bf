// Package stream keeps a TCP connection busy and says whether every byte came back, in order, and how long the longest
// silence was. One end echoes, the other one counts.
package stream

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Options of a stream.
type Options struct {
	To, Source string
	// Block is the size of a message in bytes, at least 8.
	Block int
	Pause time.Duration
	// Patience is how long an answer may take.
	Patience time.Duration
}

// Report says how a stream went.
type Report struct {
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
	// LongestStallMilliseconds is the longest time that a message took there and back.
	LongestStallMilliseconds int64 `json:"longestStallMilliseconds"`
	// Broken says how the connection ended, if it did not last.
	Broken string `json:"broken,omitempty"`
}

// Write prints the report as one line of JSON.
func (r Report) Write(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// Serve echoes all connections until the context ends.
func Serve(ctx context.Context, address string, listening func(address string)) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	var conns sync.WaitGroup
	defer conns.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // Accept says so.
	defer stop()
	listening(l.Addr().String())
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		conns.Go(func() {
			defer conn.Close()
			end := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer end()
			_, _ = io.Copy(conn, conn) // The other end reports breaks.
		})
	}
}

// Run sends numbered messages and checks the echo until the context ends, which is the good end, or the stream breaks.
func Run(ctx context.Context, o Options, connected func()) (Report, error) {
	var r Report
	if o.Block < 8 {
		return r, fmt.Errorf("a message of %d bytes has no room for its number", o.Block)
	}
	d := net.Dialer{Timeout: o.Patience}
	if o.Source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(o.Source)}
	}
	conn, err := d.DialContext(ctx, "tcp", o.To)
	if err != nil {
		return r, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	connected()
	out, in := make([]byte, o.Block), make([]byte, o.Block)
	tick := time.NewTicker(max(o.Pause, time.Microsecond))
	defer tick.Stop()
	for {
		begin := time.Now()
		if err := exchange(conn, r.Messages, out, in, begin.Add(o.Patience)); err != nil {
			r.Broken = err.Error()
			return r, nil
		}
		r.Messages++
		r.Bytes += int64(o.Block)
		r.LongestStallMilliseconds = max(r.LongestStallMilliseconds, time.Since(begin).Milliseconds())
		select {
		case <-ctx.Done():
			return r, nil
		case <-tick.C:
		}
	}
}

func exchange(conn net.Conn, number int64, out, in []byte, deadline time.Time) error {
	for i := range out {
		out[i] = byte(int64(i) + number)
	}
	binary.BigEndian.PutUint64(out, uint64(number))
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(out)
		sent <- err
	}()
	_, err := io.ReadFull(conn, in)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	if string(in) != string(out) {
		return fmt.Errorf("message %d came back changed", number)
	}
	return nil
}
