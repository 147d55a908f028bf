package probe

import (
	"net"
	"strings"
	"testing"
)

func TestAsk(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), address, "server-1") }()
	questions := []Question{
		{ID: 7, Kind: Connect, Target: address, Names: []string{"server-1", "server-2"}},
		{ID: 8, Kind: Connect, Target: address},
		{ID: 9, Kind: Connect, Target: address, Names: []string{"server-2"}},
		{ID: 10, Kind: "smoke", Target: address},
		{ID: 11, Kind: Connect, Target: "192.0.2.1.invalid:1"},
	}
	for {
		// The server listens any moment now.
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			break
		}
		select {
		case err := <-served:
			t.Fatal(err)
		default:
		}
	}
	want := []string{"", "", "somebody else", "can't ask", "lookup"}
	for i, a := range Ask(t.Context(), questions) {
		if a.ID != questions[i].ID || (a.Problem == "") != (want[i] == "") || !strings.Contains(a.Problem, want[i]) {
			t.Errorf("question %+v: answer %+v", questions[i], a)
		}
	}
}
