package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

var (
	sampleLine = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? (\S+)$`)
	labelPart  = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// server is what the API server counts itself.
type server struct {
	at time.Time
	// requests are those that were answered, by verb and resource; events are those sent to watchers, by resource, with
	// bookmarks.
	requests, events counts
	// watchers are the watches that are open, by resource.
	watchers counts
	// processor is in seconds, memory in bytes.
	processor, memory float64
}

// since returns what has come on top of an earlier reading.
func (s server) since(earlier server) server {
	return server{at: s.at, requests: s.requests.since(earlier.requests), events: s.events.since(earlier.events),
		processor: s.processor - earlier.processor, memory: s.memory}
}

// readServer reads the API server's metrics.
func (b *bench) readServer(ctx context.Context) (server, error) {
	c := rest.CopyConfig(b.Config)
	c.GroupVersion, c.NegotiatedSerializer = &v1alpha1.GroupVersion, scheme.Codecs
	r, err := rest.RESTClientFor(c)
	if err != nil {
		return server{}, fmt.Errorf("make a client for the API server's metrics: %w", err)
	}
	raw, err := r.Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return server{}, fmt.Errorf("read the API server's metrics: %w", err)
	}
	s := server{at: time.Now(), requests: counts{}, events: counts{}, watchers: counts{}}
	err = samples(raw, func(name string, labels map[string]string, value float64) {
		resource := labels["resource"]
		if sub := labels["subresource"]; sub != "" {
			resource += "/" + sub
		}
		switch name {
		case "apiserver_request_total":
			s.requests[labels["verb"]+" "+resource] += value
		case "apiserver_watch_events_total":
			s.events[resource] += value
		case "apiserver_longrunning_requests":
			if labels["verb"] == "WATCH" {
				s.watchers[resource] += value
			}
		case "process_cpu_seconds_total":
			s.processor = value
		case "process_resident_memory_bytes":
			s.memory = value
		}
	})
	return s, err
}

// rounds is how many rounds a reconciler of the controller has run, and how long they took together.
type rounds struct {
	count float64
	took  time.Duration
}

// readRounds reads the controller's metrics.
func readRounds(ctx context.Context, reconciler string) (rounds, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+controllerMetrics+"/metrics", nil)
	if err != nil {
		return rounds{}, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return rounds{}, fmt.Errorf("read the controller's metrics: %w", err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return rounds{}, fmt.Errorf("read the controller's metrics: %w", err)
	}
	var out rounds
	err = samples(raw, func(name string, labels map[string]string, value float64) {
		if labels["controller"] != reconciler {
			return
		}
		switch name {
		case "controller_runtime_reconcile_time_seconds_count":
			out.count = value
		case "controller_runtime_reconcile_time_seconds_sum":
			out.took = time.Duration(value * float64(time.Second))
		}
	})
	return out, err
}

// samples passes on every sample of Prometheus's text format.
func samples(raw []byte, use func(name string, labels map[string]string, value float64)) error {
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		m := sampleLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return fmt.Errorf("read metrics: %q: %w", lines.Text(), err)
		}
		labels := map[string]string{}
		for _, kv := range labelPart.FindAllStringSubmatch(m[2], -1) {
			labels[kv[1]] = kv[2]
		}
		use(m[1], labels, value)
	}
	return lines.Err()
}
