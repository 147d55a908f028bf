package page

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"slices"
)

// headers keep a browser from doing with the page what the page does not do itself.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
		"form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cache-Control":                "no-store",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
}

// entry goes on to the page without the token. A redirect would belong to the page with the link, and a browser sends a strict
// cookie only for what belongs to this one.
const entry = `<!doctype html><title>Causeway</title><link rel="icon" href="/icon.svg"><meta http-equiv="refresh" content="0;url=/"><p><a href="/">Go on</a></p>`

// guard lets requests through that ask for this address and know the token: from the link the first time, then from a cookie.
type guard struct {
	hosts         []string
	token         string
	cookie, value string
	next          http.Handler
}

func newGuard(at net.Addr, token string, next http.Handler) *guard {
	_, port, _ := net.SplitHostPort(at.String()) // a listener has a port
	// Cookies are kept by host, not by port: two such pages need two names.
	return &guard{hosts: []string{"127.0.0.1:" + port, "localhost:" + port}, token: token, cookie: "causeway-" + port, value: rand.Text(),
		next: http.NewCrossOriginProtection().Handler(next)}
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	// A name that somebody else's DNS server points here makes his page and this one the same origin for the browser.
	if !slices.Contains(g.hosts, r.Host) {
		http.Error(w, fmt.Sprintf("This is %s and answers for no other name.", g.hosts[0]), http.StatusMisdirectedRequest)
		return
	}
	if r.URL.Path == "/" && r.URL.Query().Has("token") {
		g.enter(w, r)
		return
	}
	if c, err := r.Cookie(g.cookie); err != nil || !same(c.Value, g.value) {
		http.Error(w, "Open the link that kubectl causeway ui has printed: its token lets you in.", http.StatusForbidden)
		return
	}
	g.next.ServeHTTP(w, r)
}

// enter exchanges the token for the cookie.
func (g *guard) enter(w http.ResponseWriter, r *http.Request) {
	if !same(r.URL.Query().Get("token"), g.token) {
		http.Error(w, "The token of this link is not that of the page that runs here now. Open the link that kubectl causeway ui has printed last.", http.StatusForbidden)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: g.cookie, Value: g.value, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// The browser has gone if this fails.
	_, _ = w.Write([]byte(entry))
}

// same compares in constant time.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
