package debug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"path/filepath"
	"slices"
	"time"
)

// Window is one view into the agent. Read returns a value whose JSON is stable, and whose String is for people.
type Window struct {
	Name string
	Read func() (fmt.Stringer, error)
}

// SocketBeside returns the path of the debug socket of the agent whose CNI socket this is.
func SocketBeside(socket string) string { return filepath.Join(filepath.Dir(socket), "debug.sock") }

// Serve answers on a listener until the context ends.
func Serve(ctx context.Context, l net.Listener, windows []Window) error {
	server := &http.Server{Handler: handler(windows), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the debug socket: %w", err)
	}
	return nil
}

func handler(windows []Window) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	for _, w := range windows {
		mux.HandleFunc("GET /debug/"+w.Name, w.answer)
	}
	return mux
}

func (w Window) answer(out http.ResponseWriter, r *http.Request) {
	value, err := w.Read()
	if err != nil {
		http.Error(out, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if r.URL.Query().Get("format") != "json" {
		_, _ = io.WriteString(out, value.String()) // the reader is gone
		return
	}
	out.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(value) // the reader is gone
}

// Names are the windows that an agent has.
var Names = []string{"book", "plan"}

// Get reads a window of the agent that listens on a debug socket, in a format: text or json.
func Get(ctx context.Context, socket, window, format string) (string, error) {
	if !slices.Contains(Names, window) {
		return "", fmt.Errorf("there is no window %q; choose one of %v", window, Names)
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/debug/"+window+"?format="+url.QueryEscape(format), nil)
	if err != nil {
		return "", fmt.Errorf("ask the agent: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask the agent on %s; does it run on this node?: %w", socket, err)
	}
	defer response.Body.Close() //nolint:errcheck // it is read to its end
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("read the agent's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the agent answers: %s", body)
	}
	return string(body), nil
}
