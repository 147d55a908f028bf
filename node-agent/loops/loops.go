// Package loops has what every loop of the agent needs to wait: a bell that is rung without waiting, and a sleep that ends with
// the context.
package loops

import (
	"context"
	"time"
)

// Ring tells the reader of a channel that holds one message that there is something to do. It never waits: if the reader has not
// yet come to an earlier message, that one serves.
func Ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// Clear takes a message back that nobody has read yet.
func Clear(bell <-chan struct{}) {
	select {
	case <-bell:
	default:
	}
}

// Sleep waits, and reports false where the context ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
