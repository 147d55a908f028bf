// Package giveback returns memory to the kernel that a program has needed for its start alone. It decides nothing else.
package giveback

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	// lookEvery is how often a program that starts looks whether it has read everything.
	lookEvery = time.Second
	// afterStart is how long after that it has used what it needs for its start alone.
	afterStart = 3 * time.Second
)

// Memory is given back once: the first look at a large cluster takes far more than a program keeps, and Go would return it little by little.
type Memory struct {
	synced func() bool
	give   func()
}

// New returns the memory of a program that has read everything when synced says so.
func New(synced func() bool) *Memory { return &Memory{synced: synced, give: debug.FreeOSMemory} }

// NeedLeaderElection says that a controller that does not lead reads everything too.
func (m *Memory) NeedLeaderElection() bool { return false }

// Start returns when the memory is given back, or the context has ended.
func (m *Memory) Start(ctx context.Context) error {
	for pause := lookEvery; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		switch {
		case pause == afterStart:
			m.give()
			return nil
		case m.synced():
			pause = afterStart
		}
	}
}
