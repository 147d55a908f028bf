package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const echoPort = "7777"

// echo answers each byte with a byte, until its standard input ends.
func echo() error {
	l, err := net.Listen("tcp", ":"+echoPort)
	if err != nil {
		return fmt.Errorf("listen for questions: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close()
	}()
	fmt.Println("listening")
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a connection: %w", err)
		}
		go func() {
			defer conn.Close() //nolint:errcheck // the caller is gone
			var b [1]byte
			for {
				if _, err := conn.Read(b[:]); err != nil {
					return
				}
				if _, err := conn.Write(b[:]); err != nil {
					return
				}
			}
		}()
	}
}

// askEcho sends bytes one at a time, each after the answer to the one before, and prints the times of all (TCP_RR).
func askEcho(address, length string) error {
	d, err := time.ParseDuration(length)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, echoPort), 5*time.Second)
	if err != nil {
		return fmt.Errorf("connect to the other end: %w", err)
	}
	defer conn.Close() //nolint:errcheck // all is measured
	var took []time.Duration
	b := [1]byte{'x'}
	for end := time.Now().Add(d); time.Now().Before(end); {
		begin := time.Now()
		if _, err := conn.Write(b[:]); err != nil {
			return err
		}
		if _, err := conn.Read(b[:]); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
	}
	return json.NewEncoder(os.Stdout).Encode(percentile(took, 0.5))
}
