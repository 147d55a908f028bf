package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/test/retry"
)

// countRequests makes calls and counts the API requests that they cause.
func (b *bench) countRequests(ctx context.Context) error {
	t := task{Name: "count", Count: b.pairs, Batch: turn, Plugins: []plugin{b.ours(warmPool)}}
	for _, verb := range []string{"ADD", "DEL"} {
		before, err := requests(ctx, b.Config)
		if err != nil {
			return err
		}
		t.Verbs, t.Reuse, t.KeepNetns = []string{verb}, verb == "DEL", verb == "ADD"
		if _, err := b.run(ctx, t); err != nil {
			return err
		}
		written := map[string]string{"ADD": "POST workloadendpoints", "DEL": "DELETE workloadendpoints"}[verb]
		diff := counts{}
		if err := retry.Until(ctx, 30*time.Second, func() error { // records follow the calls
			after, err := requests(ctx, b.Config)
			if diff = after.since(before); err == nil && diff[written] < float64(b.pairs) {
				err = fmt.Errorf("%v of %d records are written", diff[written], b.pairs)
			}
			return err
		}); err != nil {
			return err
		}
		b.add(row{what: "API writes of records, for each " + verb, ours: fmt.Sprintf("%.3g", diff[written]/float64(b.pairs)), target: "1, no read"})
		b.notes = append(b.notes, fmt.Sprintf("All requests to our API group, for each %s: %s.", verb, diff.perCall(b.pairs)))
	}
	return nil
}

// counts are requests by verb and resource.
type counts map[string]float64

var requestLine = regexp.MustCompile(`^apiserver_request_total\{(.*)\} (\S+)$`)
var label = regexp.MustCompile(`(\w+)="([^"]*)"`)

// requests reads the API server's own count of the requests that it has answered.
func requests(ctx context.Context, config *rest.Config) (counts, error) {
	c := rest.CopyConfig(config)
	c.GroupVersion, c.NegotiatedSerializer = &v1alpha1.GroupVersion, scheme.Codecs
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("make a client for the API server's metrics: %w", err)
	}
	raw, err := client.Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the API server's metrics: %w", err)
	}
	out := counts{}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := requestLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		l := map[string]string{}
		for _, kv := range label.FindAllStringSubmatch(m[1], -1) {
			l[kv[1]] = kv[2]
		}
		n, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, fmt.Errorf("read the API server's metrics: %q: %w", lines.Text(), err)
		}
		resource := l["resource"]
		if l["subresource"] != "" {
			resource += "/" + l["subresource"]
		}
		ours := l["group"] == v1alpha1.GroupVersion.Group || resource == "events" || resource == "leases"
		if !ours || l["verb"] == "WATCH" {
			continue // the control plane talks to itself; a watch is counted when it ends
		}
		out[l["verb"]+" "+resource] += n
	}
	return out, lines.Err()
}

// since returns what has come on top of earlier counts.
func (c counts) since(earlier counts) counts {
	out := counts{}
	for key, n := range c {
		if n > earlier[key] {
			out[key] = n - earlier[key]
		}
	}
	return out
}

// perCall says how many requests there were for each of n calls.
func (c counts) perCall(n int) string {
	var keys []string
	for key := range c {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool { return c[keys[i]] > c[keys[j]] })
	var parts []string
	for _, key := range keys {
		parts = append(parts, fmt.Sprintf("%s %.3g", key, c[key]/float64(n)))
	}
	return strings.Join(parts, ", ")
}
