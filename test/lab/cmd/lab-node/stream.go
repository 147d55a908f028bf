package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/test/lab/stream"
)

// serveStreams answers TCP streams until it is told to stop.
func serveStreams(args []string) error {
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	listen := f.String("listen", ":5001", "address to listen on")
	if err := f.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return stream.Serve(ctx, *listen, func(address string) { fmt.Println("listening on", address) })
}

// runStream keeps one TCP connection busy until it is told to stop or the connection breaks, and prints how it went.
func runStream(args []string) error {
	f := flag.NewFlagSet("stream", flag.ContinueOnError)
	to := f.String("to", "", "address and port of the server")
	source := f.String("source", "", "address to come from")
	block := f.Int("block", 4096, "bytes of each message")
	pause := f.Duration("pause", 10*time.Millisecond, "between two messages")
	limit := f.Duration("for", 0, "how long, 0 until told to stop")
	patience := f.Duration("patience", 30*time.Second, "how long an answer may take until the stream counts as broken")
	if err := f.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if *limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *limit)
		defer cancel()
	}
	report, err := stream.Run(ctx, stream.Options{To: *to, Source: *source, Block: *block, Pause: *pause, Patience: *patience},
		func() { fmt.Println("connected") })
	if err != nil {
		return err
	}
	return report.Write(os.Stdout)
}
