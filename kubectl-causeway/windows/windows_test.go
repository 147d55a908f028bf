package windows_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/causeway-net/causeway/kubectl-causeway/windows"
)

// Channels of the API server's protocol v5.channel.k8s.io.
const (
	stdout = 1
	stderr = 2
	status = 3
)

// apiServer answers exec as the API server does.
func apiServer(t *testing.T, asked *string, out, errs string, end metav1.Status) *rest.Config {
	t.Helper()
	upgrader := websocket.Upgrader{Subprotocols: []string{"v5.channel.k8s.io"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = r.URL.Path + " " + strings.Join(r.URL.Query()["command"], " ") + " in " + r.URL.Query().Get("container")
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		ending, err := json.Marshal(end)
		if err != nil {
			t.Error(err)
		}
		for _, m := range [][]byte{append([]byte{stdout}, out...), append([]byte{stderr}, errs...), append([]byte{status}, ending...)} {
			if err := c.WriteMessage(websocket.BinaryMessage, m); err != nil {
				t.Error(err)
			}
		}
		if err := c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}
}

func agentPod(node string) *corev1.Pod {
	if node != "node1" {
		return nil
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "causeway-system", Name: "causeway-agent-x"}}
}

func TestPods(t *testing.T) {
	var asked string
	p := windows.Pods{Config: apiServer(t, &asked, "block 10.0.0.0/26\n", "", metav1.Status{Status: metav1.StatusSuccess}), Find: agentPod}
	got, err := windows.Text(t.Context(), p, "node1", "book")
	if err != nil || string(got) != "block 10.0.0.0/26\n" {
		t.Errorf("the answer is %q (%v)", got, err)
	}
	if want := "/api/v1/namespaces/causeway-system/pods/causeway-agent-x/exec causeway-agent debug book in agent"; asked != want {
		t.Errorf("it asked for %q, want %q", asked, want)
	}
	if _, err := windows.Text(t.Context(), p, "node2", "book"); err == nil || !strings.Contains(err.Error(), "node2 has no pod of an agent") {
		t.Errorf("without a pod it says %v", err)
	}
}

// What the agent says of its failure reaches the reader.
func TestPodsThatFail(t *testing.T) {
	var asked string
	end := metav1.Status{Status: metav1.StatusFailure, Reason: "NonZeroExitCode", Message: "command terminated with non-zero exit code",
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: "1"}}}}
	p := windows.Pods{Config: apiServer(t, &asked, "", "causeway-agent: the agent has made no plan yet\n", end), Find: agentPod}
	_, err := windows.Text(t.Context(), p, "node1", "plan")
	if err == nil || !strings.Contains(err.Error(), "the agent has made no plan yet") || !strings.Contains(err.Error(), "node1") {
		t.Errorf("it says %v", err)
	}
}

type fake map[string]string

func (f fake) Run(_ context.Context, node string, args ...string) ([]byte, error) {
	text, ok := f[node]
	if !ok || fmt.Sprint(args) != "[debug book --json]" {
		return nil, errors.New("away")
	}
	return []byte(text), nil
}

func TestBooks(t *testing.T) {
	a := fake{"node1": `{"blocks":[{"cidr":"10.0.0.0/26","pool":"p","addresses":[{"address":"10.0.0.1","state":"held","pod":"default/a"}]}]}`, "node2": `{`}
	books, silent := windows.Books(t.Context(), a, []string{"node1", "node2", "node3"})
	if len(books) != 1 || books["node1"].Blocks[0].Addresses[0].Pod != "default/a" {
		t.Errorf("books are %+v", books)
	}
	if len(silent) != 2 || silent["node3"] != "away" || !strings.Contains(silent["node2"], "unexpected end") {
		t.Errorf("silent are %v", silent)
	}
}
