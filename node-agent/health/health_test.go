package health_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-net/causeway/node-agent/health"
)

func TestALoopThatStopsTurningIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := health.New(time.Now)
		kernel, other := c.Loop("keep the kernel", time.Minute), c.Loop("keep something else", time.Hour)
		time.Sleep(24 * time.Hour)
		if err := c.Hanging(t.Context()); err != nil {
			t.Errorf("before the first turn: %v", err)
		}
		kernel.Turned()
		other.Turned()
		time.Sleep(time.Minute)
		if err := c.Hanging(t.Context()); err != nil {
			t.Errorf("in time: %v", err)
		}
		time.Sleep(time.Second)
		if err := c.Hanging(t.Context()); err == nil || !strings.Contains(err.Error(), "keep the kernel") || strings.Contains(err.Error(), "else") {
			t.Errorf("too late: %v", err)
		}
		kernel.Turned()
		if err := c.Hanging(t.Context()); err != nil {
			t.Errorf("after another turn: %v", err)
		}
	})
}

func TestAProbeThatHangsIsNamedAndNotStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := health.New(time.Now)
		started, free := 0, make(chan struct{})
		c.Probe("the address book", func() { started++; <-free })
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Hanging(gone); err != nil {
			t.Errorf("whoever asked has gone: %v", err)
		}
		time.Sleep(6 * time.Second)
		for range 3 {
			if err := c.Hanging(t.Context()); err == nil || !strings.Contains(err.Error(), "the address book: no answer for 6s") {
				t.Errorf("%v", err)
			}
		}
		close(free)
		synctest.Wait()
		if err := c.Hanging(t.Context()); err != nil || started != 2 {
			t.Errorf("after it is free: %v, started %d times", err, started)
		}
	})
}
