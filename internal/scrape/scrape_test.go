package scrape

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
)

// apiServer answers reviews: "known" and "reader" are tokens, and reader may get /metrics.
func apiServer(t *testing.T) (*rest.Config, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/tokenreviews"):
			var review authenticationv1.TokenReview
			_ = json.NewDecoder(r.Body).Decode(&review)
			token := review.Spec.Token
			review.Status.Authenticated = token == "known" || token == "reader"
			review.Status.User.Username = token
			_ = json.NewEncoder(w).Encode(review)
		case strings.HasSuffix(r.URL.Path, "/subjectaccessreviews"):
			var review authorizationv1.SubjectAccessReview
			_ = json.NewDecoder(r.Body).Decode(&review)
			at := review.Spec.NonResourceAttributes
			review.Status.Allowed = review.Spec.User == "reader" && at.Path == "/metrics" && at.Verb == "get"
			_ = json.NewEncoder(w).Encode(review)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}, QPS: -1}, &asked
}

func hello() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "causeway_metric 1\n") })
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a server until the test ends.
func start(t *testing.T, o Options) {
	t.Helper()
	o.Handler, o.Log = hello(), logr.Discard()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.pause = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// get asks until somebody answers.
func get(t *testing.T, url, token string) (int, string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		response, err := c.Do(request)
		if err != nil {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			continue
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		return response.StatusCode, string(body)
	}
}

func TestSecureMetricsAskKubernetes(t *testing.T) {
	config, asked := apiServer(t)
	address := freeAddress(t)
	start(t, Options{Address: address, Secure: true, Config: config})
	for _, c := range []struct {
		token  string
		status int
		says   string
	}{
		{"", http.StatusUnauthorized, "bearer token"},
		{"stranger", http.StatusUnauthorized, "does not know"},
		{"known", http.StatusForbidden, "causeway-metrics-reader"},
		{"reader", http.StatusOK, "causeway_metric 1"},
	} {
		if status, body := get(t, "https://"+address+"/metrics", c.token); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("token %q: %d %s", c.token, status, body)
		}
	}
	before := asked.Load()
	if status, _ := get(t, "https://"+address+"/metrics", "reader"); status != http.StatusOK || asked.Load() != before {
		t.Errorf("status %d; the API server was asked %d times more", status, asked.Load()-before)
	}
}

func TestManyTokensTakeLittleMemory(t *testing.T) {
	config, _ := apiServer(t)
	j, err := newJudge(config)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxVerdicts + 10 {
		if _, err := j.verdict(context.Background(), fmt.Sprint("made up ", i), "/metrics"); err != nil {
			t.Fatal(err)
		}
	}
	if len(j.verdicts) > maxVerdicts {
		t.Errorf("%d verdicts are kept", len(j.verdicts))
	}
}

// A port that another program has keeps metrics away, and nothing else; they come when the port is free.
func TestABusyPortIsWaitedFor(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	start(t, Options{Address: other.Addr().String()})
	time.AfterFunc(50*time.Millisecond, func() { other.Close() }) // the server has been refused some times by then, or not: both must work
	if status, body := get(t, "http://"+other.Addr().String()+"/metrics", ""); status != http.StatusOK || body == "" {
		t.Errorf("%d %s", status, body)
	}
}

func TestCertificatesAreMadeAnewInTime(t *testing.T) {
	now := time.Now()
	c := certificates{now: func() time.Time { return now }}
	first, err := c.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := c.get(nil); again != first {
		t.Error("each connection gets another certificate")
	}
	now = now.Add(ownValidity/2 + time.Second)
	if later, err := c.get(nil); err != nil || later == first {
		t.Errorf("the certificate is not made anew: %v", err)
	}
	if _, err := (&certificates{folder: t.TempDir(), now: time.Now}).get(nil); err == nil {
		t.Error("missing files are no error")
	}
}
