package controllers

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	// lookEvery is how often a controller that starts looks whether it has read everything.
	lookEvery = time.Second
	// afterStart is how long after that it has used what it needs for its start alone.
	afterStart = 3 * time.Second
)

// giveBack returns the memory of what was read at the start to the kernel, once: most of it is garbage of objects that were only
// looked at, and Go would return it little by little.
type giveBack struct {
	synced func() bool
	give   func()
}

func newGiveBack(synced func() bool) *giveBack {
	return &giveBack{synced: synced, give: debug.FreeOSMemory}
}

// NeedLeaderElection says that a controller that does not lead reads everything too.
func (g *giveBack) NeedLeaderElection() bool { return false }

// Start returns when the memory is given back, or the context has ended.
func (g *giveBack) Start(ctx context.Context) error {
	for pause := lookEvery; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		switch {
		case pause == afterStart:
			g.give()
			return nil
		case g.synced():
			pause = afterStart
		}
	}
}
