package cniserver

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
)

// exchange sends a text over the server's socket and returns the answer.
func exchange(t *testing.T, socket string, text []byte) string {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the exchange is over
	if _, err := conn.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(conn); err != nil {
		t.Fatal(err)
	}
	return answer.String()
}

func TestTheAnswerIsWhatThePluginPrints(t *testing.T) {
	s := newTestServer(t, newWorld())
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()

	if answer := exchange(t, socket, request("ADD", "a").Encode()); answer[0] != protocol.Succeeded || !json.Valid([]byte(answer[1:])) {
		t.Errorf("ADD: %q", answer)
	}
	if answer := exchange(t, socket, request("DEL", "a").Encode()); answer != string(protocol.Succeeded) {
		t.Errorf("DEL: %q", answer)
	}
	for text, code := range map[string]uint{
		string(request("MOVE", "a").Encode()): protocol.CodeInvalidEnvironment,
		`{"command":"ADD"}`:                   protocol.CodeDecodingFailure,
	} {
		answer := exchange(t, socket, []byte(text))
		var bad types.Error
		if err := json.Unmarshal([]byte(answer[1:]), &bad); err != nil || answer[0] != protocol.Failed || bad.Code != code {
			t.Errorf("%q: %v: %q", text, err, answer)
		}
		if strings.HasPrefix(text, "causeway") && !strings.Contains(answer, `"cniVersion": "1.1.0"`) {
			t.Errorf("the error has no version: %s", answer)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestVerbsOfNewerVersions(t *testing.T) {
	for _, c := range []struct {
		verb, version string
		code          uint
	}{
		{"ADD", "", 0}, {"ADD", "0.1.0", 0}, {"ADD", "1.1.0", 0}, {"CHECK", "0.4.0", 0}, {"STATUS", "1.1.0", 0},
		{"CHECK", "", 1}, {"CHECK", "0.3.1", 1}, {"GC", "1.0.0", 1}, {"STATUS", "1.0.0", 1}, {"ADD", "0.9.9", 1},
	} {
		var code uint
		if bad := checkVersion(c.verb, c.version); bad != nil {
			code = bad.Code
		}
		if code != c.code {
			t.Errorf("%s of version %q got code %d, want %d", c.verb, c.version, code, c.code)
		}
	}
}
