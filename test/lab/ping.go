package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"syscall"

	"github.com/causeway-net/causeway/test/lab/machine"
	"github.com/causeway-net/causeway/test/lab/stream"
)

// Place is where commands run: a Node or a Pod.
type Place interface {
	Command(ctx context.Context, argv ...string) *Cmd
}

// Ping sends one packet, again up to ten times until one is answered, each within a second. Extra arguments are ping(8)'s.
func Ping(ctx context.Context, from Place, to netip.Addr, args ...string) error {
	return retryTimes(10, func() error {
		_, err := from.Command(ctx, append(append([]string{"ping", "-n", "-c1", "-W1"}, args...), to.String())...).CombinedOutput()
		return err
	})
}

func retryTimes(n int, try func() error) (err error) {
	for range n {
		if err = try(); err == nil {
			return nil
		}
	}
	return err
}

// PingMatrix pings from every pod to every address of every other one, and returns an error for each pair that fails.
func PingMatrix(ctx context.Context, pods []*Pod) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	slots := make(chan struct{}, 8)
	for _, from := range pods {
		for _, to := range pods {
			for _, a := range to.Addresses {
				if from == to || (a.Is4() && !from.V4().IsValid()) || (a.Is6() && !from.V6().IsValid()) {
					continue
				}
				wg.Go(func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					if err := Ping(ctx, from, a); err != nil {
						mu.Lock()
						defer mu.Unlock()
						errs = append(errs, fmt.Errorf("%s on %s to %s on %s: %w", from.Key(), from.Node.Name, to.Key(), to.Node.Name, err))
					}
				})
			}
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// StreamPort is where ServeStreams listens.
const StreamPort = 5001

// ServeStreams starts an echo server for streams and returns when it listens.
func (l *Lab) ServeStreams(ctx context.Context, at Place) (*Cmd, error) {
	c := at.Command(ctx, l.Bin("lab-node"), "serve", fmt.Sprintf("--listen=:%d", StreamPort))
	return c, startAndWaitForLine(c, "listening")
}

// Stream is a running TCP stream.
type Stream struct {
	cmd *Cmd
	out *machine.Buffer
}

// StartStream connects to a ServeStreams and keeps the connection busy. Extra arguments are those of `lab-node stream`.
func (l *Lab) StartStream(ctx context.Context, from Place, to netip.Addr, args ...string) (*Stream, error) {
	argv := []string{l.Bin("lab-node"), "stream", "--to=" + netip.AddrPortFrom(to, StreamPort).String()}
	s := &Stream{out: &machine.Buffer{}}
	s.cmd = from.Command(ctx, append(argv, args...)...)
	s.cmd.Stdout = s.out
	return s, startAndWaitForLine(s.cmd, "connected")
}

// Stop ends the stream and reports how it went.
func (s *Stream) Stop() (stream.Report, error) {
	var r stream.Report
	_ = s.cmd.Signal(syscall.SIGINT) // If it has ended, its report tells why.
	err := s.cmd.Wait()
	_, report, _ := strings.Cut(s.out.String(), "\n")
	if jsonErr := json.Unmarshal([]byte(report), &r); jsonErr != nil {
		return r, fmt.Errorf("the stream ended without a report (%w): %s", err, s.out.String())
	}
	return r, nil
}

// startAndWaitForLine starts a command and waits until it prints a line that contains the text, on either output.
func startAndWaitForLine(c *Cmd, text string) error {
	seen := make(chan string, 1)
	watch := func(next io.Writer) io.Writer {
		r, w := io.Pipe()
		go func() {
			lines := bufio.NewScanner(r)
			for lines.Scan() {
				if strings.Contains(lines.Text(), text) {
					select {
					case seen <- "":
					default:
					}
				}
			}
			_, _ = io.Copy(io.Discard, r) // After a line that is too long.
		}()
		if next == nil {
			return w
		}
		return io.MultiWriter(next, w)
	}
	errs := &machine.Buffer{}
	if c.Stderr == nil {
		c.Stderr = errs
	}
	if text != listening {
		c.Stdout = watch(c.Stdout)
	}
	c.Stderr = watch(c.Stderr)
	if err := c.Start(); err != nil {
		return err
	}
	select {
	case <-seen:
		return nil
	case <-c.done:
		return fmt.Errorf("it ended before it was ready: %w: %s", c.Wait(), errs.String())
	case <-c.ctx.Done():
		return fmt.Errorf("%s: not ready: %w", c.where(), c.ctx.Err())
	}
}
