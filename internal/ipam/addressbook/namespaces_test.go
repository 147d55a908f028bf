package addressbook

import (
	"errors"
	"testing"
	"testing/synctest"
)

func askFor(namespace, key string, pools ...string) Request {
	r := ask(key, pools...)
	r.Endpoint.Namespace = namespace
	return r
}

// TestNamespaceLimits: one node alone never gives a namespace more than its limit, nor anything once the cluster's count has reached it.
func TestNamespaceLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBook(&clock{}, 0)
		one := 1
		limited := pool("limited", "10.0.0.0/24", 254)
		set := func(reached ...string) {
			limited.Namespaces = &NamespaceLimits{Named: map[string]int{"team": 2, "out": 0}, Others: &one, Reached: reached}
			b.SetPools([]Pool{limited, pool("other", "10.1.0.0/24", 254)})
		}
		set()
		b.SetBlocks([]Block{own("10.0.0.0/25", "limited"), own("10.1.0.0/25", "other")})
		must := func(namespace, key, want string, pools ...string) {
			t.Helper()
			if e, err := b.Reserve(t.Context(), askFor(namespace, key, pools...)); err != nil || e.Pools[0] != want {
				t.Fatalf("%s: %v, %v", key, e.Pools, err)
			}
		}
		refused := func(namespace string, most int) {
			t.Helper()
			_, err := b.Reserve(t.Context(), askFor(namespace, "more", "limited"))
			var barred *NamespaceError
			if !errors.As(err, &barred) || *barred != (NamespaceError{"limited", namespace, most}) {
				t.Errorf("%s: %v", namespace, err)
			}
			if shares, _ := b.Shares(); shares[0].Waiting != 0 {
				t.Errorf("a pod that no block can help asks for one: %+v", shares[0])
			}
		}
		must("team", "a", "limited", "limited")
		must("team", "b", "limited", "limited", "other")
		must("team", "c", "other", "limited", "other") // the next pool serves
		refused("team", 2)
		refused("out", 0)
		must("any", "d", "limited", "limited")
		refused("any", 1)

		// Other nodes have given the rest.
		set("team", "third")
		free(b, "a")
		refused("team", 2)
		refused("third", 1)

		// A pod waits some seconds for its namespace to come below the limit.
		told := make(chan error, 1)
		go func() {
			_, err := b.Reserve(t.Context(), askFor("team", "e", "limited"))
			told <- err
		}()
		synctest.Wait()
		set("third")
		if err := <-told; err != nil {
			t.Error(err)
		}
	})
}
