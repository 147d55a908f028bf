package addressbook

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

// TestAtTheLimitOfBlocks: a pod that finds all blocks full which its node may have takes the next pool, and else waits some seconds for a
// pod of the node to leave.
func TestAtTheLimitOfBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBook(&clock{}, 0)
		limited := pool("limited", "10.0.0.0/24", 1)
		limited.MaxBlocks = 2
		b.SetPools([]Pool{limited, pool("other", "10.1.0.0/24", 1)})
		b.SetBlocks([]Block{own("10.0.0.0/31", "limited"), own("10.0.0.2/31", "limited"), own("10.1.0.0/31", "other")})
		for _, c := range []struct{ key, pool string }{{"a", "limited"}, {"b", "limited"}, {"c", "other"}} {
			if e, err := b.Reserve(ended(), ask(c.key, "limited", "other")); err != nil || e.Pools[0] != c.pool {
				t.Fatalf("%s: %v, %v", c.key, e.Pools, err)
			}
		}
		told := make(chan error, 1)
		go func() {
			_, err := b.Reserve(t.Context(), ask("d", "limited"))
			told <- err
		}()
		synctest.Wait()
		if shares, _ := b.Shares(); shares[0].Waiting != 1 || shares[0].MaxBlocks != 2 {
			t.Errorf("the controller is not told that a pod waits: %+v", shares[0])
		}
		free(b, "a")
		if err := <-told; err != nil {
			t.Errorf("a pod has left, and still: %v", err)
		}
		_, err := b.Reserve(t.Context(), ask("e", "limited"))
		var full *FullError
		if !errors.As(err, &full) || !slices.Equal(full.AtLimit, []BlockLimit{{"limited", 2}}) || len(full.Pools) != 0 {
			t.Errorf("the error does not name the limit: %v", err)
		}
		if shares, _ := b.Shares(); shares[0].Waiting != 0 {
			t.Errorf("%+v", shares[0])
		}
	})
}
