package loops

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestABellHoldsOneMessage(t *testing.T) {
	bell := make(chan struct{}, 1)
	Ring(bell)
	Ring(bell)
	if len(bell) != 1 {
		t.Errorf("two rings leave %d messages", len(bell))
	}
	Clear(bell)
	Clear(bell)
	if len(bell) != 0 {
		t.Error("a cleared bell has a message")
	}
}

func TestSleepEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if !Sleep(ctx, time.Second) {
			t.Error("a sleep that nothing disturbs says that it was")
		}
		if Sleep(ctx, time.Hour) {
			t.Error("a sleep is as long as it was meant to be, although the context has ended")
		}
	})
}
