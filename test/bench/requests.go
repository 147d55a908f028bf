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

	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/causeway-net/causeway/api/v1alpha1"
)

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
		if l["group"] != v1alpha1.GroupVersion.Group && resource != "events" {
			continue // the control plane talks to itself, and to everybody's leases
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
