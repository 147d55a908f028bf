package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// counts are numbers of requests or events, by what they were about.
type counts map[string]float64

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

func (c counts) add(more counts) {
	for key, n := range more {
		c[key] += n
	}
}

func (c counts) sum(which func(key string) bool) float64 {
	total := 0.0
	for key, n := range c {
		if which(key) {
			total += n
		}
	}
	return total
}

// over names the counts, each divided by n.
func (c counts) over(n float64) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, fmt.Sprintf("%s %.3g", key, c[key]/n))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func every(string) bool { return true }

// isWrite tells a request that changes something.
func isWrite(key string) bool {
	verb, _, _ := strings.Cut(key, " ")
	return verb == "POST" || verb == "PUT" || verb == "PATCH" || verb == "DELETE"
}

// heard is what one node, or several, have asked and were told.
type heard struct {
	requests, events counts
	bookmarks        float64
}

func newHeard() heard { return heard{requests: counts{}, events: counts{}} }

func (h heard) since(earlier heard) heard {
	return heard{requests: h.requests.since(earlier.requests), events: h.events.since(earlier.events), bookmarks: h.bookmarks - earlier.bookmarks}
}

func (h *heard) add(more heard) {
	h.requests.add(more.requests)
	h.events.add(more.events)
	h.bookmarks += more.bookmarks
}

// tally counts the requests of one node, and the events of its watches, by what goes over the wire.
type tally struct {
	next http.RoundTripper

	mu   sync.Mutex
	seen heard
}

func newTally() *tally { return &tally{seen: newHeard()} }

func (t *tally) wrap(next http.RoundTripper) http.RoundTripper {
	t.next = next
	return t
}

// read returns the counts so far.
func (t *tally) read() heard {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := newHeard()
	out.add(t.seen)
	return out
}

// RoundTrip implements http.RoundTripper.
func (t *tally) RoundTrip(request *http.Request) (*http.Response, error) {
	resource, named := resourceOf(request.URL.Path)
	verb := request.Method
	watches := request.URL.Query().Get("watch") != ""
	switch {
	case watches:
		verb = "WATCH"
	case verb == http.MethodGet && !named:
		verb = "LIST"
	}
	t.mu.Lock()
	t.seen.requests[verb+" "+resource]++
	t.mu.Unlock()
	answer, err := t.next.RoundTrip(request)
	if err == nil && watches && answer.StatusCode == http.StatusOK {
		frames := &frames{framed: !strings.Contains(answer.Header.Get("Content-Type"), "json"), tell: func(bookmark bool) {
			t.mu.Lock()
			defer t.mu.Unlock()
			if bookmark {
				t.seen.bookmarks++
			} else {
				t.seen.events[resource]++
			}
		}}
		answer.Body = &listener{ReadCloser: answer.Body, frames: frames}
	}
	return answer, err
}

// resourceOf names the resource of a path, and says whether one object of it is meant.
func resourceOf(path string) (resource string, named bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	skip := 2 // api, version
	if parts[0] == "apis" {
		skip = 3
	}
	if len(parts) <= skip {
		return path, true
	}
	parts = parts[skip:]
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	if len(parts) > 2 {
		return parts[0] + "/" + parts[2], true
	}
	return parts[0], len(parts) == 2
}

// listener lets events through and counts them.
type listener struct {
	io.ReadCloser
	frames *frames
}

// Read implements io.Reader.
func (l *listener) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	l.frames.take(p[:n])
	return n, err //nolint:wrapcheck // io.EOF must stay what it is
}

// frames cuts a stream of watch events. JSON has one on each line; other encodings write four bytes of length before each.
type frames struct {
	framed bool
	tell   func(bookmark bool)

	head []byte // the first bytes of the event that is under way, its length included
	left int    // bytes that are to come of a framed event
	open bool   // an event is under way
}

// headLength is enough to see the type of an event.
const headLength = 64

func (f *frames) take(p []byte) {
	for len(p) > 0 {
		if f.framed {
			p = f.takeFramed(p)
			continue
		}
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		f.note(line)
		if whole {
			f.end()
		}
		p = rest
	}
}

func (f *frames) takeFramed(p []byte) []byte {
	if !f.open {
		n := min(4-len(f.head), len(p))
		f.head = append(f.head, p[:n]...)
		if len(f.head) == 4 {
			f.left, f.open, f.head = int(binary.BigEndian.Uint32(f.head)), true, f.head[:0]
		}
		return p[n:]
	}
	n := min(f.left, len(p))
	f.note(p[:n])
	if f.left -= n; f.left == 0 {
		f.open = false
		f.end()
	}
	return p[n:]
}

func (f *frames) note(p []byte) {
	f.head = append(f.head, p[:min(len(p), headLength-min(len(f.head), headLength))]...)
}

func (f *frames) end() {
	if len(f.head) > 0 {
		f.tell(bytes.Contains(f.head, []byte("BOOKMARK")))
	}
	f.head = f.head[:0]
}
