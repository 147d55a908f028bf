package giveback

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryIsGivenBackOnceWhenAllIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, read, given := time.Now(), false, 0
		m := New(func() bool { return read })
		m.give = func() { given++ }
		ended := make(chan error, 1)
		go func() { ended <- m.Start(t.Context()) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if given != 0 {
			t.Error("memory is given back while it is needed")
		}
		read = true
		if err := <-ended; err != nil || given != 1 || time.Since(began) > time.Minute+lookEvery+afterStart {
			t.Errorf("%v; given back %d times after %s", err, given, time.Since(began))
		}
	})
}
