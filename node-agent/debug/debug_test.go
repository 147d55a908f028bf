package debug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

type book struct {
	Free int `json:"free"`
}

func (b book) String() string { return fmt.Sprintf("%d free\n", b.Free) }

func TestWindowsAreReadOnTheSocket(t *testing.T) {
	socket := SocketBeside(filepath.Join(t.TempDir(), "agent.sock"))
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- Serve(ctx, l, []Window{
			{"book", func() (fmt.Stringer, error) { return book{7}, nil }},
			{"plan", func() (fmt.Stringer, error) { return nil, errors.New("there is no plan yet") }},
		})
	}()
	if got, err := Get(ctx, socket, "book", "text"); err != nil || got != "7 free\n" {
		t.Errorf("text: %q, %v", got, err)
	}
	var b book
	got, err := Get(ctx, socket, "book", "json")
	if err != nil || json.Unmarshal([]byte(got), &b) != nil || b.Free != 7 {
		t.Errorf("JSON: %q, %v", got, err)
	}
	if _, err := Get(ctx, socket, "plan", "text"); err == nil || !strings.Contains(err.Error(), "there is no plan yet") {
		t.Errorf("a window that can't be read: %v", err)
	}
	if _, err := Get(ctx, socket, "cellar", "text"); err == nil || !strings.Contains(err.Error(), "book") {
		t.Errorf("an unknown window: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := Get(t.Context(), socket, "book", "text"); err == nil || !strings.Contains(err.Error(), "does it run on this node") {
		t.Errorf("without an agent: %v", err)
	}
}

func TestProfilesAreServed(t *testing.T) {
	answer := httptest.NewRecorder()
	handler(nil).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/debug/pprof/goroutine?debug=1", nil))
	if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), "goroutine profile") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}
