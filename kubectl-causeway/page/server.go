// Package page shows the cluster as a local web page. It takes the cluster each time it has changed, and what people type into its
// form, and serves HTML and drawings to browsers of this machine that know its token. It has no rights of its own, and asks the
// cluster nothing but through its Options.
package page

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

// ending is how long requests may take to end when the page ends: a trace is deleted meanwhile.
const ending = 7 * time.Second

// Options are what a Server needs.
type Options struct {
	// Token is what a browser must know.
	Token string
	// Cluster says which cluster it is, for the page's head. Namespace is that of pods without one.
	Cluster, Namespace string
	// Watch calls show with the cluster or an error, and again when it changes, until the context ends.
	Watch func(ctx context.Context, show func(*objects.Cluster, error)) error
	// Trace runs a trace, and calls seen each time that its status has changed.
	Trace func(ctx context.Context, trace *v1alpha1.PathTrace, seen func(*v1alpha1.PathTrace)) error
	Now   func() time.Time
}

// Server serves the page.
type Server struct {
	o     Options
	board *board
}

// New returns a Server.
func New(o Options) *Server { return &Server{o: o, board: newBoard()} }

// URL is where the page is.
func (s *Server) URL(at net.Addr) string { return fmt.Sprintf("http://%s/?token=%s", at, s.o.Token) }

// Run serves until the context ends, and then lets requests end.
func (s *Server) Run(ctx context.Context, at net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := &http.Server{Handler: s.Handler(at.Addr()), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	var running sync.WaitGroup
	failed := make(chan error, 2)
	running.Go(func() {
		if err := s.o.Watch(ctx, s.show); err != nil {
			failed <- err
		}
	})
	running.Go(func() {
		if err := server.Serve(at); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve the page: %w", err)
		}
	})
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), ending)
	defer cancel()
	err = errors.Join(err, server.Shutdown(limit))
	running.Wait()
	return err
}

//go:embed page.html page.js page.css icon.svg
var files embed.FS

var document = template.Must(template.ParseFS(files, "page.html"))

// Handler answers browsers that ask for this address.
func (s *Server) Handler(at net.Addr) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("POST /trace", s.trace)
	for _, file := range []string{"page.js", "page.css", "icon.svg"} {
		mux.HandleFunc("GET /"+file, func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, file) })
	}
	return newGuard(at, s.o.Token, mux)
}

// page is the whole document, with what is known now.
func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	parts, _ := s.board.now()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// The browser has gone if this fails.
	_ = document.ExecuteTemplate(w, "page", struct {
		Cluster, Namespace string
		Parts              map[string]template.HTML
	}{s.o.Cluster, s.o.Namespace, parts})
}

// events sends the parts of the page that have changed, as server-sent events, until the browser or the page ends.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	sent := map[string]template.HTML{}
	for {
		parts, changed := s.board.now()
		news := map[string]template.HTML{}
		for name, part := range parts {
			if old, ok := sent[name]; !ok || old != part {
				news[name], sent[name] = part, part
			}
		}
		text, err := json.Marshal(news)
		if err == nil {
			_, err = fmt.Fprintf(w, "data: %s\n\n", text)
		}
		if err == nil {
			err = http.NewResponseController(w).Flush()
		}
		if err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}
