package vm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A machine is given up when it ends or falls silent, soon, and not when it is slow.
func TestWaitForSilence(t *testing.T) {
	silent := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	slow := func(ctx context.Context) error {
		select {
		case <-time.After(silence / 2):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, c := range []struct {
		name  string
		alive func(context.Context) error
		ends  time.Duration // when the machine ends
		want  string
		after time.Duration
	}{
		{"ends", slow, 3 * time.Minute, "it ended by itself", 3 * time.Minute},
		{"ends while it is asked", silent, 5 * time.Second, "it ended by itself", 5 * time.Second},
		{"silent", silent, time.Hour, "it did not answer for 40s", silence + beat},
		{"refuses", func(context.Context) error { return errors.New("refused") }, time.Hour, "refused", silence + beat},
		{"slow", slow, time.Hour, "", time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
				defer cancel()
				ended := make(chan struct{})
				timer := time.AfterFunc(c.ends, func() { close(ended) })
				defer timer.Stop()
				begin := time.Now()
				err := waitForSilence(ctx, ended, c.alive)
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("have %v, want %q", err, c.want)
				}
				if took := time.Since(begin); took > c.after {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}
