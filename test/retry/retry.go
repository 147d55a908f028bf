// Package retry waits in tests for what comes about by itself.
package retry

import (
	"context"
	"time"
)

// pause is the time between two tries.
const pause = 20 * time.Millisecond

// Until tries again until there is no error. When the limit has passed or ctx ends, it returns what the last try said.
func Until(ctx context.Context, limit time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
