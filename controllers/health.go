package controllers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// hangsAfter is how long one object may keep a reconciler busy. Each waits for single answers of the API server only.
const hangsAfter = 5 * time.Minute

// healthServer answers probes on a unix socket. Two controllers may run on one node's network, so no port is free for each.
type healthServer struct {
	socket string
	cache  cache.Cache
	meters prometheus.Gatherer
	synced atomic.Bool
}

// NeedLeaderElection makes controller-runtime run the server whether or not this process is the leader.
func (h *healthServer) NeedLeaderElection() bool { return false }

// Start serves until the context ends.
func (h *healthServer) Start(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(h.socket), 0o755); err != nil {
		return fmt.Errorf("make the folder of the health socket: %w", err)
	}
	if err := os.Remove(h.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a leftover health socket: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", h.socket)
	if err != nil {
		return fmt.Errorf("listen on the health socket: %w", err)
	}
	go func() { h.synced.Store(h.cache.WaitForCacheSync(ctx)) }()
	mux := http.NewServeMux()
	for path, check := range map[string]func() error{"/live": h.hanging, "/ready": h.unready} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			if err := check(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
			}
		})
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve health: %w", err)
	}
	return nil
}

func (h *healthServer) unready() error {
	if !h.synced.Load() {
		return errors.New("the controller still reads the objects of the cluster")
	}
	return nil
}

// hanging says which reconciler has worked on one object for too long, as controller-runtime's own metric tells.
func (h *healthServer) hanging() error {
	families, err := h.meters.Gather()
	if err != nil {
		return fmt.Errorf("read the metrics of the reconcilers: %w", err)
	}
	for _, f := range families {
		if f.GetName() != "workqueue_longest_running_processor_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			if busy := time.Duration(m.GetGauge().GetValue() * float64(time.Second)); busy > hangsAfter {
				return fmt.Errorf("a reconciler has worked on one object for %s: %s", busy.Round(time.Second), m.GetLabel())
			}
		}
	}
	return nil
}

// AskHealth asks a controller's health socket: "live" or "ready".
func AskHealth(ctx context.Context, socket, question string) error {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://controller/"+question, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the controller whether it is %s: %w", question, err)
	}
	defer response.Body.Close() //nolint:errcheck // read only
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the controller is not %s: %s", question, response.Status)
	}
	return nil
}
