package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/causeway-net/causeway/cni-plugin/protocol"
)

// TestMain makes the test program the plugin where a runtime calls it.
func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// agent answers one call and returns what the plugin has asked.
func agent(t *testing.T, answer string) (socket string, asked <-chan protocol.Request) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	requests := make(chan protocol.Request, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close() //nolint:errcheck // the test is over
		text, err := io.ReadAll(conn)
		if r, ok := protocol.DecodeRequest(text); ok && err == nil {
			requests <- r
		}
		_, _ = io.WriteString(conn, answer)
	}()
	return socket, requests
}

func arguments(verb string) *invoke.Args {
	return &invoke.Args{
		Command: verb, ContainerID: "abc", NetNS: "/run/netns/x", IfName: "eth0", Path: "/opt/cni/bin",
		PluginArgsStr: `IgnoreUnknown=1;K8S_POD_NAME=web-0`,
	}
}

func config(socket string) []byte {
	return []byte(`{"cniVersion": "1.0.0", "name": "causeway", "patienceSeconds": 20, "socket": "` + socket + `"}`)
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// call runs the plugin as the CNI project's library does.
func call(t *testing.T, verb string, config []byte) (types.Result, error) {
	t.Helper()
	if verb == "ADD" {
		return invoke.ExecPluginWithResult(context.Background(), self(t), config, arguments(verb), nil)
	}
	return nil, invoke.ExecPluginWithoutResult(context.Background(), self(t), config, arguments(verb), nil)
}

func TestTheCallReachesTheAgentAndTheResultTheRuntime(t *testing.T) {
	socket, asked := agent(t, `0{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/32"}]}`)
	result, err := call(t, "ADD", config(socket))
	if err != nil {
		t.Fatal(err)
	}
	got, err := types100.GetResult(result)
	if err != nil || len(got.IPs) != 1 || got.IPs[0].Address.String() != "10.0.0.5/32" {
		t.Errorf("the runtime got %v, %v", result, err)
	}
	r := <-asked
	if r.PatienceMilliseconds < 19_000 || r.PatienceMilliseconds >= 20_000 {
		t.Errorf("the agent is to answer within %d ms", r.PatienceMilliseconds)
	}
	want := protocol.Request{Command: "ADD", ContainerID: "abc", NetworkNamespace: "/run/netns/x", Interface: "eth0", Args: "IgnoreUnknown=1;K8S_POD_NAME=web-0"}
	if string(r.Config) != string(config(socket)) {
		t.Errorf("the agent got the configuration %s", r.Config)
	}
	if r.Config, r.PatienceMilliseconds = nil, 0; !equal(r, want) {
		t.Errorf("the agent was asked %+v", r)
	}
}

func equal(a, b protocol.Request) bool { return string(a.Encode()) == string(b.Encode()) }

func TestAnErrorOfTheAgentIsTheRuntimes(t *testing.T) {
	for _, verb := range []string{"ADD", "DEL", "CHECK", "GC", "STATUS"} {
		socket, _ := agent(t, "1{\"cniVersion\":\"1.0.0\",\"code\":101,\"msg\":\"The pool is full.\"}\n")
		_, err := call(t, verb, config(socket))
		var cniErr *types.Error
		if !errors.As(err, &cniErr) || cniErr.Code != 101 || cniErr.Msg != "The pool is full." {
			t.Errorf("%s: the runtime got %#v", verb, err)
		}
	}
}

// A node whose agent is away keeps its network, and must not lose its pods from Services.
func TestStatusOfANodeWhoseAgentHasServed(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "agent.sock")
	silent, err := net.Listen("unix", filepath.Join(t.TempDir(), "silent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // the test is over
	for _, socket := range []string{nowhere, silent.Addr().String()} {
		if _, err := call(t, "STATUS", config(socket)); err == nil {
			t.Errorf("%s: nobody has ever served, and the network is there", socket)
		}
		if err := os.WriteFile(socket+protocol.ServedSuffix, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := call(t, "STATUS", config(socket)); err != nil {
			t.Errorf("%s: %v", socket, err)
		}
	}
}

func TestADelWithoutOutputSucceeds(t *testing.T) {
	socket, _ := agent(t, "0")
	if _, err := call(t, "DEL", config(socket)); err != nil {
		t.Error(err)
	}
}

func TestAnAgentThatIsNotThereIsToBeTriedAgain(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "no\"body.sock")
	silent, err := net.Listen("unix", filepath.Join(t.TempDir(), "silent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // the test is over
	ended, _ := agent(t, "")
	for _, c := range []struct {
		verb, socket, details string
		code                  uint
	}{
		{"ADD", nowhere, "no such file", protocol.CodeTryAgainLater},
		{"STATUS", nowhere, "no such file", protocol.CodeNotAvailable},
		{"ADD", silent.Addr().String(), "in time", protocol.CodeTryAgainLater},
		{"DEL", ended, "ended before it answered", protocol.CodeTryAgainLater},
	} {
		conf, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": "causeway", "patienceSeconds": 1, "socket": c.socket})
		if err != nil {
			t.Fatal(err)
		}
		_, err = call(t, c.verb, conf)
		var cniErr *types.Error
		if !errors.As(err, &cniErr) || cniErr.Code != c.code || !strings.Contains(cniErr.Details, c.details) {
			t.Errorf("%s of %s: the runtime got %#v", c.verb, c.socket, err)
		}
	}
}

// An agent that restarts is waited for as long as the runtime waits for the call, not less: kubelet would make a new
// sandbox and wait longer each time.
func TestACallWaitsForAnAgentThatRestarts(t *testing.T) {
	for verb, want := range map[string]int64{"ADD": 25_000, "DEL": 25_000, "CHECK": 25_000, "STATUS": 3_000} {
		if got := patienceOf(protocol.Request{Command: verb, Config: []byte(`{"cniVersion":"1.1.0"}`)}); got != want {
			t.Errorf("%s waits %d ms, want %d", verb, got, want)
		}
	}
	socket := filepath.Join(t.TempDir(), "agent.sock")
	if _, waited, err := connect(socket, 200); err == nil || waited != 200 {
		t.Errorf("with 200 ms it has waited %d ms: %v", waited, err)
	}
	connected := make(chan error, 1)
	go func() {
		_, _, err := connect(socket, 60_000)
		connected <- err
	}()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // the test is over
	if err := <-connected; err != nil {
		t.Error(err)
	}
}

func TestVersionsAndAbout(t *testing.T) {
	info, err := invoke.GetVersionInfo(context.Background(), self(t), nil)
	if err != nil || !slices.Equal(info.SupportedVersions(), protocol.Versions) {
		t.Errorf("got %v, %v", info, err)
	}
	if about, failed := run(func(string) (string, bool) { return "", false }, stdin); failed || !strings.Contains(string(about), "1.1.0") {
		t.Errorf("without a command: %s, %t", about, failed)
	}
}

// Each package that is imported here is set up before every call. These take longest.
func TestThePluginImportsLittle(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, heavy := range []string{"encoding/json", "fmt", "net", "os", "reflect", "regexp", "time", "unicode"} {
		if slices.Contains(strings.Fields(string(out)), heavy) {
			t.Errorf("the plugin imports %s", heavy)
		}
	}
}
