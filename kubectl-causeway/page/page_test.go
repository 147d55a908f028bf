package page

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-net/causeway/api/v1alpha1"
	"github.com/causeway-net/causeway/kubectl-causeway/health"
	"github.com/causeway-net/causeway/kubectl-causeway/objects"
)

const token = "the-token"

// shown is a page that runs, and a browser that has opened its link.
type shown struct {
	*Server
	base    string
	browser *http.Client
	end     context.CancelFunc
	ended   chan error
}

// start runs a page whose cluster is what the test shows.
func start(t *testing.T, trace func(context.Context, *v1alpha1.PathTrace, func(*v1alpha1.PathTrace)) error) *shown {
	t.Helper()
	at, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &shown{base: "http://" + at.Addr().String(), browser: &http.Client{Jar: jar}, ended: make(chan error, 1)}
	s.Server = New(Options{Token: token, Cluster: "https://api.example:6443", Namespace: "shop", Now: time.Now, Trace: trace,
		Watch: func(ctx context.Context, _ func(*objects.Cluster, error)) error { <-ctx.Done(); return nil }})
	ctx, end := context.WithCancel(t.Context())
	s.end = end
	go func() { s.ended <- s.Run(ctx, at) }()
	t.Cleanup(func() {
		s.end()
		if err := <-s.ended; err != nil {
			t.Errorf("the page ended with %v", err)
		}
	})
	if body, _ := s.get(t, "/?token="+token, http.StatusOK); strings.Contains(body, token) || !strings.Contains(body, "url=/") {
		t.Errorf("the link leads to\n%s", body)
	}
	return s
}

func (s *shown) get(t *testing.T, path string, code int) (string, http.Header) {
	t.Helper()
	return s.do(t, s.browser, http.MethodGet, path, code, func(*http.Request) {})
}

func (s *shown) do(t *testing.T, browser *http.Client, method, path string, code int, change func(*http.Request)) (string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	change(r)
	answer, err := browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != code {
		t.Errorf("%s %s is answered with %d, want %d (%v): %s", method, path, answer.StatusCode, code, err, body)
	}
	return string(body), answer.Header
}

func TestStrangersStayOutside(t *testing.T) {
	s := start(t, nil)
	stranger := &http.Client{}
	for path, c := range map[string]struct {
		code   int
		change func(*http.Request)
	}{
		"/":                      {http.StatusForbidden, func(*http.Request) {}},
		"/events":                {http.StatusForbidden, func(*http.Request) {}},
		"/page.js":               {http.StatusForbidden, func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "causeway", Value: token}) }},
		"/?token=":               {http.StatusForbidden, func(*http.Request) {}},
		"/?token=not" + token:    {http.StatusForbidden, func(*http.Request) {}},
		"/events?token=" + token: {http.StatusForbidden, func(*http.Request) {}},
		"/?token=" + token:       {http.StatusMisdirectedRequest, func(r *http.Request) { r.Host = "rebound.example:80" }},
	} {
		body, head := s.do(t, stranger, http.MethodGet, path, c.code, c.change)
		if len(head.Values("Set-Cookie")) > 0 || strings.Contains(body, token) {
			t.Errorf("%s gives a stranger %v and %q", path, head, body)
		}
	}
	s.do(t, s.browser, http.MethodGet, "/", http.StatusMisdirectedRequest, func(r *http.Request) { r.Host = "rebound.example" })
	s.do(t, s.browser, http.MethodPost, "/trace", http.StatusForbidden, func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") })
	s.do(t, s.browser, http.MethodPost, "/trace", http.StatusForbidden, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") })
	s.do(t, s.browser, http.MethodGet, "/trace", http.StatusMethodNotAllowed, func(*http.Request) {})
}

func TestHeaders(t *testing.T) {
	s := start(t, nil)
	_, head := s.do(t, &http.Client{}, http.MethodGet, "/?token="+token, http.StatusOK, func(*http.Request) {})
	for _, want := range []string{"HttpOnly", "SameSite=Strict"} {
		if !strings.Contains(head.Get("Set-Cookie"), want) {
			t.Errorf("the cookie %q lacks %s", head.Get("Set-Cookie"), want)
		}
	}
	if strings.Contains(head.Get("Set-Cookie"), token) {
		t.Error("the cookie holds the link's token")
	}
	for _, path := range []string{"/", "/page.js", "/page.css", "/icon.svg", "/nothing"} {
		code := http.StatusOK
		if path == "/nothing" {
			code = http.StatusNotFound
		}
		body, head := s.get(t, path, code)
		if policy := head.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s has the policy %q", path, policy)
		}
		if head.Get("Access-Control-Allow-Origin") != "" || head.Get("Referrer-Policy") != "no-referrer" || strings.Contains(body, token) {
			t.Errorf("%s has the headers %v", path, head)
		}
	}
}

// news are the parts of the page that a browser with the page open gets.
func (s *shown) news(t *testing.T) func() map[string]string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	return func() map[string]string {
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				out := map[string]string{}
				if err := json.Unmarshal([]byte(text), &out); err != nil {
					t.Fatal(err)
				}
				return out
			}
		}
		t.Fatalf("there is no more news: %v", lines.Err())
		return nil
	}
}

// small is a cluster of a pool.
func small(pool string) *objects.Cluster {
	c := &objects.Cluster{}
	c.Pools.Items = []v1alpha1.IPPool{{ObjectMeta: metav1.ObjectMeta{Name: pool}, Spec: v1alpha1.IPPoolSpec{CIDR: "10.211.0.0/24", Encapsulation: v1alpha1.EncapsulationVXLAN}}}
	return c
}

func TestNews(t *testing.T) {
	s := start(t, nil)
	next := s.news(t)
	if first := next(); !strings.Contains(first["status"], "Reading the cluster") {
		t.Errorf("before the first look the page says %v", first)
	}
	s.show(small("<b>fruit</b>"), nil)
	if got := next(); !strings.Contains(got["map"], "<svg ") || !strings.Contains(got["pools"], "&lt;b&gt;fruit") || strings.Contains(got["map"]+got["pools"]+got["status"], "<b>fruit") {
		t.Errorf("the page gets %v", got)
	}
	if page, _ := s.get(t, "/", http.StatusOK); !strings.Contains(page, "&lt;b&gt;fruit") || !strings.Contains(page, "https://api.example:6443") {
		t.Errorf("the page is %s", page)
	}
	s.show(nil, errors.New("connection refused"))
	if got := next(); len(got) != 1 || !strings.Contains(got["trouble"], "the cluster could not be read: connection refused") {
		t.Errorf("when the cluster is gone, the page gets %v", got)
	}
	s.show(small("vegetables"), nil)
	if got := next(); got["trouble"] != "" || !strings.Contains(got["pools"], "vegetables") {
		t.Errorf("when the cluster is back, the page gets %v", got)
	}
}

func TestNoRights(t *testing.T) {
	s := start(t, nil)
	c := &objects.Cluster{}
	for _, kind := range append([]objects.Kind{objects.WorkloadEndpoints}, health.Kinds...) {
		c.Unread = append(c.Unread, objects.Unread{Kind: kind, Why: string(kind) + ".causeway.dev is forbidden: User \"guest\" cannot list resource"})
	}
	s.show(c, nil)
	page, _ := s.get(t, "/", http.StatusOK)
	for _, want := range []string{"The ippools could not be read", "Ask for the right to list them.", "This map is not complete. These could not be listed: ippools, ipblocks, workloadendpoints", "<svg "} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
}

func (s *shown) ask(t *testing.T, form url.Values) []string {
	t.Helper()
	answer, err := s.browser.PostForm(s.base+"/trace", form)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var out []string
	for d := json.NewDecoder(answer.Body); ; {
		var part string
		if err := d.Decode(&part); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, part)
	}
}

func TestTrace(t *testing.T) {
	var asked *v1alpha1.PathTrace
	s := start(t, func(_ context.Context, trace *v1alpha1.PathTrace, seen func(*v1alpha1.PathTrace)) error {
		asked = trace
		seen(trace)
		trace.Status.End = &v1alpha1.PathEnd{Result: v1alpha1.PathDropped, Node: "node2", Cause: "Firewall", Message: "The packet was dropped."}
		seen(trace)
		if trace.Spec.Port == 81 {
			return errors.New("ask for a trace: you may not")
		}
		return nil
	})
	parts := s.ask(t, url.Values{"from": {"web"}, "to": {" fd00::1 "}, "port": {"80"}})
	if len(parts) != 2 || !strings.Contains(parts[0], "The trace waits") || !strings.Contains(parts[1], "Dropped at node node2 (Firewall)") {
		t.Errorf("the browser gets %q", parts)
	}
	if asked.Namespace != "shop" || asked.Spec.Destination.Address != "fd00::1" || asked.Spec.Port != 80 || asked.Spec.Protocol != v1alpha1.TraceTCP {
		t.Errorf("this was asked: %+v", asked)
	}
	if parts := s.ask(t, url.Values{"from": {"web"}, "to": {"db"}, "port": {"81"}}); len(parts) != 3 || !strings.Contains(parts[2], "The trace failed: ask for a trace: you may not.") {
		t.Errorf("a trace that fails gives %q", parts)
	}
	if parts := s.ask(t, url.Values{"from": {"web"}, "to": {"db"}, "port": {"<b>"}}); len(parts) != 1 || !strings.Contains(parts[0], "is no port") || strings.Contains(parts[0], "<b>") {
		t.Errorf("a port that is none gives %q", parts)
	}
}

// A trace that runs when the page ends is told to end, and the page waits for it.
func TestEndWaitsForTraces(t *testing.T) {
	runs, cleaned := make(chan struct{}), make(chan struct{})
	s := start(t, func(ctx context.Context, _ *v1alpha1.PathTrace, _ func(*v1alpha1.PathTrace)) error {
		close(runs)
		<-ctx.Done()
		close(cleaned)
		return ctx.Err()
	})
	s.news(t)
	go func() {
		<-runs
		s.end()
	}()
	s.ask(t, url.Values{"from": {"web"}, "to": {"db"}})
	<-cleaned
}
