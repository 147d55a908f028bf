package machine

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A command at the other end of a connection behaves as one here.
func TestClient(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- Serve(ctx, l, NewLocal("/nonexistent")) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	c := NewClient("unix", l.Addr().String())

	run := func(in string, argv ...string) (string, string, int) {
		t.Helper()
		var out, errs bytes.Buffer
		p, err := c.Start(ctx, Spec{Argv: argv, Env: []string{"WORD=there"}}, Stdio{In: strings.NewReader(in), Out: &out, Err: &errs})
		if err != nil {
			t.Fatal(err)
		}
		code, err := p.Wait()
		if err != nil {
			t.Fatal(err)
		}
		return out.String(), errs.String(), code
	}
	if out, errs, code := run("in\n", "sh", "-c", "cat; echo $WORD >&2; exit 3"); out != "in\n" || errs != "there\n" || code != 3 {
		t.Errorf("%q %q %d", out, errs, code)
	}
	large := strings.Repeat("0123456789", 300000)
	if out, _, code := run(large, "cat"); out != large || code != 0 {
		t.Errorf("%d bytes came back, code %d", len(out), code)
	}
	if _, err := c.Start(ctx, Spec{Argv: []string{"/nonexistent"}}, Stdio{}); err == nil {
		t.Error("a command that does not exist was started")
	}
	if _, err := c.Start(ctx, Spec{Node: "nobody", Argv: []string{"true"}}, Stdio{}); err == nil {
		t.Error("a command was started on a node that does not exist")
	}
	p, err := c.Start(ctx, Spec{Argv: []string{"sleep", "100"}}, Stdio{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(); err != nil || code != 128+15 {
		t.Errorf("%d %v", code, err)
	}
	// A caller who goes away takes the command along; Serve's end waits for it.
	gone, leave := context.WithCancel(ctx)
	if p, err = c.Start(gone, Spec{Argv: []string{"sleep", "100"}}, Stdio{}); err != nil {
		t.Fatal(err)
	}
	leave()
	if code, err := p.Wait(); err != nil || code != 128+9 {
		t.Errorf("%d %v", code, err)
	}
	if err := c.Alive(ctx); err != nil {
		t.Error(err)
	}
	// When the other end is given up, whoever waits for it is told why, and nobody has to wait any more.
	if p, err = c.Start(ctx, Spec{Argv: []string{"sleep", "100"}}, Stdio{}); err != nil {
		t.Fatal(err)
	}
	lost := errors.New("lost")
	c.GiveUp(lost)
	if code, err := p.Wait(); code != -1 || !errors.Is(err, lost) {
		t.Errorf("%d %v", code, err)
	}
	if err := c.Alive(ctx); !errors.Is(err, lost) {
		t.Error(err)
	}
}
