package agent

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestOneAgentOnANode(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "causeway", "agent.sock")
	first, err := lockNode(socket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockNode(socket); err == nil || !strings.Contains(err.Error(), "another causeway-agent runs on this node") {
		t.Fatalf("a second agent got the lock: %v", err)
	}
	if err := first.Close(); err != nil { // as the end of the process does
		t.Fatal(err)
	}
	again, err := lockNode(socket)
	if err != nil {
		t.Fatalf("the next agent: %v", err)
	}
	_ = again.Close()
}
