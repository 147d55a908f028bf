package controllers

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/causeway-net/causeway/test/retry"
)

// syncedCache says that it is synced when it may.
type syncedCache struct {
	cache.Cache
	may chan struct{}
}

func (c syncedCache) WaitForCacheSync(ctx context.Context) bool {
	select {
	case <-c.may:
		return true
	case <-ctx.Done():
		return false
	}
}

func TestHealthFollowsCacheAndReconcilers(t *testing.T) {
	registry := prometheus.NewRegistry()
	busy := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "workqueue_longest_running_processor_seconds"}, []string{"name"})
	registry.MustRegister(busy)
	socket, may := filepath.Join(t.TempDir(), "run", "health.sock"), make(chan struct{})
	h := &healthServer{socket: socket, cache: syncedCache{may: may}, meters: registry}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Start(ctx) }()
	ask := func(question string) error { return AskHealth(ctx, socket, question) }
	if err := retry.Until(ctx, 20*time.Second, func() error { return ask("live") }); err != nil {
		t.Fatal(err)
	}
	if err := ask("ready"); err == nil {
		t.Error("ready before the cache is")
	}
	close(may)
	if err := retry.Until(ctx, 20*time.Second, func() error { return ask("ready") }); err != nil {
		t.Error(err)
	}
	busy.WithLabelValues("pools").Set(299)
	if err := ask("live"); err != nil {
		t.Error(err)
	}
	busy.WithLabelValues("pools").Set(301)
	if err := ask("live"); err == nil || !strings.Contains(err.Error(), "not live") {
		t.Errorf("a hanging reconciler: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
