package controllers

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestGiveBackOnceWhenAllIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, read, given := time.Now(), false, 0
		g := newGiveBack(func() bool { return read })
		g.give = func() { given++ }
		ended := make(chan error, 1)
		go func() { ended <- g.Start(t.Context()) }()
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
