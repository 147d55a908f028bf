package page

import (
	"bytes"
	"fmt"
	"html/template"
	"maps"
	"strings"
	"sync"

	"github.com/causeway-net/causeway/kubectl-causeway/health"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
	"github.com/causeway-net/causeway/kubectl-causeway/picture"
)

// board is what the page shows now: parts of HTML by the ids of their elements.
type board struct {
	mu      sync.Mutex
	parts   map[string]template.HTML
	changed chan struct{}
}

func newBoard() *board {
	return &board{parts: map[string]template.HTML{"status": "<p>Reading the cluster…</p>"}, changed: make(chan struct{})}
}

// now returns the parts, and a channel that is closed when they change.
func (b *board) now() (map[string]template.HTML, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.parts), b.changed
}

// put replaces parts.
func (b *board) put(parts map[string]template.HTML) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.Copy(b.parts, parts)
	close(b.changed)
	b.changed = make(chan struct{})
}

// show puts the cluster on the board. If it can't be read, that is said above what was seen last.
func (s *Server) show(c *objects.Cluster, err error) {
	if err != nil {
		s.board.put(map[string]template.HTML{"trouble": render("trouble", fmt.Sprintf("%s: the cluster could not be read: %v. What stands below may be old. The next look is in ten seconds.",
			s.o.Now().Format("15:04:05"), err))})
		return
	}
	m := picture.Compute(c)
	report := health.Compute(c)
	s.board.put(map[string]template.HTML{
		"trouble": "",
		"status":  render("status", report),
		"pools":   render("pools", report),
		"map":     render("missing", missing(c)) + template.HTML(m.SVG()), //nolint:gosec // the picture escapes what it writes
	})
}

// missing are the kinds that the map would need and that could not be read.
func missing(c *objects.Cluster) string {
	var out []string
	for _, kind := range picture.Kinds {
		if !c.Read(kind) {
			out = append(out, string(kind))
		}
	}
	return strings.Join(out, ", ")
}

// render makes HTML; what is put in is escaped.
func render(name string, value any) template.HTML {
	var b bytes.Buffer
	if err := document.ExecuteTemplate(&b, name, value); err != nil {
		return template.HTML("<p>" + template.HTMLEscapeString(err.Error()) + "</p>") //nolint:gosec // it is escaped
	}
	return template.HTML(b.String()) //nolint:gosec // the template escapes
}
