package resident

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// Up starts this program with other arguments as a process of its own and shows what it says until its socket is there.
func (s State) Up(ctx context.Context, args ...string) error {
	lock, err := s.lock()
	if err != nil {
		return err
	}
	_ = os.Remove(s.Socket()) // Of one that was killed.
	log, err := os.Create(s.log())
	if err != nil {
		return fmt.Errorf("make the log: %w", err)
	}
	shown, err := os.Open(s.log())
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdout, cmd.Stderr = log, log
	// The child keeps the lock, by the open file, as long as it lives.
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the %s: %w", s.Thing, err)
	}
	if err := errors.Join(lock.Truncate(0), writePID(lock, cmd.Process.Pid)); err != nil {
		_ = cmd.Process.Kill() // Nobody could stop it later.
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if _, err := io.Copy(os.Stdout, shown); err != nil {
			return fmt.Errorf("show the log: %w", err)
		}
		if _, err := os.Stat(s.Socket()); err == nil {
			_, err := io.Copy(os.Stdout, shown)
			return err
		}
		select {
		case err := <-ended:
			_, _ = io.Copy(os.Stdout, shown) // The last words.
			return fmt.Errorf("the %s did not come up (%w); its log is %s", s.Thing, err, s.log())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func writePID(f *os.File, pid int) error {
	_, err := f.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0)
	return err
}
